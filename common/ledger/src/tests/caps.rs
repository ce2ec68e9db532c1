//! Windows, families and shares: what GENESIS may say, and what the rules then hold.
use chorale_dp::{Cap, DAY_S, Frees};

use super::{
    peer::{Case, both_accept, both_refuse},
    *,
};

fn cap(name: &str, tasks: &[&str], days: Option<u32>, rho: Rho) -> Cap {
    Cap { name: name.into(), tasks: tasks.iter().map(ToString::to_string).collect(), days, rho }
}

fn with_caps(caps: Vec<Cap>) -> Ledger {
    let entry = GenesisEntry { caps, ..genesis(Privacy::Rho(rho(2, 1))) };
    let (chain, file) = Chain::genesis(entry, &key(), 1000).unwrap();
    let mut ledger = Ledger { chain, file, now: 1000 };
    ledger.append(roster(1)).unwrap();
    ledger
}

fn exceeded(result: Result<(), Violation>) -> chorale_dp::CapExceeded {
    match result {
        Err(Violation::OverCap { source, .. }) => *source,
        other => panic!("{other:?}"),
    }
}

/// Each round costs a quarter and a trace.
#[test]
fn a_window_is_kept_by_the_entries_own_times() {
    let mut ledger = with_caps(vec![cap("month", &[], Some(30), rho(6, 10))]);
    for round in [1, 2] {
        ledger.reserve(reserve(round, 1)).unwrap();
        ledger.release(round).unwrap();
    }
    let first = ledger.now - 2;
    let refused = exceeded(ledger.reserve(reserve(3, 1)));
    assert_eq!(
        (refused.cap.name.as_str(), refused.frees),
        ("month", Frees::At(first + 30 * DAY_S))
    );
    // A clock that goes back, and one second too early.
    let cost = reserve(3, 1).rho.rho().unwrap().clone();
    assert!(ledger.chain.admits("cooccurrence", &cost, 0).is_err());
    assert!(ledger.chain.admits("cooccurrence", &cost, first + 30 * DAY_S - 1).is_err());
    ledger.now = first + 30 * DAY_S - 1;
    ledger.reserve(reserve(3, 1)).unwrap();
    // The charge of an abort counts like a release; what is given back does not.
    let abort = ledger.chain.abort(RoundNumber(3), AbortCause::Cohort, false, false).unwrap();
    ledger.append(abort).unwrap();
    ledger.reserve(reserve(4, 1)).unwrap();
    let abort = ledger.chain.abort(RoundNumber(4), AbortCause::Shares, true, true).unwrap();
    ledger.append(abort).unwrap();
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    // The second release left the window by now, the charged abort is in it.
    assert_eq!(report.caps[0].spent, cost);
    assert_eq!(report.caps, ledger.chain.standing(ledger.now));
    assert!(report.to_string().contains("cap            'month' (ρ = 0.600000 in any 30 days)"));
    // A verifier finds a round that was dated too early: the third reserve goes back by a second.
    let third = ledger.lines().iter().position(|line| line.contains("\"round\":3")).unwrap();
    let early = resign(&ledger.file, third, &key(), |line| line.time_s -= 2);
    assert_eq!(exceeded(Err(violation(&early))).cap.name, "month");
    both_accept(&ledger.file, ledger.chain.head());
    both_refuse(&[Case::new("a round dated too early", early)]);
    // An open round counts however long it is open.
    let mut ledger = with_caps(vec![cap("day", &[], Some(1), rho(4, 10))]);
    ledger.reserve(reserve(1, 1)).unwrap();
    ledger.now += 365 * DAY_S;
    assert_eq!(exceeded(ledger.reserve(reserve(2, 1))).frees, Frees::WhenRoundsEnd);
}

#[test]
fn a_family_is_kept_apart_from_the_rest() {
    let mut ledger = with_caps(vec![cap("pairs", &["cooccurrence"], None, rho(3, 10))]);
    ledger.reserve(reserve(1, 1)).unwrap();
    ledger.release(1).unwrap();
    let refused = exceeded(ledger.reserve(reserve(2, 1)));
    assert_eq!((refused.cap.name.as_str(), refused.frees), ("pairs", Frees::Never));
    let other = ReserveEntry { task: "popularity".into(), ..reserve(2, 1) };
    ledger.reserve(other).unwrap();
    verify(ledger.file.as_bytes(), None).unwrap();
    both_accept(&ledger.file, ledger.chain.head());
    // The same round, said to be of the family that has nothing left.
    let last = ledger.lines().len() - 1;
    let swapped = resign(&ledger.file, last, &key(), |line| {
        if let Entry::Reserve(reserve) = &mut line.entry {
            reserve.task = "cooccurrence".into();
        }
    });
    both_refuse(&[Case::new("a round of another family", swapped)]);
}

#[test]
fn caps_that_cannot_be_meant_make_no_ledger() {
    let begin = |entry: GenesisEntry| match Chain::genesis(entry, &key(), 1) {
        Err(LedgerError::Rule { source, .. }) => source,
        other => panic!("{:?}", other.map(drop)),
    };
    let lifetime = vec![cap("all", &[], None, rho(1, 1))];
    let protected = genesis(Privacy::Rho(rho(1, 1)));
    let refused = begin(GenesisEntry { caps: lifetime, ..protected.clone() });
    assert!(matches!(refused, Violation::Caps(_)), "{refused}");
    let window = vec![cap("day", &[], Some(1), rho(1, 1))];
    let refused = begin(GenesisEntry { caps: window, ..genesis(Privacy::Unprotected) });
    assert!(matches!(refused, Violation::Range { field: "caps", .. }), "{refused}");
    for (identity_method, stores_max) in [
        (IdentityMethod::HomeStore, Some(2)),
        (IdentityMethod::UniformShare, None),
        (IdentityMethod::UniformShare, Some(1)),
        (IdentityMethod::UniformShare, Some(13)),
    ] {
        let refused = begin(GenesisEntry { identity_method, stores_max, ..protected.clone() });
        assert!(matches!(refused, Violation::Range { field: "stores_max", .. }), "{refused}");
    }
}

#[test]
fn each_reserve_divides_a_person_as_genesis_says() {
    let identity_method = IdentityMethod::UniformShare;
    let promise = genesis(Privacy::Rho(rho(2, 1)));
    let entry = GenesisEntry { identity_method, stores_max: Some(4), ..promise };
    let (chain, file) = Chain::genesis(entry, &key(), 1000).unwrap();
    let mut ledger = Ledger { chain, file, now: 1000 };
    ledger.append(roster(1)).unwrap();
    let divided = |share: Option<Rational>| ReserveEntry {
        clip_share_rule: IdentityMethod::UniformShare,
        clip_share: share,
        ..reserve(1, 1)
    };
    for share in [None, Rational::new(1, 3), Rational::new(1, 5), Some(Rational::one())] {
        let refused = ledger.reserve(divided(share)).unwrap_err();
        assert!(matches!(refused, Violation::Differs { field: "clip_share", .. }), "{refused}");
    }
    let refused = ledger.reserve(reserve(1, 1)).unwrap_err();
    assert!(matches!(refused, Violation::Differs { field: "clip_share_rule", .. }), "{refused}");
    ledger.reserve(divided(Rational::new(1, 4))).unwrap();
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    assert_eq!(report.stores_max, Some(4));
    assert!(report.to_string().contains("at m of them ρ is (m/4)² times as large"));
    both_accept(&ledger.file, ledger.chain.head());
    let last = ledger.lines().len() - 1;
    let whole = resign(&ledger.file, last, &key(), |line| {
        if let Entry::Reserve(reserve) = &mut line.entry {
            reserve.clip_share = Rational::new(1, 3);
        }
    });
    both_refuse(&[Case::new("a person who counts for more", whole)]);
    // A whole person where nobody is divided.
    let mut ledger = Ledger::new(Privacy::Rho(rho(2, 1)));
    ledger.append(roster(1)).unwrap();
    let refused =
        ledger.reserve(ReserveEntry { clip_share: Some(Rational::one()), ..reserve(1, 1) });
    assert!(matches!(refused, Err(Violation::Differs { field: "clip_share", .. })));
}
