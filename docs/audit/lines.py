"""The lines of a ledger: one value has one text, and every key of an entry is named here, with what
may stand in it (docs/ledger.md)."""
import hashlib, json, math, re, unicodedata
from fractions import Fraction
from types import SimpleNamespace

class Refused(Exception):
    pass

def need(holds, reason):
    if not holds:
        raise Refused(reason)

def digest(*parts):
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()

def once(pairs):
    need(len(dict(pairs)) == len(pairs), "a key stands twice")
    return dict(pairs)

def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

IDENTITY = "home-store|per-agent|uniform-share"
FORMS = {name: dict(field.split(":") for field in fields.split()) for name, fields in {
    "line": "entry:any hash:hex previous:hex seq:u64 signature:sig time_s:u64",
    "genesis": "kind:genesis federation:id unit:person|person-per-agent adjacency:add-remove delta:ratio "
    f"identity_method:{IDENTITY} delta_reserved:ratio cap_rho:rho enrolled:u32 corrupt:u32 catalogue:hex "
    "survivors_min:u32 coordinator:hex authority:hex compliance:hex predecessors:predecessor[] accountant_version:zcdp-discrete-gaussian-1 "
    "software:text purpose:text stores_max:u32? caps:cap[]?",
    "cap": "name:id tasks:text[]? days:u32? rho:ratio",
    "roster": "kind:roster epoch:u64 roster:hex graph_seed:hex agents:id[] memberships:membership[]",
    "predecessor": "federation:id seq:u64 hash:hex",
    "membership": "identity:hex tls_key:hex administrator:hex not_before_s:u64 not_after_s:u64 enrolled:u32 "
    "signature:sig",
    "reserve": "kind:reserve round:u64 epoch:u64 plan:text plan_digest:hex sign_off:sig task:text coordinates:u32 "
    "mechanism:discrete-gaussian|unprotected scale_bits:u32 delta:u64 sigma_squared:ratio? model:hex rho:rho canaries:lanes? "
    "share_variance:ratio? noise_levels:u32[]? sampler_distance:ratio? survivors_min:u32 corrupt:u32 "
    f"modulus_bits:u32 clip_share_rule:{IDENTITY} rounding_rule:unbiased-per-coordinate clip_share:ratio?",
    "release": "kind:release round:u64 session:hex survivors:id[] vectors:hex[] transcript:hex "
    "output_model:hex canaries:opening? rho:rho spent:rho",
    "lanes": "lanes:u32 commitment:hex",
    "opening": "seed:hex totals:hex sum_of_squares:ratio sum_before_removal:ratio? right:u32",
    "abort": "kind:abort round:u64 cause:cohort|survivors|votes|shares|stopped committed:bool "
    "unmask_started:bool rho_charged:rho spent:rho certificate:proof?",
    "cosigned": "kind:cosigned seq:u64 hash:hex voters:id[] signatures:sig[]",
    "change": "kind:change what:catalogue|upgrade|roster|policy serial:u32 catalogue:hex? software:text? "
    "cap_rho:rho? survivors_min:u32? enrolled:u32? corrupt:u32? signature:sig",
    "proof": "spec:hex cohort:id[] voters:id[] signatures:sig[]",
}.items()}
TEXTS = {"id": "[a-z0-9-]{1,64}", "hex": "[0-9a-f]{64}", "sig": "[0-9a-f]{128}", "text": "[^\0]{1,128}",
         "ratio": "(0|[1-9][0-9]*)/[1-9][0-9]*", "rho": "unprotected|(0|[1-9][0-9]*)/[1-9][0-9]*"}

def read(form, value):
    """The value with numbers, fractions and bytes in place of their texts."""
    if form == "any" or form == "bool" and type(value) is bool:
        return value
    if form.endswith("[]") and type(value) is list:
        return [read(form[:-2], item) for item in value]
    if form == "u64" and type(value) is str and re.fullmatch("[1-9][0-9]{15,19}", value):
        need(2**53 <= int(value) < 2**64, f"{value} is no text of a whole number")
        return int(value)
    if form in ("u64", "u32"):
        need(type(value) is int and 0 <= value < (2**53 if form == "u64" else 2**32), "no whole number")
        return value
    if form in FORMS and type(value) is dict:
        fields, wanted = FORMS[form], {name for name, kind in FORMS[form].items() if kind[-1] != "?"}
        need(wanted <= value.keys() <= fields.keys(), f"the keys are not those of a {form}")
        present = lambda name: read(fields[name].rstrip("?"), value[name]) if name in value else None
        return SimpleNamespace(**{name: present(name) for name in fields})
    need(type(value) is str and len(value) <= 4096, f"there is no {form} where one belongs")
    need(re.fullmatch(TEXTS.get(form, form), value), f"'{value[:80]}' is no {form}")
    if form == "text":
        need(len(value.encode()) <= 128 and "Cc" not in map(unicodedata.category, value), "no plain text")
    if form not in ("ratio", "rho") or value == "unprotected":
        return bytes.fromhex(value) if form in ("hex", "sig") else value
    need(math.gcd(*map(int, value.split("/"))) == 1, f"{value[:80]} is not in lowest terms")
    return Fraction(value)

def parse(text):
    """The entry's kind, the whole line and the entry itself, as `read` gives them, and the SHA-256 of its text."""
    never = lambda found: need(False, f"{found} is no number of a ledger")
    try:
        value = json.loads(text.decode(), object_pairs_hook=once, parse_float=never, parse_constant=never)
        line = read("line", value)
        kind = line.entry.get("kind") if type(line.entry) is dict else None
        need(type(kind) is str and "kind" in FORMS.get(kind, ()), "there is no such kind of entry")
        entry = read(kind, line.entry)
        need(canonical(value) == text, "not in canonical form: somebody rewrote it")
    except (ValueError, RecursionError) as error:
        raise Refused(f"no ledger entry: {error}") from None
    unsigned = {name: field for name, field in line.entry.items() if name != "signature"}
    entry.unsigned = hashlib.sha256(canonical(unsigned)).digest()
    return kind, line, entry, hashlib.sha256(canonical(line.entry)).digest()
