//! Layering and style as tests: the rules of `docs/architecture.md`, enforced.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use chorale_tests::checkout;

/// Which of our crates each crate may name among its ordinary dependencies.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("common/wire", &[]),
    ("common/dp", &[]),
    ("common/plan", &["wire", "dp"]),
    ("common/task", &["plan", "dp", "wire"]),
    ("common/secagg", &["wire"]),
    ("common/round", &["secagg", "plan", "dp", "wire"]),
    ("common/ledger", &["plan", "dp", "wire"]),
    ("common/gate", &["plan", "dp", "secagg", "wire"]),
    ("common/transport", &["gate", "wire"]),
    ("client-agent/people", &["plan", "task", "wire"]),
    ("client-agent/observe", &["people", "task", "wire"]),
    ("client-agent/api", &["people", "plan", "task", "wire"]),
    (
        "client-agent",
        &[
            "people",
            "observe",
            "api",
            "wire",
            "dp",
            "plan",
            "task",
            "secagg",
            "round",
            "ledger",
            "gate",
            "transport",
        ],
    ),
    ("coordinator", &["wire", "dp", "plan", "task", "secagg", "round", "ledger", "transport"]),
];

/// Outside crates that only some of ours may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("quinn", &["common/transport"]),
    ("rustls", &["common/transport"]),
    ("rcgen", &["common/transport"]),
    ("burn", &["common/task"]),
    ("datafusion", &["client-agent/observe"]),
    ("redb", &["client-agent", "client-agent/people", "coordinator"]),
    ("axum", &["client-agent/api", "coordinator", "benches/api"]),
    ("sqlx", &["client-agent/observe"]),
    ("ballista-core", &["client-agent/observe", "tests"]),
    ("tonic", &["client-agent/observe"]),
    ("bincode", &["common/wire"]),
    (
        "tokio",
        &[
            "common/transport",
            "client-agent",
            "client-agent/observe",
            "client-agent/api",
            "coordinator",
            "deploy/demo",
            "tests",
            "benches",
            "benches/api",
        ],
    ),
];

/// Crates whose code owns no clock, socket, file or operating-system randomness.
const SANS_IO: &[&str] = &[
    "common/wire",
    "common/dp",
    "common/plan",
    "common/task",
    "common/secagg",
    "common/round",
    "common/ledger",
    "common/gate",
];

const IO: &[&str] = &[
    "std::net",
    "std::fs",
    "Instant::now",
    "SystemTime",
    "tokio::",
    "getrandom::",
    "SysRng",
    "OsRng",
    "rand::rng(",
    "thread_rng",
];

fn manifest(folder: &str) -> toml::Table {
    let path = checkout().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    manifest(folder)
        .get("dependencies")
        .and_then(toml::Value::as_table)
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

fn members() -> Vec<String> {
    manifest("")["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member.as_str().unwrap().to_string())
        .collect()
}

fn files_under(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "demo-output" {
                files_under(&path, ending, found);
            }
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

/// Rust sources of a folder with their text up to the first test module, comments left out.
fn production(folder: &str) -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    files_under(&checkout().join(folder).join("src"), ".rs", &mut paths);
    paths
        .into_iter()
        .filter(|path| {
            !path.ends_with("tests.rs") && !path.components().any(|c| c.as_os_str() == "tests")
        })
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: Vec<&str> =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (path, code.join("\n"))
        })
        .collect()
}

#[test]
fn crates_depend_only_downwards() {
    for (folder, allowed) in MAY_DEPEND_ON {
        for name in dependencies(folder) {
            if let Some(ours) = name.strip_prefix("chorale-") {
                assert!(allowed.contains(&ours), "{folder} must not depend on chorale-{ours}");
            }
        }
    }
}

#[test]
fn every_member_has_a_rule_and_a_name() {
    let ruled: BTreeSet<&str> = MAY_DEPEND_ON.iter().map(|(folder, _)| *folder).collect();
    for member in members() {
        let is_top =
            ["tests", "tests/fuzz", "benches", "benches/api", "deploy/demo", "deploy/simulator"]
                .contains(&member.as_str());
        assert!(is_top || ruled.contains(member.as_str()), "{member} has no dependency rule");
        let table = manifest(&member);
        let name = table["package"]["name"].as_str().unwrap();
        assert!(name.starts_with("chorale-"), "{member} is called {name}");
        assert!(table["lints"]["workspace"].as_bool().unwrap(), "{member} leaves the lints out");
    }
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    for member in members() {
        for name in dependencies(&member) {
            if let Some((_, rooms)) = ONLY_IN.iter().find(|(outside, _)| *outside == name) {
                assert!(rooms.contains(&member.as_str()), "{member} must not name {name}");
            }
        }
    }
}

#[test]
fn protocol_code_owns_no_clock_socket_file_or_randomness() {
    for folder in SANS_IO {
        for (path, code) in production(folder) {
            for word in IO {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn one_production_journal() {
    let mut found = Vec::new();
    for member in members() {
        for (path, code) in production(&member) {
            if code.contains("Journal for ") {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "journals: {found:?}");
    assert!(found[0].starts_with(checkout().join("client-agent")));
}

#[test]
fn no_seeded_randomness_in_the_binaries() {
    for folder in [
        "client-agent",
        "client-agent/people",
        "client-agent/observe",
        "client-agent/api",
        "coordinator",
    ] {
        for (path, code) in production(folder) {
            for word in ["seed_from_u64", "StdRng", "SmallRng", "ChaCha8Rng"] {
                assert!(!code.contains(word), "{} uses {word}", path.display());
            }
        }
    }
}

#[test]
fn the_coordinator_cannot_reach_a_store() {
    let names = dependencies("coordinator");
    assert!(!names.contains("chorale-gate") && !names.contains("chorale-client-agent"));
    for (path, code) in production("common/transport") {
        assert!(!code.contains("pub use chorale_gate"), "{} re-exports the gate", path.display());
    }
}

#[test]
fn nothing_is_left_undone_in_silence() {
    let mut paths = Vec::new();
    files_under(&checkout(), ".rs", &mut paths);
    for path in paths.iter().filter(|path| !path.ends_with("tidy/main.rs")) {
        let text = fs::read_to_string(path).unwrap();
        for word in ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn lines_and_files_stay_readable() {
    let mut paths = Vec::new();
    files_under(&checkout(), ".rs", &mut paths);
    let long: BTreeMap<PathBuf, usize> = paths
        .into_iter()
        .map(|path| {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            (path, lines)
        })
        .filter(|(_, lines)| *lines > 900)
        .collect();
    assert!(long.is_empty(), "split these rooms: {long:?}");
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut paths = Vec::new();
    files_under(&checkout(), ".md", &mut paths);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for piece in text.split("](").skip(1) {
            let target = piece.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let there = path.parent().unwrap().join(target);
            assert!(there.exists(), "{} links to {target}", path.display());
        }
    }
}
