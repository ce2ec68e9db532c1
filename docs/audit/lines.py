"""The lines of a ledger (docs/ledger.md): one entry has one text, so a line has a regular expression."""
import hashlib, json, re
from fractions import Fraction
from types import SimpleNamespace

def need(holds, reason):
    if not holds:
        raise ValueError(reason)

def digest(*parts):
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()

# What each key may hold: a form, or else the very words. "?" marks what may be absent.

FORMS = {
    "id": '"[a-z0-9-]{1,64}"', "hex": '"[0-9a-f]{64}"', "sig": '"[0-9a-f]{128}"', "bool": "(?:true|false)",
    "ratio": '"(?:0|[1-9][0-9]*)/[1-9][0-9]*"', "rho": '"(?:unprotected|(?:0|[1-9][0-9]*)/[1-9][0-9]*)"',
    "u32": "(?:0|[1-9][0-9]{0,9})", "u64": '(?:0|[1-9][0-9]{0,15}|"[1-9][0-9]{15,19}")',
    "text": r'"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\["\\]){1,128}"', "method": '"(?:home-store|per-agent|uniform-share)"',
}
PARTS = {
    "predecessor": "federation:id seq:u64 hash:hex", "cap": "name:id tasks:text[]? days:u32? rho:ratio",
    "member": "identity:hex tls_key:hex administrator:hex not_before_s:u64 not_after_s:u64 enrolled:u32 signature:sig",
    "lanes": "lanes:u32 commitment:hex", "proof": "spec:hex cohort:id[] voters:id[] signatures:sig[]",
    "refusal": "agent:id why:policy|budget|stopped|sign-off signature:sig",
    "opening": "seed:hex totals:hex sum_of_squares:ratio sum_before_removal:ratio? right:u32",
}
KINDS = {
    "genesis": "federation:id unit:person|person-per-agent adjacency:add-remove delta:ratio delta_reserved:ratio "
    "identity_method:method cap_rho:rho enrolled:u32 corrupt:u32 survivors_min:u32 catalogue:hex coordinator:hex "
    "authority:hex compliance:hex predecessors:predecessor[] software:text purpose:text stores_max:u32? caps:cap[]? "
    "accountant_version:zcdp-discrete-gaussian-1",
    "roster": "epoch:u64 roster:hex graph_seed:hex agents:id[] memberships:member[]",
    "reserve": "round:u64 epoch:u64 plan:text plan_digest:hex sign_off:sig task:text model:hex rho:rho coordinates:u32 "
    "mechanism:discrete-gaussian|unprotected scale_bits:u32 delta:u64 sigma_squared:ratio? share_variance:ratio? "
    "noise_levels:u32[]? sampler_distance:ratio? survivors_min:u32 corrupt:u32 modulus_bits:u32 canaries:lanes? "
    "clip_share_rule:method clip_share:ratio? rounding_rule:unbiased-per-coordinate",
    "release": "round:u64 session:hex survivors:id[] vectors:hex[] transcript:hex output_model:hex canaries:opening? "
    "refusals:refusal[]? rho:rho spent:rho",
    "abort": "round:u64 cause:cohort|survivors|votes|shares|stopped committed:bool unmask_started:bool rho_charged:rho "
    "spent:rho certificate:proof? refusals:refusal[]?",
    "cosigned": "seq:u64 hash:hex voters:id[] signatures:sig[]",
    "change": "what:catalogue|upgrade|roster|policy serial:u32 catalogue:hex? software:text? cap_rho:rho? "
    "survivors_min:u32? enrolled:u32? corrupt:u32? signature:sig",
}

def pattern(fields):
    """The regular expression of an object with these fields: keys ascend, and nothing stands between them."""
    text = ""
    for key, form in sorted(field.split(":") for field in fields.split()):
        value = FORMS.get(form.rstrip("?[]"), f'"(?:{form})"')
        value = rf"\[(?:(?:(?<=\[)|,){value})*\]" if "[]" in form else value
        text += rf'(?:(?:(?<=\{{)|,)"{key}":{value})' + "?" * form.endswith("?")
    return rf"\{{{text}\}}"

FORMS |= {name: pattern(fields) for name, fields in PARTS.items()}
FORMS["entry"] = f'(?P<entry>{"|".join(pattern(f"kind:{name} {fields}") for name, fields in KINDS.items())})'
LINE = re.compile(pattern("entry:entry hash:hex previous:hex seq:u64 signature:sig time_s:u64"))

class Fields(SimpleNamespace):
    """An object of a line; keys that are absent are None."""
    __getattr__ = lambda self, key: None

def value_of(text):
    """The fraction, large number or bytes that a text stands for; else the text."""
    if "/" in text:
        ratio = Fraction(text)
        need(f"{ratio.numerator}/{ratio.denominator}" == text and len(text) <= 4096, "a ratio is not in lowest terms")
        return ratio
    if re.fullmatch("[0-9]{16,20}", text):
        need(2**53 <= int(text) < 2**64, f"{text} is no text of a whole number")
        return int(text)
    return bytes.fromhex(text) if re.fullmatch("[0-9a-f]{64}|[0-9a-f]{128}", text) else text

def read(fields):
    """The object with the values of its texts, but for texts that somebody chose."""
    for key, value in fields.items():
        if key in ("agent", "federation", "name", "plan", "purpose", "software", "task"):
            need(len(value.encode()) <= 128, f"{key} is too long")
        elif type(value) is str:
            fields[key] = value_of(value)
        need(type(value) is not int or value < 2**53, f"{value} belongs into a text")
    return Fields(**fields)

def parse(text):
    """The line, whose entry also carries its text and time."""
    need(len(text) < 5 << 20, "the line is longer than any entry")
    need(found := LINE.fullmatch(text.decode()), "no line of a ledger, or rewritten: not in canonical form")
    line = json.loads(text, object_hook=read)
    line.entry.text, line.entry.time_s = found["entry"], line.time_s
    return line
