//! The rules of the journal, one by one and in any order.
#![allow(clippy::unwrap_used)]
use chorale_dp::{DAY_S, Rational};
use chorale_wire::{
    Electorate, Epoch, SecretKey, Signed, Slot, SlotSet, VoterSignature,
    message::{AbortCertificate, LedgerHead, SurvivorVote, Vote},
};
use proptest::prelude::*;

use super::*;
use crate::AgentCap;

fn rho(numerator: u64, denominator: u64) -> Rho {
    Rho::new(Rational::new(numerator, denominator).unwrap()).unwrap()
}

fn federation() -> FederationId {
    FederationId::new("test").unwrap()
}

fn charge(round: u64, cost: Rho) -> Charge {
    Charge {
        federation: federation(),
        round: RoundNumber(round),
        plan: Digest::plain(b"plan"),
        model: Digest::plain(&round.to_be_bytes()),
        window: 7,
        task: "popularity".into(),
        rho: Some(cost),
        time_s: 1000 + round,
    }
}

fn charged(round: u64, cost: Rho) -> Record {
    Record::Charged(charge(round, cost))
}

/// The session of a round's vector, and the votes of the first `voters` of six agents on it.
fn session(round: u64) -> SessionId {
    let digest = Digest::plain(b"");
    SessionId::new(Epoch(1), RoundNumber(round), &digest, &digest, &SlotSet::empty(6))
}

fn electorate(first: u8) -> Electorate {
    let keys = (0..6).map(|slot| SecretKey::from_seed(&[first + slot; 32]).public());
    Electorate::new(keys.collect(), 4).unwrap()
}

fn aborted(round: u64, first: u8) -> VerifiedAbort {
    let vote = |slot: u16| {
        let vote = SurvivorVote { session: session(round), slot: Slot(slot), vote: Vote::Abort };
        let key = SecretKey::from_seed(&[first + slot as u8; 32]);
        let signature = Signed::sign(&vote, &key).unwrap().signature();
        VoterSignature { slot: Slot(slot), signature }
    };
    let signatures = (0..4).map(vote).collect();
    let certificate = AbortCertificate { session: session(round), signatures };
    certificate.verify(&electorate(first)).unwrap()
}

fn released(round: u64) -> Record {
    let (session, electorate) = (session(round), electorate(1).digest());
    settled(round, Settlement::Released { session, electorate, time_s: 1000 + round })
}

fn settled(round: u64, settlement: Settlement) -> Record {
    Record::Settled { federation: federation(), round: RoundNumber(round), settlement }
}

#[test]
fn a_round_is_answered_once() {
    let mut state = JournalState::new(rho(10, 1));
    state.apply(&charged(3, rho(1, 1))).unwrap();
    for round in [3, 2] {
        let again = state.apply(&charged(round, rho(0, 1)));
        assert!(matches!(again, Err(JournalRefusal::Stale { last: RoundNumber(3), .. })));
    }
    // Giving the charge back does not give the number back.
    state.apply(&settled(3, Settlement::Refunded)).unwrap();
    assert!(matches!(state.apply(&charged(3, rho(1, 1))), Err(JournalRefusal::Stale { .. })));
    assert_eq!(state.last_round(&federation()), Some(RoundNumber(3)));
}

#[test]
fn a_question_is_answered_once() {
    let mut state = JournalState::new(rho(10, 1));
    state.apply(&charged(1, rho(1, 1))).unwrap();
    let same = Charge { round: RoundNumber(2), ..charge(1, rho(1, 1)) };
    let refused = state.apply(&Record::Charged(same.clone()));
    assert!(matches!(refused, Err(JournalRefusal::Repeated { before: RoundNumber(1), .. })));
    // Another window, model or plan is another question.
    for (round, other) in [
        (2, Charge { window: 8, ..same.clone() }),
        (3, Charge { model: Digest::plain(b"other"), ..same.clone() }),
        (4, Charge { plan: Digest::plain(b"other"), ..same.clone() }),
    ] {
        state.apply(&Record::Charged(Charge { round: RoundNumber(round), ..other })).unwrap();
    }
    // After the vector left, never again; after a refund, once more.
    state.apply(&released(1)).unwrap();
    let later = Record::Charged(Charge { round: RoundNumber(5), ..same.clone() });
    assert!(matches!(state.apply(&later), Err(JournalRefusal::Repeated { .. })));
    state.apply(&settled(2, Settlement::Refunded)).unwrap();
    let again = Charge { round: RoundNumber(6), window: 8, ..same };
    state.apply(&Record::Charged(again)).unwrap();
}

#[test]
fn the_cap_is_exact_at_the_boundary() {
    let mut state = JournalState::new(rho(3, 10));
    state.apply(&charged(1, rho(1, 10))).unwrap();
    let trace = Rho::new(Rational::power_of_half(4000)).unwrap();
    let over = charged(2, &rho(2, 10) + &trace);
    assert!(matches!(state.apply(&over), Err(JournalRefusal::OverCap { .. })));
    assert_eq!(state.spent(&federation()), rho(1, 10));
    // The refused number was not used up, and in floats 0.1 + 0.2 would exceed 0.3.
    state.apply(&charged(2, rho(2, 10))).unwrap();
    assert!(matches!(state.apply(&charged(3, trace)), Err(JournalRefusal::OverCap { .. })));
    state.apply(&charged(3, rho(0, 1))).unwrap();

    // Caps and accounts are each federation's own.
    let other = FederationId::new("other").unwrap();
    state.set_cap(other.clone(), rho(1, 10));
    let elsewhere = |cost| Record::Charged(Charge { federation: other.clone(), ..charge(1, cost) });
    assert!(matches!(state.apply(&elsewhere(rho(2, 10))), Err(JournalRefusal::OverCap { .. })));
    state.apply(&elsewhere(rho(1, 10))).unwrap();
}

#[test]
fn nothing_is_given_back_after_a_vector_left() {
    let mut state = JournalState::new(rho(1, 1));
    state.apply(&charged(1, rho(1, 2))).unwrap();
    state.apply(&released(1)).unwrap();
    for again in [settled(1, Settlement::Refunded), released(1)] {
        let late = state.apply(&again);
        assert!(matches!(late, Err(JournalRefusal::NotOpen { .. })));
    }
    assert_eq!((state.spent(&federation()), state.released(&federation())), (rho(1, 2), 1));
    // An unsettled charge counts, and may still be given back, once.
    state.apply(&charged(2, rho(1, 2))).unwrap();
    assert_eq!(state.spent(&federation()), rho(1, 1));
    assert_eq!(state.open().count(), 1);
    state.apply(&settled(2, Settlement::Refunded)).unwrap();
    assert!(state.apply(&settled(2, Settlement::Refunded)).is_err());
    assert_eq!(state.spent(&federation()), rho(1, 2));
    assert!(state.apply(&settled(9, Settlement::Refunded)).is_err());
}

#[test]
fn an_abort_certificate_gives_a_released_round_back_once() {
    let mut state = JournalState::new(rho(1, 1));
    state.apply(&charged(1, rho(1, 2))).unwrap();
    state.apply(&released(1)).unwrap();
    let record = Record::from(state.reopening(&federation(), &aborted(1, 1)).unwrap());
    state.apply(&record).unwrap();
    assert_eq!((state.spent(&federation()), state.released(&federation())), (rho(0, 1), 1));
    assert!(matches!(state.apply(&record), Err(JournalRefusal::NotReleased { .. })));
    let again = state.reopening(&federation(), &aborted(1, 1));
    assert!(matches!(again, Err(JournalRefusal::NotReleased { .. })));
    // The question may be asked again, under a new number only.
    assert!(matches!(state.apply(&charged(1, rho(1, 2))), Err(JournalRefusal::Stale { .. })));
    let same = Charge { round: RoundNumber(2), ..charge(1, rho(1, 2)) };
    state.apply(&Record::Charged(same.clone())).unwrap();
    state.apply(&released(2)).unwrap();
    // The certificate of the first attempt says nothing about the second.
    assert!(state.reopening(&federation(), &aborted(1, 1)).is_err());
    assert_eq!(state.spent(&federation()), rho(1, 2));
}

#[test]
fn differencing_by_re_running_an_aborted_round_is_refused() {
    let mut state = JournalState::new(rho(10, 1));
    state.apply(&charged(1, rho(1, 2))).unwrap();
    state.apply(&released(1)).unwrap();
    let again = Record::Charged(Charge { round: RoundNumber(2), ..charge(1, rho(1, 2)) });
    let refused = |state: &mut JournalState| {
        let answer = state.apply(&again);
        assert!(matches!(answer, Err(JournalRefusal::Repeated { before: RoundNumber(1), .. })));
        assert_eq!(state.spent(&federation()), rho(1, 2));
    };
    refused(&mut state);
    // Votes about another session, or of others than those who could vote in this one.
    for proof in [aborted(2, 1), aborted(1, 100)] {
        let record = state.reopening(&federation(), &proof);
        assert!(matches!(record, Err(JournalRefusal::NotReleased { .. })));
        refused(&mut state);
    }
    let elsewhere = FederationId::new("other").unwrap();
    assert!(state.reopening(&elsewhere, &aborted(1, 1)).is_err());
    // A record that was made for another round or session does not fit.
    let made = state.reopening(&federation(), &aborted(1, 1)).unwrap();
    let bent = Record::Reopened(Reopened { session: session(2), ..made.clone() });
    assert!(matches!(state.apply(&bent), Err(JournalRefusal::NotReleased { .. })));
    state.apply(&made.into()).unwrap();
    state.apply(&again).unwrap();
}

#[test]
fn a_certificate_does_not_reopen_what_a_later_round_answered() {
    let mut state = JournalState::new(rho(10, 1));
    state.apply(&charged(1, rho(1, 2))).unwrap();
    state.apply(&released(1)).unwrap();
    // Others saw the same question answered in round 2, of which this journal lost its record.
    let question = question(&charge(1, rho(1, 2)));
    let cost = stated(2, rho(1, 2)).cost;
    let lost = StatedRound { round: RoundNumber(2), question, cost };
    state.apply(&restored(vec![lost])).unwrap();
    state.apply(&Record::Acknowledged { federation: federation() }).unwrap();
    let record = state.reopening(&federation(), &aborted(1, 1)).unwrap();
    state.apply(&record.into()).unwrap();
    let again = Charge { round: RoundNumber(3), ..charge(1, rho(1, 2)) };
    let refused = state.apply(&Record::Charged(again));
    assert!(matches!(refused, Err(JournalRefusal::Repeated { before: RoundNumber(2), .. })));
}

#[test]
fn an_open_charge_is_not_given_back_by_certificate() {
    let mut state = JournalState::new(rho(1, 1));
    state.apply(&charged(1, rho(1, 2))).unwrap();
    assert!(state.reopening(&federation(), &aborted(1, 1)).is_err());
    // It needs none: nothing left.
    state.apply(&settled(1, Settlement::Refunded)).unwrap();
    assert!(state.reopening(&federation(), &aborted(1, 1)).is_err());
    assert_eq!(state.spent(&federation()), Rho::zero());
}

#[test]
fn a_federation_has_noise_always_or_never() {
    let bare = |round| Record::Charged(Charge { rho: None, ..charge(round, Rho::zero()) });
    let mut state = JournalState::new(rho(0, 1));
    state.apply(&bare(1)).unwrap();
    let mixed = state.apply(&charged(2, rho(0, 1)));
    assert!(matches!(mixed, Err(JournalRefusal::Mixed { .. })));
    assert!(matches!(state.apply(&bare(1)), Err(JournalRefusal::Stale { .. })));
    assert_eq!(state.spent(&federation()), Rho::zero());
}

#[test]
fn a_lowered_cap_does_not_forget_what_was_spent() {
    let records = [charged(1, rho(1, 1)), released(1)];
    let mut state = JournalState::new(rho(1, 2));
    state.replay(&records).unwrap();
    assert_eq!(state.spent(&federation()), rho(1, 1));
    assert!(matches!(state.apply(&charged(2, rho(0, 1))), Err(JournalRefusal::OverCap { .. })));
    // Records in an order that was never written are refused.
    let mut state = JournalState::new(rho(1, 1));
    assert!(state.replay(&[released(1)]).is_err());
}

fn stated(round: u64, cost: Rho) -> StatedRound {
    let question = question(&charge(round, Rho::zero()));
    let cost = Some(chorale_plan::cost_units(&cost));
    StatedRound { round: RoundNumber(round), question, cost }
}

fn restored(rounds: Vec<StatedRound>) -> Record {
    let witnesses = vec![AgentId::new("store-01").unwrap()];
    Record::Restored { federation: federation(), rounds, witnesses, time_s: 2000 }
}

fn voted(epoch: u64) -> Record {
    let agents = ["store-00", "store-01"].map(|name| AgentId::new(name).unwrap()).to_vec();
    Record::RosterVoted { federation: federation(), epoch: Epoch(epoch), agents }
}

fn seen(epoch: u64, agents: usize) -> Record {
    Record::CohortSeen {
        federation: federation(),
        epoch: Epoch(epoch),
        round: stated(5, rho(1, 1)),
        cohort: SlotSet::from_slots(agents, [Slot(0)]),
    }
}

#[test]
fn heads_are_cosigned_once_and_in_ascending_order() {
    let head = |seq: u64, text: &[u8]| Record::HeadCosigned {
        federation: federation(),
        head: LedgerHead { seq, hash: Digest::plain(text) },
    };
    let mut state = JournalState::new(rho(1, 1));
    assert_eq!(state.last_head(&federation()), None);
    state.apply(&head(3, b"one")).unwrap();
    for again in [head(3, b"other"), head(3, b"one"), head(2, b"earlier")] {
        let refused = state.apply(&again);
        assert!(matches!(refused, Err(JournalRefusal::HeadCosigned { last: 3, .. })), "{again:?}");
    }
    state.apply(&head(7, b"later")).unwrap();
    assert_eq!(state.last_head(&federation()).unwrap().seq, 7);
    // Another federation has another ledger.
    let other = FederationId::new("other").unwrap();
    assert_eq!(state.last_head(&other), None);
}

#[test]
fn a_restored_backup_is_charged_and_stops_the_agent_until_acknowledged() {
    let mut state = JournalState::new(rho(3, 1));
    state.apply(&charged(1, rho(1, 2))).unwrap();
    state.apply(&released(1)).unwrap();
    state.apply(&restored(vec![stated(2, rho(1, 2)), stated(4, rho(1, 1))])).unwrap();
    assert_eq!(state.spent(&federation()), rho(2, 1));
    assert_eq!(state.last_round(&federation()), Some(RoundNumber(4)));
    let refused = state.apply(&charged(5, rho(1, 8)));
    assert!(matches!(refused, Err(JournalRefusal::Unacknowledged { witnesses: 1, .. })));
    // Statements that come in parts add up.
    state.apply(&restored(vec![stated(6, rho(1, 2))])).unwrap();
    assert_eq!(state.restoration(&federation()).unwrap().rounds.len(), 3);
    let acknowledged = Record::Acknowledged { federation: federation() };
    state.apply(&acknowledged).unwrap();
    let again = state.apply(&acknowledged);
    assert!(matches!(again, Err(JournalRefusal::NothingRestored { .. })));
    // Numbers, questions and budget stay as the others stated them.
    assert!(matches!(state.apply(&charged(6, rho(0, 1))), Err(JournalRefusal::Stale { .. })));
    let repeated = Charge { round: RoundNumber(7), ..charge(4, rho(1, 8)) };
    assert!(matches!(
        state.apply(&Record::Charged(repeated)),
        Err(JournalRefusal::Repeated { before: RoundNumber(4), .. })
    ));
    assert!(matches!(state.apply(&charged(7, rho(1, 1))), Err(JournalRefusal::OverCap { .. })));
    state.apply(&charged(7, rho(1, 2))).unwrap();
    // Nothing that was restored can be given back, and nothing known is restored.
    assert!(state.apply(&settled(4, Settlement::Refunded)).is_err());
    for rounds in [vec![stated(7, rho(0, 1))], vec![stated(9, rho(0, 1)), stated(8, rho(0, 1))]] {
        let out_of_order = state.apply(&restored(rounds));
        assert!(matches!(out_of_order, Err(JournalRefusal::RestoredOrder { .. })));
    }
}

#[test]
fn an_epoch_number_has_one_roster() {
    let mut state = JournalState::new(rho(1, 1));
    assert!(matches!(state.apply(&seen(3, 2)), Err(JournalRefusal::UnknownRoster { .. })));
    state.apply(&voted(3)).unwrap();
    for epoch in [3, 2] {
        let again = state.apply(&voted(epoch));
        assert!(matches!(again, Err(JournalRefusal::EpochVoted { last: Epoch(3), .. })));
    }
    assert!(matches!(state.apply(&seen(3, 3)), Err(JournalRefusal::UnknownRoster { .. })));
    state.apply(&seen(3, 2)).unwrap();
    state.apply(&voted(4)).unwrap();
    assert_eq!(state.last_epoch(&federation()), Some(Epoch(4)));
    assert_eq!(state.rosters(&federation()).count(), 2);
    let cohorts: Vec<_> = state.cohorts(&federation(), Epoch(3)).collect();
    assert_eq!((cohorts.len(), cohorts[0].1.len()), (1, 1));
    assert_eq!(state.cohorts(&federation(), Epoch(4)).count(), 0);
    // What is only remembered costs nothing and names no round of this agent's own.
    assert_eq!(state.spent(&federation()), Rho::zero());
    assert_eq!(state.last_round(&federation()), None);
}

fn window(days: u32, rho: Rho, across_federations: bool) -> AgentCap {
    let cap = Cap { name: "window".into(), tasks: Vec::new(), days: Some(days), rho };
    AgentCap { cap, across_federations }
}

fn over(result: Result<(), JournalRefusal>) -> CapExceeded {
    match result {
        Err(JournalRefusal::OverCap { source, .. }) => *source,
        other => panic!("{other:?}"),
    }
}

/// A charge of `tenths` at day `day`.
fn on_day(round: u64, tenths: u64, day: u64) -> Charge {
    Charge { time_s: day * DAY_S, ..charge(round, rho(tenths, 10)) }
}

fn released_on_day(round: u64, day: u64) -> Record {
    let (session, electorate) = (session(round), electorate(1).digest());
    settled(round, Settlement::Released { session, electorate, time_s: day * DAY_S })
}

#[test]
fn a_window_of_the_agents_own_refuses_names_itself_and_frees() {
    let others = vec![window(30, rho(3, 10), false)];
    let caps = AgentCaps { lifetime: rho(5, 10), others };
    let mut state = JournalState::new(caps.clone());
    let mut written = Vec::new();
    let mut apply = |state: &mut JournalState, record: Record| {
        state.apply(&record)?;
        written.push(record);
        Ok(())
    };
    apply(&mut state, Record::Charged(on_day(1, 2, 100))).unwrap();
    apply(&mut state, released_on_day(1, 101)).unwrap();
    let refused = over(apply(&mut state, Record::Charged(on_day(2, 2, 102))));
    assert_eq!(
        (refused.cap.name.as_str(), refused.left()),
        ("window", Rational::new(1, 10).unwrap())
    );
    assert_eq!(refused.frees, Frees::At(131 * DAY_S));
    // The clock is put back: nothing is freed, and what is charged now is dated by the latest day.
    assert_eq!(over(apply(&mut state, Record::Charged(on_day(2, 2, 0)))).frees, refused.frees);
    apply(&mut state, Record::Charged(on_day(2, 1, 0))).unwrap();
    apply(&mut state, released_on_day(2, 0)).unwrap();
    // It counts until day 131 like the first one, and not only until day 30.
    assert_eq!(over(apply(&mut state, Record::Charged(on_day(3, 1, 130)))).frees, refused.frees);
    // Another federation has a window, and a lifetime, of its own.
    let other = FederationId::new("other").unwrap();
    let elsewhere = Charge { federation: other, ..on_day(1, 3, 102) };
    apply(&mut state, Record::Charged(elsewhere)).unwrap();
    // The window frees, and then the lifetime refuses.
    let refused = over(apply(&mut state, Record::Charged(on_day(9, 3, 400))));
    assert_eq!((refused.cap.name.as_str(), refused.frees), ("lifetime", Frees::Never));
    apply(&mut state, Record::Charged(on_day(9, 2, 400))).unwrap();
    let mut again = JournalState::new(caps);
    again.replay(&written).unwrap();
    assert_eq!(again, state);
}

#[test]
fn a_new_federation_over_the_same_people_begins_with_what_the_old_one_left() {
    let others = vec![window(3_660, rho(4, 10), true)];
    let mut state = JournalState::new(AgentCaps { lifetime: rho(3, 10), others });
    state.apply(&Record::Charged(on_day(1, 3, 1))).unwrap();
    state.apply(&released_on_day(1, 1)).unwrap();
    let renamed = FederationId::new("renamed").unwrap();
    let again = |tenths| Charge { federation: renamed.clone(), ..on_day(1, tenths, 2) };
    let refused = over(state.apply(&Record::Charged(again(2))));
    assert_eq!(refused.left(), Rational::new(1, 10).unwrap());
    state.apply(&Record::Charged(again(1))).unwrap();
    let standing = state.standing(&renamed, 2 * DAY_S);
    assert_eq!((&standing[0].spent, &standing[0].reserved), (&rho(3, 10), &rho(1, 10)));
}

#[test]
fn what_a_crash_left_open_stands_and_leaves_the_window_after_the_next_start() {
    let others = vec![window(30, rho(3, 10), false)];
    let mut state = JournalState::new(AgentCaps { lifetime: rho(1, 1), others });
    state.apply(&Record::Charged(on_day(1, 3, 10))).unwrap();
    // While it is under way it counts however long that takes.
    assert_eq!(over(state.apply(&Record::Charged(on_day(2, 1, 90)))).frees, Frees::WhenRoundsEnd);
    let interrupted =
        |day: u64| Record::Interrupted { federation: federation(), time_s: day * DAY_S };
    state.apply(&interrupted(20)).unwrap();
    assert_eq!((state.open().count(), state.interrupted(&federation())), (0, 1));
    assert_eq!(state.spent(&federation()), rho(3, 10));
    // Another start does not date it anew, and nothing is given back.
    state.apply(&interrupted(40)).unwrap();
    for settlement in [released_on_day(1, 41), settled(1, Settlement::Refunded)] {
        assert!(matches!(state.apply(&settlement), Err(JournalRefusal::NotOpen { .. })));
    }
    assert!(state.apply(&Record::Charged(on_day(2, 1, 49))).is_err());
    state.apply(&Record::Charged(on_day(2, 1, 50))).unwrap();
}

#[test]
fn restored_rounds_count_in_every_family() {
    let tasks = vec!["cooccurrence".to_string()];
    let cap = Cap { name: "family".into(), tasks, days: None, rho: rho(3, 8) };
    let others = vec![AgentCap { cap, across_federations: false }];
    let mut state = JournalState::new(AgentCaps { lifetime: rho(10, 1), others });
    let of = |task: &str, charge: Charge| Record::Charged(Charge { task: task.into(), ..charge });
    state.apply(&of("popularity", on_day(1, 9, 1))).unwrap();
    state.apply(&released_on_day(1, 1)).unwrap();
    state.apply(&restored(vec![stated(2, rho(2, 8))])).unwrap();
    state.apply(&Record::Acknowledged { federation: federation() }).unwrap();
    let refused = over(state.apply(&of("cooccurrence", on_day(3, 2, 1))));
    assert_eq!((refused.cap.name.as_str(), refused.frees), ("family", Frees::Never));
    let fits = Charge { rho: Some(rho(1, 8)), ..on_day(3, 0, 1) };
    state.apply(&of("cooccurrence", fits)).unwrap();
}

#[test]
fn records_survive_the_codec() {
    let reopened =
        Reopened { federation: federation(), round: RoundNumber(1), session: session(1) };
    for record in [
        charged(1, rho(1, 3)),
        settled(1, Settlement::Refunded),
        released(1),
        reopened.into(),
        voted(1),
        seen(1, 2),
        restored(vec![stated(9, rho(1, 3))]),
        Record::Acknowledged { federation: federation() },
        Record::Interrupted { federation: federation(), time_s: 5 },
    ] {
        let bytes = chorale_wire::codec::encode(&record, 1 << 12).unwrap();
        let back: Record = chorale_wire::codec::decode(&bytes, 1 << 12).unwrap();
        assert_eq!(back, record);
    }
}

proptest! {
    /// In any order of requests: the sum of what stands never exceeds the cap, refusals
    /// change nothing, and replaying what was written gives the same state.
    #[test]
    fn the_invariants_hold_in_any_order(
        steps in proptest::collection::vec((0u64..12, 0u64..40, 0u8..4), 0..60),
    ) {
        let mut state = JournalState::new(rho(100, 3));
        let mut written = Vec::new();
        let mut standing: BTreeMap<u64, u64> = BTreeMap::new();
        for (round, cost, kind) in steps {
            let record = match kind {
                0 => charged(round, rho(cost, 3)),
                1 => released(round),
                2 => settled(round, Settlement::Refunded),
                _ => match state.reopening(&federation(), &aborted(round, 1)) {
                    Ok(reopened) => reopened.into(),
                    Err(_) => continue,
                },
            };
            let before = state.clone();
            if state.apply(&record).is_ok() {
                match kind {
                    0 => { standing.insert(round, cost); }
                    1 => {}
                    _ => { standing.remove(&round); }
                }
                written.push(record);
            } else {
                prop_assert_eq!(&state, &before);
            }
            prop_assert_eq!(state.spent(&federation()), rho(standing.values().sum(), 3));
            prop_assert!(state.spent(&federation()) <= rho(100, 3));
        }
        let mut again = JournalState::new(rho(100, 3));
        again.replay(&written).unwrap();
        prop_assert_eq!(again, state);
    }
}
