//! Predecessors and their total, and plans that were signed off.

use super::*;

fn named(ledger: &Ledger, federation: &str) -> Predecessor {
    let federation = FederationId::new(federation).unwrap();
    let Head { seq, hash } = ledger.chain.head();
    Predecessor { federation, seq, hash }
}

/// A federation with one released round.
fn federation(name: &str, predecessors: Vec<Predecessor>) -> Ledger {
    let mut promise = genesis(Privacy::Rho(rho(2, 1)));
    promise.federation = FederationId::new(name).unwrap();
    promise.predecessors = predecessors;
    let (chain, file) = Chain::genesis(promise, &key(), 1000).unwrap();
    let mut ledger = Ledger { chain, file, now: 1000 };
    ledger.append(roster(1)).unwrap();
    let mut entry = reserve(1, 1);
    entry.sign_off = sign_off(name);
    ledger.reserve(entry).unwrap();
    ledger.release(1).unwrap();
    ledger
}

fn total(newest: &Ledger, given: &[&Ledger]) -> Result<Lineage, LineageError> {
    let report = verify(newest.file.as_bytes(), None).unwrap();
    let files: Vec<&[u8]> = given.iter().map(|ledger| ledger.file.as_bytes()).collect();
    lineage(&report, &files)
}

#[test]
fn what_predecessors_spent_is_added_up_and_what_is_missing_is_said() {
    let first = federation("first", vec![]);
    let second = federation("second", vec![named(&first, "first")]);
    let third = federation("third", vec![named(&first, "first"), named(&second, "second")]);
    let one = reserve(1, 1).rho.rho().unwrap().clone();
    let three: Rho = vec![one.clone(); 3].into_iter().sum();
    let all = total(&third, &[&first, &second]).unwrap();
    assert_eq!((all.rho.clone(), all.found.len()), (Privacy::Rho(three), 2));
    assert!(all.missing.is_empty());
    // Three rounds of one ledger cost the same.
    let mut long = Ledger::new(Privacy::Rho(rho(2, 1)));
    long.append(roster(1)).unwrap();
    for round in 1..=3 {
        long.reserve(reserve(round, 1)).unwrap();
        long.release(round).unwrap();
    }
    let same = verify(long.file.as_bytes(), None).unwrap().epsilon;
    assert_eq!((all.zcdp, all.gaussian), (same.zcdp, same.gaussian));
    // Without the files the total is incomplete, and says so.
    let part = total(&third, &[&second]).unwrap();
    assert_eq!(part.missing, [named(&first, "first")]);
    assert!(
        part.to_string().contains("first: NOT GIVEN") && part.to_string().contains("INCOMPLETE")
    );
    assert!(part.zcdp < all.zcdp);
    // A file that goes on after the head that its successor names counts whole.
    let mut longer = federation("first", vec![]);
    longer.reserve(ReserveEntry { sign_off: sign_off("first"), ..reserve(2, 1) }).unwrap();
    let four = total(&third, &[&longer, &second]).unwrap();
    let sum: Rho = vec![one; 4].into_iter().sum();
    assert_eq!(four.rho, Privacy::Rho(sum));
}

#[test]
fn another_history_of_a_predecessor_is_none() {
    let first = federation("first", vec![]);
    let mut fork = federation("first", vec![]);
    fork.file = resign(&fork.file, 3, &key(), |line| line.time_s += 1);
    let second = federation("second", vec![named(&first, "first")]);
    let error = total(&second, &[&fork]).unwrap_err();
    assert!(
        matches!(&error, LineageError::Ledger { source, .. } if matches!(**source, VerifyError::Forked { .. })),
        "{error}"
    );
    let mut short = federation("first", vec![]);
    short.file = short.lines()[..3].concat();
    assert!(matches!(total(&second, &[&short]), Err(LineageError::Ledger { .. })));
    let stranger = federation("stranger", vec![]);
    let error = total(&second, &[&first, &stranger]).unwrap_err();
    assert!(matches!(error, LineageError::Stranger { .. }), "{error}");
    assert!(matches!(total(&second, &[&first, &first]), Err(LineageError::Twice { .. })));
}

#[test]
fn a_genesis_names_each_predecessor_once_and_not_itself() {
    let first = federation("first", vec![]);
    for wrong in [
        vec![named(&first, "test")],
        vec![named(&first, "first"), named(&first, "first")],
        vec![named(&first, "second"), named(&first, "first")],
    ] {
        let mut promise = genesis(Privacy::Rho(rho(2, 1)));
        promise.predecessors = wrong;
        let error = Chain::genesis(promise, &key(), 1000).unwrap_err();
        let LedgerError::Rule { source, .. } = error else { panic!("{error}") };
        assert!(matches!(source, Violation::Range { field: "predecessors", .. }), "{source}");
    }
}

#[test]
fn a_plan_that_is_not_signed_off_reserves_nothing() {
    let mut ledger = Ledger::new(Privacy::Rho(rho(2, 1)));
    ledger.append(roster(1)).unwrap();
    let good = reserve(1, 1);
    let other_plan = ReserveEntry { plan_digest: Digest::plain(b"other"), ..good.clone() };
    let other_federation = ReserveEntry { sign_off: sign_off("other"), ..good.clone() };
    let statement =
        SignOff { federation: genesis(Privacy::Unprotected).federation, plan: good.plan_digest };
    let by_coordinator = ReserveEntry { sign_off: statement.sign(&key()).unwrap(), ..good.clone() };
    for unsigned in [other_plan, other_federation, by_coordinator] {
        let violation = ledger.reserve(unsigned).unwrap_err();
        let round = RoundNumber(1);
        assert_eq!(violation, Violation::SignOff { round, plan: "taste".into() });
    }
    ledger.reserve(good).unwrap();
}

/// The Python verifier adds up the same.
#[test]
fn both_verifiers_add_up_the_same() {
    let first = federation("first", vec![]);
    let second = federation("second", vec![named(&first, "first")]);
    let third = federation("third", vec![named(&second, "second")]);
    let folder = tempfile::tempdir().unwrap();
    let path = |ledger: &Ledger, name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, &ledger.file).unwrap();
        path
    };
    let [a, b, c] = [path(&first, "a"), path(&second, "b"), path(&third, "c")];
    let Some(mut python) = peer::python_command() else { return };
    python.arg("--predecessor").args([&a, &c]);
    // The first ledger is no predecessor of what was given, and the third none of itself.
    assert!(!python.output().unwrap().status.success());
    for (given, missing) in [(vec![&a, &b], ""), (vec![&b], "first"), (vec![], "second")] {
        let mut python = peer::python_command().unwrap();
        python.arg(&c);
        python.args(given.iter().flat_map(|path| ["--predecessor".as_ref(), path.as_os_str()]));
        let output = python.output().unwrap();
        let theirs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let ledgers: Vec<&Ledger> =
            given.iter().map(|path| if *path == &a { &first } else { &second }).collect();
        let ours = total(&third, &ledgers).unwrap();
        assert_eq!(theirs["missing"], missing);
        for (name, ours) in
            [("epsilon_zcdp_in_all", ours.zcdp), ("epsilon_gaussian_in_all", ours.gaussian)]
        {
            let theirs = theirs[name].as_f64().unwrap();
            assert!((ours / theirs - 1.0).abs() < 1e-9, "{name}: {ours} and {theirs}");
        }
    }
}
