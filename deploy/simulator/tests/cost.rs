//! Cost runs: real sums, plausible figures, the same machines below and above the sparse graph.
#![allow(clippy::unwrap_used)]

use chorale_simulator::cost::{CostReport, CostRun, cost};

fn run(agents: usize, coordinates: usize, threads: usize) -> CostReport {
    let run = CostRun { agents, rounds: 2, dropout_per_mille: 50, coordinates, seed: 7, threads };
    cost(&run).unwrap()
}

#[test]
fn a_federation_on_the_complete_graph_is_measured() {
    let report = run(24, 100, 2);
    assert_eq!((report.agents, report.dropouts, report.neighbours), (24, 1, 23));
    assert_eq!(report.phases.len(), 9);
    for phase in &report.phases[..8] {
        assert!(phase.agent_alone_cpu_s > 0.0, "{phase:?}");
        assert!(phase.coordinator_cpu_s > 0.0, "{phase:?}");
        assert!(phase.agent_sent_bytes.median > 0.0, "{phase:?}");
        assert!(phase.agent_received_bytes.median > 0.0, "{phase:?}");
    }
    // Whoever shares verified objects spends less on rosters than whoever does not.
    let roster = &report.phases[1];
    assert!(roster.agent_cpu_s.median < roster.agent_alone_cpu_s / 2.0, "{roster:?}");
    let text = report.to_string();
    assert!(text.contains("24 agents") && text.contains("an agent alone"), "{text}");
    assert!(report.to_json().unwrap().contains("\"coordinator_cpu_s\""));
}

#[test]
fn bytes_do_not_depend_on_threads_or_luck() {
    let bytes = |report: CostReport| -> Vec<(u64, u64)> {
        let phases = report.phases.iter();
        phases.map(|it| (it.coordinator_sent_bytes, it.coordinator_received_bytes)).collect()
    };
    assert_eq!(bytes(run(12, 10, 1)), bytes(run(12, 10, 3)));
}

#[test]
fn a_federation_on_the_sparse_graph_is_measured() {
    let report = run(150, 10, 2);
    assert!(report.neighbours < 149, "{}", report.neighbours);
    assert_eq!(report.dropouts, 7);
}
