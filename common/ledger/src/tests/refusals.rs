//! Who refused a round, by their own signatures.

use chorale_wire::message::Refusal;

use super::{
    peer::{Case, both_accept, both_refuse, python_command},
    *,
};
use crate::entry::{RefusalKind, RefusalLine};

/// The word of the agent in `slot` that it refused `round` of epoch 1.
fn refused(slot: u16, round: u64, why: RefusalKind) -> RefusalLine {
    signed(slot, round, why, &agent_key(slot))
}

fn signed(slot: u16, round: u64, why: RefusalKind, key: &SecretKey) -> RefusalLine {
    let refusal = Refusal {
        federation: FederationId::new("test").unwrap(),
        epoch: Epoch(1),
        round: RoundNumber(round),
        slot: Slot(slot),
        plan: Digest::plain(b"plan"),
        code: why.code(),
    };
    let signature = Signed::sign(&refusal, key).unwrap().signature();
    RefusalLine { agent: agents(0)[usize::from(slot)].clone(), why, signature }
}

fn end(ledger: &mut Ledger, round: u64, refusals: Vec<RefusalLine>) -> Result<(), Violation> {
    let entry = ledger.chain.release(released(round, 10)).unwrap();
    ledger.append(entry.with_refusals(refusals))
}

/// A round released without two who refused, and one that came to nothing because three did.
fn example() -> Ledger {
    let mut ledger = Ledger::new(Privacy::Rho(rho(2, 1)));
    ledger.append(roster(1)).unwrap();
    ledger.reserve(reserve(1, 1)).unwrap();
    let refusals = vec![refused(0, 1, RefusalKind::SignOff), refused(1, 1, RefusalKind::Policy)];
    end(&mut ledger, 1, refusals).unwrap();
    ledger.reserve(reserve(2, 1)).unwrap();
    let abort = ledger.chain.abort(RoundNumber(2), AbortCause::Cohort, false, false).unwrap();
    let kinds = [(0, RefusalKind::SignOff), (1, RefusalKind::Budget), (11, RefusalKind::Stopped)];
    let refusals = kinds.map(|(slot, why)| refused(slot, 2, why)).to_vec();
    ledger.append(abort.with_refusals(refusals)).unwrap();
    ledger
}

#[test]
fn who_refused_and_why_is_in_the_report() {
    let ledger = example();
    let report = verify(ledger.file.as_bytes(), None).unwrap();
    let refused = |round: usize| report.rounds[round].refused_by();
    assert_eq!(refused(0), "store-000 (sign-off), store-001 (policy)");
    assert_eq!(refused(1), "store-000 (sign-off), store-001 (budget), store-011 (stopped)");
    assert!(report.to_string().contains("refused by store-000 (sign-off), store-001 (policy)"));
    let json = serde_json::to_value(&report).unwrap();
    let second = serde_json::json!({ "agent": "store-001", "why": "budget" });
    assert_eq!(json["rounds"][1]["refused"][1], second);
    let html = {
        let lineage = lineage(&report, &[]).unwrap();
        Page { report: &report, lineage: &lineage, now_s: 0 }.html()
    };
    assert!(html.contains("store-011 (stopped)"), "{html}");
    let nobody = verify(Ledger::example().file.as_bytes(), None).unwrap();
    assert!(nobody.rounds.iter().all(|line| line.refused.is_empty()));
    both_accept(&ledger.file, ledger.chain.head());
    let Some(mut python) = python_command() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    std::fs::write(&path, &ledger.file).unwrap();
    let said = python.arg(path).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    let expected = "1:store-000:sign-off 1:store-001:policy 2:store-000:sign-off \
                    2:store-001:budget 2:store-011:stopped";
    assert_eq!(said["refused"], expected);
}

/// An agent's word counts for the kind, the round and the plan that it signed, and for nobody else.
#[test]
fn both_verifiers_name_the_entry_with_an_invented_refusal() {
    let ledger = example();
    let honest = refused(1, 1, RefusalKind::Policy);
    let line = |edit: &dyn Fn(&mut RefusalLine)| {
        let mut line = honest.clone();
        edit(&mut line);
        vec![line]
    };
    let invented = [
        ("another kind", line(&|line| line.why = RefusalKind::Budget)),
        ("another agent", line(&|line| line.agent = agents(0)[0].clone())),
        ("another round", vec![refused(1, 2, RefusalKind::Policy)]),
        ("the coordinator's word", vec![signed(1, 1, RefusalKind::Policy, &key())]),
        ("twice", vec![honest.clone(), honest.clone()]),
        ("out of order", vec![honest.clone(), refused(0, 1, RefusalKind::Policy)]),
        ("a survivor", vec![refused(2, 1, RefusalKind::Policy)]),
        ("a stranger", line(&|line| line.agent = AgentId::new("store-012").unwrap())),
    ];
    let mut cases = Vec::new();
    for (what, refusals) in invented {
        let mut fresh = Ledger::new(Privacy::Rho(rho(2, 1)));
        fresh.append(roster(1)).unwrap();
        fresh.reserve(reserve(1, 1)).unwrap();
        let violation = end(&mut fresh, 1, refusals.clone()).unwrap_err();
        let named = matches!(
            violation,
            Violation::Refusals { round } | Violation::ForgedRefusal { round, .. } if round.0 == 1
        );
        assert!(named, "{what}: {violation}");
        let file = resign(&ledger.file, 3, &key(), |line| {
            let Entry::Release(release) = &mut line.entry else { panic!() };
            release.refusals = refusals;
        });
        cases.push(Case::new(what, file));
    }
    let other_plan = resign(&ledger.file, 2, &key(), |line| {
        let Entry::Reserve(reserve) = &mut line.entry else { panic!() };
        let plan = Digest::plain(b"another plan");
        let federation = FederationId::new("test").unwrap();
        reserve.plan_digest = plan;
        reserve.sign_off = SignOff { federation, plan }.sign(&compliance()).unwrap();
    });
    assert!(verify(other_plan.as_bytes(), None).is_err());
    cases.push(Case::new("another plan was refused", other_plan));
    both_refuse(&cases);
}

/// What an agent is not able to do may depend on its data; the ledger has no word for it.
#[test]
fn a_refusal_that_may_depend_on_data_has_no_line() {
    use chorale_wire::message::RefusalCode;
    assert_eq!(RefusalKind::of(RefusalCode::Unable), None);
    for code in
        [RefusalCode::Policy, RefusalCode::Budget, RefusalCode::Stopped, RefusalCode::SignOff]
    {
        assert_eq!(RefusalKind::of(code).unwrap().code(), code);
    }
}
