//! Replays the committed corpus and the seeds through every target: what the fuzzer found once
//! stays tested wherever `cargo test` runs. A panic names the file.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

use chorale_fuzz::{TARGETS, Target, Verdict, seeds, target};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(target: &Target) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus().join(target.name)).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs a target on every file and seed; returns how many were accepted.
fn replay(target: &Target) -> usize {
    let mut accepted = 0;
    let mut run = |name: &str, bytes: &[u8]| {
        let verdict = panic::catch_unwind(|| (target.run)(bytes));
        match verdict {
            Ok(Verdict::Accepted) => accepted += 1,
            Ok(Verdict::Refused) => {}
            Err(_) => panic!("{} breaks a promise on {name}", target.name),
        }
    };
    for path in files(target) {
        run(&path.display().to_string(), &fs::read(&path).unwrap());
    }
    for (_, bytes) in seeds::all().into_iter().filter(|(name, _)| *name == target.name) {
        run(&format!("seed {}", bytes.escape_ascii()), &bytes);
    }
    accepted
}

#[test]
fn decoders_keep_their_promises() {
    for target in TARGETS.iter().filter(|target| !target.name.ends_with("_machine")) {
        assert!(replay(target) > 0, "{} accepts nothing and so tests nothing", target.name);
    }
}

#[test]
fn a_malicious_coordinator_gets_nothing_from_an_agent() {
    assert!(replay(target("agent_machine").unwrap()) > 0);
}

#[test]
fn a_malicious_agent_falsifies_no_sum() {
    assert!(replay(target("coordinator_machine").unwrap()) > 0);
}

#[test]
fn the_corpus_belongs_to_targets_and_stays_small() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    let mut bytes = 0;
    // Without files there is no folder; the seeds are replayed in any case.
    for entry in fs::read_dir(corpus()).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        assert!(names.contains(name.as_str()), "corpus/{name} belongs to no target");
        bytes += files(target(&name).unwrap())
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum::<u64>();
    }
    assert!(bytes < 300 << 10, "the corpus has {bytes} bytes: merge it");
}

#[test]
fn valid_input_gets_through() {
    for (name, bytes) in seeds::all() {
        let target = target(name).unwrap();
        assert!(bytes.len() <= target.length_max, "a seed of {name} has {} bytes", bytes.len());
        // A schedule may well end without a sum; every other seed is what its target reads.
        if !name.ends_with("_machine") {
            let verdict = (target.run)(&bytes);
            assert_eq!(verdict, Verdict::Accepted, "{name}: {}", bytes.escape_ascii());
        }
    }
}
