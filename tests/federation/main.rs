//! Whole federations over real QUIC, in which something dies at the worst moment.
//!
//! In each of them the programme completes, nobody hangs, the ledger verifies from its file
//! alone, no round is charged twice, and every surviving agent's journal has spent what the
//! ledger says of the rounds it gave a vector to.
#![allow(missing_docs, clippy::unwrap_used)]

mod canaries;
mod changes;
mod sign_offs;

use chorale_coordinator::events::Event;
use chorale_dp::Rational;
use chorale_ledger::{Head, Outcome, Report};
use chorale_tests::{Agent, Federation, Kill, Setup, federation::plan, running::WATCHDOG};

/// Rounds of the default programme.
const ROUNDS: u32 = 4;

/// Time enough for everybody on a busy machine, where a test counts on all agents.
fn patient() -> String {
    Setup::default().timing.replace("4000", "15000").replace("2000", "5000")
}

/// One of six agents dies in a phase; five go on and complete the programme.
async fn dies(phase: &'static str, nth: u32) {
    let federation = Federation::new(Setup::default()).await;
    let coordinator = federation.start_coordinator();
    let victim = federation.start_agent(0, Kill::At(phase, nth));
    let others = federation.start_agents(1..6);
    victim.killed().await;
    let (result, events) = coordinator.finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in others {
        let summary = agent.finish().await;
        assert!(summary.final_model.is_some());
        assert_eq!(summary.completed, u64::from(ROUNDS), "{events:#?}");
    }
    let report = complete_and_charged_once(&federation);
    for agent in 1..6 {
        spent_what_the_ledger_says(&federation, agent, &report);
        cosigned_what_the_ledger_holds(&federation, agent, &report);
    }
    // The dead agent's disk is whole, and it never spent more than the ledger says.
    let (spent, cap) = federation.journal(0);
    assert!(spent <= cap);
    assert!(Some(&spent) <= report.spent.rho());
}

/// The programme is complete, and every round number stands in the ledger once.
fn complete_and_charged_once(federation: &Federation) -> Report {
    let text = federation.ledger_text();
    let report = federation.verified_ledger();
    federation.audit_by_python();
    assert_eq!((report.released, report.open), (ROUNDS, 0), "{text}");
    assert_eq!(text.matches("genesis").count(), 1, "{text}");
    let numbers: Vec<u64> = report.rounds.iter().map(|round| round.round).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let plans: Vec<&str> = report
        .rounds
        .iter()
        .filter(|round| is_released(&round.outcome))
        .map(|round| round.plan.as_str())
        .collect();
    assert_eq!(plans, ["popularity", "taste", "taste", "taste"]);
    let charged = rho_of(&report, is_charged);
    assert_eq!(report.spent.rho().unwrap().as_rational(), &charged);
    assert!(charged <= *report.cap.rho().unwrap().as_rational());
    report
}

fn is_released(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Released { .. })
}

/// Released, or aborted when masked vectors may have left already.
fn is_charged(outcome: &Outcome) -> bool {
    is_released(outcome) || matches!(outcome, Outcome::Aborted { charged: true, .. })
}

/// ρ of the rounds whose outcome `which` accepts, exactly.
fn rho_of(report: &Report, which: fn(&Outcome) -> bool) -> Rational {
    report
        .rounds
        .iter()
        .filter(|round| which(&round.outcome))
        .filter_map(|round| round.rho.rho())
        .fold(Rational::zero(), |sum, rho| &sum + rho.as_rational())
}

/// A survivor spent every released round, and of the aborted ones at most what was charged.
fn spent_what_the_ledger_says(federation: &Federation, agent: u32, report: &Report) {
    let (spent, cap) = federation.journal(agent);
    let released = rho_of(report, is_released);
    let all = rho_of(report, is_charged);
    assert!(*spent.as_rational() >= released && *spent.as_rational() <= all, "{spent:?}");
    if released == all {
        assert_eq!(*spent.as_rational(), released);
    }
    assert!(spent <= cap);
    assert_eq!(federation.open_journal(agent).state().open().count(), 0);
}

/// The head that a survivor's journal holds is one of this very ledger, up to the last release.
fn cosigned_what_the_ledger_holds(federation: &Federation, agent: u32, report: &Report) {
    let journal = federation.open_journal(agent);
    let head = Head::from(*journal.state().last_head(&federation.name()).unwrap());
    let ledger = federation.ledger_text();
    chorale_ledger::verify(ledger.as_bytes(), Some(head)).unwrap();
    let is_release = |line: &str| line.contains(r#""kind":"release""#);
    let last = (0u64..).zip(ledger.lines()).filter(|(_, line)| is_release(line)).last().unwrap();
    assert_eq!(head.seq, last.0, "{ledger}");
    assert_eq!(report.cosigned, Some(head), "{ledger}");
}

macro_rules! an_agent_dies {
    ($($test:ident: $phase:literal, $nth:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                dies($phase, $nth).await;
            }
        )*
    };
}

an_agent_dies! {
    an_agent_dies_at_the_roster: "waiting for the roster", 1;
    an_agent_dies_at_the_roster_votes: "waiting for all votes on the roster", 1;
    an_agent_dies_before_the_shares_arrive: "waiting for the other agents' shares", 1;
    an_agent_dies_in_training: "training", 2;
    an_agent_dies_when_it_is_ready: "waiting for the cohort", 2;
    an_agent_dies_while_it_masks: "masking its vector", 2;
    an_agent_dies_when_its_vector_is_about_to_leave: "waiting for the survivors", 2;
    an_agent_dies_when_it_has_voted: "waiting for the survivors' votes", 2;
    an_agent_dies_when_it_has_revealed: "waiting for the result", 2;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_before_the_cohort_abort_the_round_and_it_is_tried_again() {
    let federation = Federation::new(Setup::default()).await;
    let mut coordinator = federation.start_coordinator();
    let victims: Vec<Agent> =
        (0..2).map(|number| federation.start_agent(number, Kill::At("training", 2))).collect();
    let others = federation.start_agents(2..6);
    for victim in victims {
        victim.killed().await;
    }
    // Four are left and T_min is five: the round must not complete.
    coordinator.until("aborted", |event| matches!(event, Event::Aborted { .. })).await;
    let again = federation.start_agents(0..2);
    let (result, events) = coordinator.finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in others.into_iter().chain(again) {
        agent.finish().await;
    }
    let report = complete_and_charged_once(&federation);
    assert!(report.aborted >= 1);
    assert!(epochs(&events) >= 2, "{events:#?}");
    assert_eq!(rho_of(&report, is_charged), rho_of(&report, is_released), "it cost nothing");
    for agent in 2..6 {
        spent_what_the_ledger_says(&federation, agent, &report);
    }
}

/// Masked vectors had left, or were about to, when the round failed. The agents vote to abort it,
/// and with their votes the same step is asked again: it costs nobody anything. The dead get the
/// votes when they come back, and need nothing but their journals to verify them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_after_masking_are_voted_on_and_the_round_is_asked_again() {
    let phase = "waiting for the survivors";
    // Everybody is waited for, so that everybody spends the same.
    let timing = Setup::default().timing.replace("gather_ms = 2000", "gather_ms = 30000");
    let federation = Federation::new(Setup { timing, ..Setup::default() }).await;
    let mut coordinator = federation.start_coordinator();
    let victims: Vec<Agent> =
        (0..2).map(|number| federation.start_agent(number, Kill::At(phase, 2))).collect();
    let others = federation.start_agents(2..6);
    for victim in victims {
        victim.killed().await;
    }
    // Four are left and T_min is five: the round must not complete. T is four.
    coordinator
        .until("aborted", |event| matches!(event, Event::Aborted { votes: Some(4), .. }))
        .await;
    let again = federation.start_agents(0..2);
    let (result, events) = coordinator.finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in others.into_iter().chain(again) {
        agent.finish().await;
    }
    let report = complete_and_charged_once(&federation);
    let certified = report.rounds.iter().filter(|round| {
        matches!(round.outcome, Outcome::Aborted { charged: false, votes: Some(4), .. })
    });
    let certified: Vec<_> = certified.collect();
    assert_eq!((certified.len(), report.aborted), (1, 1), "{}", federation.ledger_text());
    // The same step under a new number, in everybody's journal too.
    let next = report.rounds.iter().find(|round| round.round == certified[0].round + 1).unwrap();
    assert!(is_released(&next.outcome) && next.plan == certified[0].plan);
    let spent = rho_of(&report, is_released);
    assert_eq!(rho_of(&report, is_charged), spent, "the aborted round cost nothing");
    for agent in 0..6 {
        assert_eq!(*federation.journal(agent).0.as_rational(), spent, "agent {agent}");
        spent_what_the_ledger_says(&federation, agent, &report);
    }
}

/// Who dies while its vector is made leaves a charge that nobody can give back: on a restored
/// disk the same record could mean that the vector left. The others take theirs back, and the
/// federation stops where too few are left that answer again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_deaths_while_masking_leave_their_charges_standing() {
    let timing = Setup::default().timing.replace("retries = 4", "retries = 1");
    let federation = Federation::new(Setup { timing, ..Setup::default() }).await;
    let mut coordinator = federation.start_coordinator();
    let victims: Vec<Agent> = (0..2)
        .map(|number| federation.start_agent(number, Kill::At("masking its vector", 2)))
        .collect();
    let others = federation.start_agents(2..6);
    for victim in victims {
        victim.killed().await;
    }
    coordinator
        .until("aborted", |event| matches!(event, Event::Aborted { votes: Some(4), .. }))
        .await;
    let again = federation.start_agents(0..2);
    let (result, events) = coordinator.finish().await;
    let said = result.unwrap_err().to_string();
    assert!(said.contains("round"), "{said}");
    let refused = events.iter().any(
        |event| matches!(event, Event::Refused { reason, .. } if reason.contains("asks again")),
    );
    assert!(refused, "{events:#?}");
    for agent in others.into_iter().chain(again) {
        agent.kill().await;
    }
    let report = federation.verified_ledger();
    let spent = rho_of(&report, is_released);
    assert_eq!((report.released, report.open), (1, 0));
    assert_eq!(rho_of(&report, is_charged), spent);
    for agent in 0..2 {
        assert!(*federation.journal(agent).0.as_rational() > spent, "agent {agent}");
    }
}

/// Too few agents are left to vote. So nobody knows whether the round was unmasked: the charge
/// stands on both sides, no agent answers the question again, and the federation stops with a
/// reason and with its books in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_enough_votes_the_question_is_not_answered_again() {
    let timing = Setup::default().timing.replace("retries = 4", "retries = 1");
    let federation = Federation::new(Setup { timing, ..Setup::default() }).await;
    let mut coordinator = federation.start_coordinator();
    let victims: Vec<Agent> = (0..3)
        .map(|number| federation.start_agent(number, Kill::At("waiting for the survivors", 2)))
        .collect();
    let others = federation.start_agents(3..6);
    for victim in victims {
        victim.killed().await;
    }
    coordinator.until("aborted", |event| matches!(event, Event::Aborted { votes: None, .. })).await;
    let again = federation.start_agents(0..3);
    let (result, events) = coordinator.finish().await;
    let said = result.unwrap_err().to_string();
    assert!(said.contains("round"), "{said}");
    let refused = events.iter().any(
        |event| matches!(event, Event::Refused { reason, .. } if reason.contains("asks again")),
    );
    assert!(refused, "{events:#?}");
    for agent in others.into_iter().chain(again) {
        agent.kill().await;
    }
    let report = federation.verified_ledger();
    assert_eq!((report.released, report.open), (1, 0));
    assert!(rho_of(&report, is_charged) > rho_of(&report, is_released), "the charge stands");
    for agent in 0..6 {
        let (spent, cap) = federation.journal(agent);
        assert!(spent <= cap && Some(&spent) <= report.spent.rho());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_died_comes_back_on_the_same_disk() {
    let federation = Federation::new(Setup::default()).await;
    let coordinator = federation.start_coordinator();
    let victim = federation.start_agent(0, Kill::At("waiting for the survivors", 1));
    let others = federation.start_agents(1..6);
    victim.killed().await;
    let before = federation.journal(0).0;
    let back = federation.start_agent(0, Kill::Never);
    let (result, events) = coordinator.finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in others {
        agent.finish().await;
    }
    // It is told the end and has the final model, whether it got into another epoch or not.
    assert!(back.finish().await.final_model.is_some());
    let report = complete_and_charged_once(&federation);
    let after = federation.journal(0).0;
    assert!(after >= before, "a restart must forget nothing");
    assert!(Some(&after) <= report.spent.rho());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinator_is_stopped_and_started_again() {
    let federation = Federation::new(Setup::default()).await;
    let mut agents = federation.start_agents(1..6);
    // The first agent holds round 3 open until the coordinator is gone.
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let times = std::sync::atomic::AtomicU32::new(0);
    agents.push(Agent::start_observed(federation.agent_config(0), move |phase| {
        if phase == "training" && times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
            tokio::task::block_in_place(|| wait.recv_timeout(WATCHDOG).unwrap());
        }
    }));
    let mut coordinator = federation.start_coordinator();
    coordinator.until("round 3", |event| matches!(event, Event::RoundOpen { round: 3, .. })).await;
    let first = coordinator.stop().await;
    go_on.send(()).unwrap();
    let stopped_at = federation.verified_ledger();
    assert_eq!((stopped_at.released, stopped_at.aborted), (2, 1), "{first:#?}");
    assert_eq!(stopped_at.open, 0, "a stop leaves no round open");
    let (result, second) = federation.start_coordinator().finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {second:#?}"));
    for agent in agents {
        agent.finish().await;
    }
    let report = complete_and_charged_once(&federation);
    assert_eq!(report.epochs as usize, epochs(&first) + epochs(&second));
    assert!(epochs(&second) >= 1, "the keys of the old epoch are void");
    for agent in 0..6 {
        spent_what_the_ledger_says(&federation, agent, &report);
    }
}

/// A store's data folder is replaced by a copy from before it ever took part. The others tell it
/// what it has forgotten; it is charged again and answers nothing until its owner has looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_rolled_back_is_charged_again_and_stops() {
    let federation = Federation::new(Setup::default()).await;
    let journal_file = federation.agent_config(0).data_dir.join("journal.redb");
    assert!(!journal_file.exists(), "the backup is from before the first round");
    let others = federation.start_agents(1..6);
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let times = std::sync::atomic::AtomicU32::new(0);
    let victim = Agent::start_observed(federation.agent_config(0), move |phase| {
        if phase == "training" && times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2 {
            // An agent that is gone does not go on.
            let _ = tokio::task::block_in_place(|| wait.recv_timeout(WATCHDOG));
        }
    });
    let mut coordinator = federation.start_coordinator();
    coordinator.until("round 3", |event| matches!(event, Event::RoundOpen { round: 3, .. })).await;
    coordinator.stop().await;
    go_on.send(()).unwrap();
    victim.kill().await;
    let spent = federation.open_journal(0).state().spent(&federation.name());
    assert!(spent > chorale_dp::Rho::zero());
    std::fs::remove_file(&journal_file).unwrap();

    let restored = federation.start_agent(0, Kill::Never);
    let (result, events) = federation.start_coordinator().finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in others {
        agent.finish().await;
    }
    let notes = restored.notes();
    assert!(notes.iter().any(|note| note.contains("a restored backup?")), "{notes:#?}");
    assert!(notes.iter().any(|note| note.contains("journal acknowledge")), "{notes:#?}");
    let summary = restored.finish().await;
    assert_eq!(summary.completed, 0, "it must not answer before its owner has looked");
    complete_and_charged_once(&federation);
    let journal = federation.open_journal(0);
    let (state, name) = (journal.state(), federation.name());
    assert!(state.spent(&name) >= spent, "what was spent is spent");
    let restoration = state.restoration(&name).unwrap();
    // All others, but for those that a round went on without: at least T_min - A - 1.
    assert!((3..=5).contains(&restoration.witnesses.len()), "{restoration:?}");
    assert!(restoration.rounds.len() >= 2, "{restoration:?}");
}

/// Wherever in the next round the stop falls, no agent dies of it and nobody waits for ever: the
/// programme completes, or, where a certificate of survivors had left, it ends because nobody
/// answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinator_is_stopped_just_after_a_round() {
    let timing = Setup::default().timing.replace("retries = 4", "retries = 1");
    let federation = Federation::new(Setup { timing, ..Setup::default() }).await;
    let agents = federation.start_agents(0..6);
    let mut coordinator = federation.start_coordinator();
    coordinator.until("round 1", |event| matches!(event, Event::Round { round: 1, .. })).await;
    coordinator.stop().await;
    let (result, events) = federation.start_coordinator().finish().await;
    if result.is_ok() {
        for agent in agents {
            agent.finish().await;
        }
        complete_and_charged_once(&federation);
        return;
    }
    let refused = events.iter().any(
        |event| matches!(event, Event::Refused { reason, .. } if reason.contains("asks again")),
    );
    assert!(refused, "{result:?}: {events:#?}");
    for agent in agents {
        assert!(agent.is_running(), "{:#?}", agent.notes());
        agent.kill().await;
    }
    assert_eq!(federation.verified_ledger().open, 0);
}

/// The stop falls when every vector is on its way or has arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinator_is_stopped_when_vectors_have_left() {
    let federation = Federation::new(Setup::default()).await;
    let mut agents = federation.start_agents(1..6);
    // The first agent holds round 2 open with its vector ready to leave, until the coordinator
    // has asked for votes.
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let times = std::sync::atomic::AtomicU32::new(0);
    agents.push(Agent::start_observed(federation.agent_config(0), move |phase| {
        let masked = phase == "waiting for the survivors";
        if masked && times.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
            tokio::task::block_in_place(|| wait.recv_timeout(WATCHDOG).unwrap());
        }
    }));
    let mut coordinator = federation.start_coordinator();
    coordinator.until("cohort 2", |event| matches!(event, Event::Cohort { round: 2, .. })).await;
    let stopped = coordinator.stop().await;
    go_on.send(()).unwrap();
    let votes = stopped.iter().any(|event| matches!(event, Event::Aborted { votes: Some(_), .. }));
    assert!(votes, "{stopped:#?}");
    let (result, events) = federation.start_coordinator().finish().await;
    result.unwrap_or_else(|error| panic!("{error:?}: {events:#?}"));
    for agent in agents {
        agent.finish().await;
    }
    let report = complete_and_charged_once(&federation);
    let spent = rho_of(&report, is_released);
    assert_eq!(rho_of(&report, is_charged), spent);
    // Also the agent that could not vote got the others' votes.
    assert!(*federation.journal(0).0.as_rational() <= spent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_floor_nothing_is_reserved_and_agents_are_told_what_is_waited_for() {
    let federation = Federation::new(Setup {
        plans: plan("popularity", "popularity", 1, "1", ""),
        timing: "gather_ms = 200\n".into(),
        ..Setup::default()
    })
    .await;
    let mut coordinator = federation.start_coordinator();
    let agents = federation.start_agents(0..4);
    coordinator
        .until("four agents", |event| matches!(event, Event::Agents { connected: 4, expected: 6 }))
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(coordinator.is_running());
    let events = coordinator.stop().await;
    assert_eq!(epochs(&events), 0, "{events:#?}");
    assert!(!events.iter().any(|event| matches!(event, Event::RoundOpen { .. })));
    let said: Vec<String> = agents.iter().flat_map(Agent::notes).collect();
    assert!(said.iter().any(|text| text.contains("of 6 agents are here")), "{said:#?}");
    for agent in agents {
        agent.kill().await;
    }
    let report = federation.verified_ledger();
    assert_eq!((report.rounds.len(), report.epochs), (0, 0));
    for agent in 0..4 {
        assert_eq!(*federation.journal(agent).0.as_rational(), Rational::zero());
    }
}

fn epochs(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count()
}
