//! The Python verifier of `docs/audit` beside ours: both accept the same ledgers with the same
//! figures, and refuse the same edits at the same entry.

#![allow(clippy::print_stderr)]

use std::{fs, process::Command};

use super::*;
use crate::change::Change;

/// Set where a missing interpreter must fail the tests instead of skipping them.
const REQUIRED: &str = "CHORALE_REQUIRE_PEERS";

/// A set of files to be shown to both verifiers.
pub(super) struct Case {
    what: String,
    file: Vec<u8>,
    head: Option<Head>,
    key: Option<chorale_wire::PublicKey>,
}

impl Case {
    pub(super) fn new(what: impl Into<String>, file: impl Into<Vec<u8>>) -> Self {
        Self { what: what.into(), file: file.into(), head: None, key: None }
    }

    fn against(mut self, head: Head) -> Self {
        self.head = Some(head);
        self
    }
}

/// The Python verifier, to be given arguments; `None` where there is no Python.
pub(super) fn python_command() -> Option<Command> {
    let found = Command::new("python3").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set and python3 is not there");
        eprintln!("skipped: python3 is not there (set {REQUIRED} to make that a failure)");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit/verify_ledger.py");
    let mut command = Command::new("python3");
    command.args(["-B", script, "--json"]);
    Some(command)
}

/// What the Python verifier says about each case; `None` where there is no Python.
fn python(cases: &[Case]) -> Option<Vec<serde_json::Value>> {
    python_command()?;
    let folder = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    // Files that are held against the same head and key go into one process.
    for group in cases.chunk_by(|a, b| (a.head, a.key) == (b.head, b.key)) {
        let mut command = python_command()?;
        command.args(group[0].head.iter().flat_map(|head| ["--head".into(), head.to_string()]));
        command.args(group[0].key.iter().flat_map(|key| ["--key".into(), key.to_string()]));
        for (number, case) in group.iter().enumerate() {
            let path = folder.path().join(number.to_string());
            fs::write(&path, &case.file).unwrap();
            command.arg(path);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let before = said.len();
        said.extend(
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()),
        );
        assert_eq!(said.len() - before, group.len(), "{errors}");
    }
    Some(said)
}

/// Both verifiers refuse every case and name the same entry.
pub(super) fn both_refuse(cases: &[Case]) {
    let Some(said) = python(cases) else { return };
    for (case, theirs) in cases.iter().zip(said) {
        let expect = Expect { head: case.head, coordinator: case.key };
        let Err(ours) = verify_with(&case.file, &expect) else {
            panic!("{}: ours accepts it, Python says {theirs}", case.what);
        };
        assert_eq!(theirs["verified"], false, "{}: ours says {ours}", case.what);
        assert_eq!(theirs["entry"], ours.entry(), "{}: {theirs}, ours: {ours}", case.what);
    }
}

/// Both verifiers accept the ledger and report the same figures.
pub(super) fn both_accept(file: &str, head: Head) {
    let cases = [Case::new("whole", file), Case::new("against its head", file).against(head)];
    let Some(said) = python(&cases) else { return };
    let report = verify(file.as_bytes(), Some(head)).unwrap();
    for theirs in said {
        assert_eq!(theirs["verified"], true, "{theirs}");
        assert_eq!(theirs["head"], report.head.to_string());
        assert_eq!(theirs["cosigners"], report.cosigners);
        let cosigned = serde_json::json!(report.cosigned.map(|head| head.seq));
        assert_eq!(theirs["cosigned_up_to"], cosigned);
        assert_eq!(theirs["rho_spent"], report.spent.to_string());
        assert_eq!(theirs["rho_reserved"], report.reserved.to_string());
        let counts = [report.released, report.aborted, report.open];
        for (name, count) in ["release", "abort", "open"].into_iter().zip(counts) {
            assert_eq!(theirs[name], count, "{name}");
        }
        let mut figures = vec![
            ("epsilon_zcdp", report.epsilon.zcdp),
            ("epsilon_gaussian", report.epsilon.gaussian),
        ];
        if let Some(canaries) = &report.canaries {
            assert_eq!(theirs["rounds_measured"], canaries.rounds);
            let short: Vec<String> = canaries.short.iter().map(u64::to_string).collect();
            assert_eq!(theirs["noise_short"], short.join(" "));
            figures.push(("epsilon_measured", canaries.epsilon_lower));
            figures.push(("epsilon_of_a_round", canaries.epsilon_upper));
        }
        for (name, ours) in figures {
            let theirs = theirs[name].as_f64().unwrap_or(f64::INFINITY);
            let close = ours == theirs || (ours / theirs - 1.0).abs() < 1e-9;
            assert!(close, "{name}: {ours} and {theirs}");
        }
    }
}

/// Every kind of entry, aborts with votes included; the last round is open.
fn rich() -> Ledger {
    let mut ledger = Ledger::example();
    ledger.reserve(reserve(6, 1)).unwrap();
    let cause = AbortCause::Survivors;
    let abort = ledger.chain.abort_certified(RoundNumber(6), cause, proof(6, 8)).unwrap();
    ledger.append(abort).unwrap();
    ledger.append(Entry::Cosigned(heads::cosigned(ledger.chain.head(), 8))).unwrap();
    ledger.append(roster(7)).unwrap();
    let floor = changes::change(&ledger, Change::Policy, 1, |c| c.survivors_min = Some(10));
    ledger.append(floor).unwrap();
    ledger.reserve(reserve(8, 7)).unwrap();
    ledger
}

#[test]
fn both_verifiers_agree_on_what_is_right() {
    let ledger = rich();
    both_accept(&ledger.file, ledger.chain.head());
    let mut unprotected = Ledger::new(Privacy::Unprotected);
    unprotected.append(roster(1)).unwrap();
    for round in [1, 2] {
        let mut entry = reserve(round, 1);
        entry.mechanism = MechanismName::Unprotected;
        entry.rho = Privacy::Unprotected;
        (entry.share_variance, entry.sigma_squared, entry.sampler_distance) = (None, None, None);
        unprotected.reserve(entry).unwrap();
    }
    unprotected.release(1).unwrap();
    both_accept(&unprotected.file, unprotected.chain.head());
    let empty = Ledger::new(Privacy::Rho(rho(2, 1)));
    both_accept(&empty.file, empty.chain.head());
}

/// What is said of the Python verifier in `docs/ledger.md`: it is short, and every check is in the
/// three files that it needs.
#[test]
fn the_python_verifier_is_short_and_needs_no_figures() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit");
    let folder = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for name in ["verify_ledger.py", "lines.py", "ed25519.py"] {
        let text = fs::read_to_string(format!("{source}/{name}")).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{name}");
        lines.push(text.lines().count());
        fs::write(folder.path().join(name), text).unwrap();
    }
    assert!(lines[0] < 300 && lines.iter().sum::<usize>() < 440, "{lines:?}");
    if python_command().is_none() {
        return;
    }
    let ledger = rich();
    let says = |file: &str| {
        let path = folder.path().join("ledger.jsonl");
        fs::write(&path, file).unwrap();
        let mut command = Command::new("python3");
        command.arg("-B").arg(folder.path().join("verify_ledger.py"));
        let said = command.arg("--json").arg(path).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&said.stdout).unwrap()
    };
    let said = says(&ledger.file);
    assert_eq!(said["verified"], true, "{said}");
    assert_eq!(said["rho_spent"], ledger.chain.spent().to_string());
    assert!(said.get("epsilon_gaussian").is_none());
    let said = says(&resign(&ledger.file, 4, &key(), |line| line.time_s = 1));
    assert_eq!((&said["verified"], &said["entry"]), (&false.into(), &4.into()), "{said}");
}

#[test]
fn both_verifiers_name_the_entry_with_a_flipped_bit() {
    let ledger = rich();
    let bytes = ledger.file.as_bytes();
    let mut cases = Vec::new();
    let mut start = 0;
    for (line, text) in ledger.lines().iter().enumerate() {
        // Some eighty places in each line, another bit each time.
        let step = text.len().div_ceil(80);
        for place in (0..text.len()).step_by(step) {
            let (byte, bit) = (start + place, (place / step) % 8);
            // It is noticed at its own line, whatever follows.
            let mut changed = bytes[..start + text.len()].to_vec();
            changed[byte] ^= 1 << bit;
            cases.push(Case::new(format!("bit {bit} of byte {place} in line {line}"), changed));
        }
        start += text.len();
    }
    both_refuse(&cases);
}

#[test]
fn both_verifiers_name_the_entry_that_is_missing_moved_or_forked() {
    let ledger = rich();
    let lines = ledger.lines();
    let mut cases = vec![Case::new("nothing", "")];
    for at in 0..lines.len() {
        let mut other = lines.clone();
        other.insert(at, lines[at]);
        cases.push(Case::new(format!("line {at} twice"), other.concat()));
        let mut other = lines.clone();
        other.remove(at);
        if at + 1 < lines.len() {
            cases.push(Case::new(format!("line {at} removed"), other.concat()));
            let mut other = lines.clone();
            other.swap(at, at + 1);
            cases.push(Case::new(format!("lines {at} and next swapped"), other.concat()));
        }
        let torn = [lines[..at].concat(), lines[at][..lines[at].len() / 2].to_string()].concat();
        cases.push(Case::new(format!("line {at} torn"), torn));
    }
    // Against a head from elsewhere: every cut at the end, and another continuation.
    let head = ledger.chain.head();
    for kept in 1..lines.len() {
        let what = format!("cut after {kept} lines");
        cases.push(Case::new(what, lines[..kept].concat()).against(head));
    }
    let rewritten = resign(&ledger.file, 4, &key(), |line| line.time_s += 1);
    cases.push(Case::new("history rewritten under its cosignatures", rewritten));
    let fork = resign(&ledger.file, 13, &key(), |line| line.time_s += 1);
    verify(fork.as_bytes(), None).unwrap();
    cases.push(Case::new("a fork", fork.clone()).against(head));
    let early = verify(lines[..14].concat().as_bytes(), None).unwrap().head;
    cases.push(Case::new("a fork before the head", fork).against(early));
    let mut keyed = Case::new("another coordinator", ledger.file.clone());
    keyed.key = Some(authority().public());
    cases.push(keyed);
    both_refuse(&cases);
}

/// Edits by somebody who holds the coordinator's key, so that only the rules are left to refuse.
#[test]
fn both_verifiers_name_the_entry_that_breaks_a_rule() {
    let ledger = rich();
    let mut cases = Vec::new();
    let mut edit = |what: &str, line: usize, edit: &dyn Fn(&mut serde_json::Value)| {
        let file = resign(&ledger.file, line, &key(), |line| {
            let mut entry = serde_json::to_value(&line.entry).unwrap();
            edit(&mut entry);
            line.entry = serde_json::from_value(entry).unwrap();
        });
        cases.push(Case::new(what, file));
    };
    let set = |name: &'static str, value: serde_json::Value| {
        move |entry: &mut serde_json::Value| entry[name] = value.clone()
    };
    edit("sigma", 2, &set("sigma_squared", "8589934593/1".into()));
    edit("a smaller sigma, and its share", 2, &|entry| {
        entry["sigma_squared"] = "4294967296/1".into();
        entry["share_variance"] = "536870912/1".into();
    });
    for (name, value) in [
        ("rho", "1/5"),
        ("sampler_distance", "3/2"),
        ("sampler_distance", "1/1000000"),
        ("share_variance", "1/1"),
        ("clip_share_rule", "per-agent"),
    ] {
        edit(name, 2, &set(name, value.into()));
    }
    for (name, value) in [
        ("coordinates", 1848u64),
        ("coordinates", 0),
        ("delta", 0),
        ("delta", 65_537),
        ("scale_bits", 41),
        ("modulus_bits", 63),
        ("survivors_min", 9),
        ("survivors_min", 11),
        ("corrupt", 1),
        ("epoch", 2),
        ("round", 0),
    ] {
        edit(name, 2, &set(name, value.into()));
    }
    edit("layers", 2, &set("noise_levels", serde_json::json!([12, 11])));
    edit("an old round", 4, &set("round", 1.into()));
    edit("a text", 2, &set("plan", "".into()));
    edit("a control character", 2, &set("task", "a\u{7f}b".into()));
    for (name, value) in [
        ("cap_rho", "1/2"),
        ("cap_rho", "unprotected"),
        ("delta", "1/1"),
        ("delta_reserved", "1/100000"),
        ("delta_reserved", "0/1"),
        ("unit", "person-per-agent"),
        ("identity_method", "per-agent"),
        ("accountant_version", "another"),
    ] {
        // Some of these are other promises, not wrong ones; a later entry breaks them, or none.
        let file = resign(&ledger.file, 0, &key(), |line| {
            let mut entry = serde_json::to_value(&line.entry).unwrap();
            entry[name] = value.into();
            line.entry = serde_json::from_value(entry).unwrap();
        });
        if verify(file.as_bytes(), None).is_err() {
            cases.push(Case::new(format!("genesis {name} {value}"), file));
        }
    }
    let mut edit = |what: &str, line: usize, edit: &dyn Fn(&mut Line)| {
        cases.push(Case::new(what, resign(&ledger.file, line, &key(), edit)));
    };
    edit("an earlier time", 3, &|line| line.time_s = 1);
    edit("a foreign membership", 1, &|line| {
        let Entry::Roster(roster) = &mut line.entry else { panic!() };
        roster.memberships[3].signature = membership(3, &key()).signature();
    });
    edit("one identity twice", 1, &|line| {
        let Entry::Roster(roster) = &mut line.entry else { panic!() };
        roster.memberships[3] = roster.memberships[4].clone();
    });
    edit("agents out of order", 1, &|line| {
        let Entry::Roster(roster) = &mut line.entry else { panic!() };
        roster.agents.swap(0, 1);
        roster.memberships.swap(0, 1);
    });
    edit("too few survivors", 3, &|line| {
        let Entry::Release(release) = &mut line.entry else { panic!() };
        release.survivors.truncate(9);
        release.vectors.truncate(9);
    });
    edit("a session twice", 5, &|line| {
        let Entry::Release(release) = &mut line.entry else { panic!() };
        release.session = Digest::from_bytes(*released(1, 11).session.as_bytes());
    });
    edit("a refund", 9, &|line| {
        let Entry::Abort(abort) = &mut line.entry else { panic!() };
        abort.rho_charged = Privacy::Rho(Rho::zero());
    });
    edit("a sum", 9, &|line| {
        let Entry::Abort(abort) = &mut line.entry else { panic!() };
        abort.spent = Privacy::Rho(rho(1, 3));
    });
    edit("too few votes", 11, &|line| {
        let Entry::Abort(abort) = &mut line.entry else { panic!() };
        abort.certificate = Some(Box::new(proof(6, 7)));
    });
    edit("votes about another round", 11, &|line| {
        let Entry::Abort(abort) = &mut line.entry else { panic!() };
        abort.certificate = Some(Box::new(proof(5, 8)));
    });
    edit("an unsigned change", 14, &|line| {
        let Entry::Change(change) = &mut line.entry else { panic!() };
        change.survivors_min = Some(11);
    });
    edit("a change of two things", 14, &|line| {
        let Entry::Change(change) = &mut line.entry else { panic!() };
        change.what = Change::Upgrade;
    });
    edit("a plan that was not signed off", 2, &|line| {
        let Entry::Reserve(reserve) = &mut line.entry else { panic!() };
        reserve.plan_digest = Digest::plain(b"another plan");
    });
    edit("itself as predecessor", 0, &|line| {
        let Entry::Genesis(genesis) = &mut line.entry else { panic!() };
        let (seq, hash) = (3, Digest::plain(b"head"));
        let federation = genesis.federation.clone();
        genesis.predecessors = vec![Predecessor { federation, seq, hash }];
    });
    edit("too few cosignatures", 12, &|line| {
        let Entry::Cosigned(cosigned) = &mut line.entry else { panic!() };
        cosigned.voters.pop();
        cosigned.signatures.pop();
    });
    edit("a forged cosignature", 12, &|line| {
        let Entry::Cosigned(cosigned) = &mut line.entry else { panic!() };
        cosigned.signatures[1] = cosigned.signatures[0];
    });
    edit("another head", 12, &|line| {
        let Entry::Cosigned(cosigned) = &mut line.entry else { panic!() };
        cosigned.seq -= 1;
    });
    edit("cosigners out of order", 12, &|line| {
        let Entry::Cosigned(cosigned) = &mut line.entry else { panic!() };
        cosigned.voters.swap(0, 1);
        cosigned.signatures.swap(0, 1);
    });
    edit("unmasked", 11, &|line| {
        let Entry::Abort(abort) = &mut line.entry else { panic!() };
        abort.unmask_started = true;
    });
    // The key swapped: the whole file signed by another one, under the old genesis and a new one.
    let other = SecretKey::from_seed(&[9; 32]);
    cases.push(Case::new("signed by another key", resign(&ledger.file, 2, &other, |_| {})));
    let swapped = resign(&ledger.file, 0, &other, |line| {
        let Entry::Genesis(genesis) = &mut line.entry else { panic!() };
        genesis.coordinator = SecretKey::from_seed(&[9; 32]).public();
    });
    let mut swapped = Case::new("another coordinator's copy", swapped);
    swapped.key = Some(key().public());
    cases.push(swapped);
    both_refuse(&cases);
}

/// What a JSON reader might let pass: other texts of the same values.
#[test]
fn both_verifiers_insist_on_one_text() {
    let ledger = rich();
    let lines = ledger.lines();
    let mut cases = Vec::new();
    for (line, from, to) in [
        (0, "\"corrupt\":2", "\"corrupt\": 2"),
        (0, "\"corrupt\":2", "\"corrupt\":2.0"),
        (0, "\"corrupt\":2", "\"corrupt\":2e0"),
        (0, "\"corrupt\":2", "\"corrupt\":02"),
        (0, "\"corrupt\":2", "\"corrupt\":-0"),
        (0, "\"corrupt\":2", "\"corrupt\":\"2\""),
        (0, "\"corrupt\":2", "\"corrupt\":true"),
        (0, "\"corrupt\":2", "\"corrupt\":NaN"),
        (0, "\"corrupt\":2", "\"corrupt\":null"),
        (0, "\"corrupt\":2", "\"corrupt\":2,\"corrupt\":2"),
        (0, "\"corrupt\":2", "\"corrupt\":2,\"czar\":1"),
        (0, "\"cap_rho\":\"2/1\"", "\"cap_rho\":\"4/2\""),
        (0, "\"cap_rho\":\"2/1\"", "\"cap_rho\":\"2\""),
        (0, "\"cap_rho\":\"2/1\"", "\"cap_rho\":\"02/1\""),
        (0, "\"cap_rho\":\"2/1\"", "\"cap_rho\":\"-2/1\""),
        (0, "\"purpose\":\"e", "\"purpose\":\"\\u0065"),
        (0, "\"purpose\":\"e", "\"purpose\":\"\\ud800"),
        (0, "\"kind\":\"genesis\"", "\"kind\":\"line\""),
        (0, "\"kind\":\"genesis\"", "\"kind\":[]"),
        (1, "\"time_s\":1001}", "\"time_s\":\"1001\"}"),
        (1, "\"time_s\":1001}", "\"time_s\":1001}\r"),
        (1, "\"time_s\":1001}", "\"time_s\":99999999999999999999999}"),
        (1, "\"time_s\":1001}", "\"time_s\":9007199254740992}"),
        (1, "\"agents\":[\"", "\"agents\":[[\""),
        (2, "\"task\":\"cooc", "\"task\":\"COOC"),
    ] {
        assert!(lines[line].contains(from), "{from} in {}", lines[line]);
        let changed = lines[line].replacen(from, to, 1);
        let file = [lines[..line].concat(), changed, lines[line + 1..].concat()].concat();
        cases.push(Case::new(to, file));
    }
    let deep = format!("{}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    cases.push(Case::new("deep nesting", [lines[0], &deep].concat()));
    cases.push(Case::new("an empty line", [lines[0], "\n"].concat()));
    cases.push(Case::new("a byte order mark", ["\u{feff}", lines[0]].concat()));
    both_refuse(&cases);
}
