//! The fuzzer: libFuzzer around one target, which `CHORALE_FUZZ_TARGET` names. With
//! `CHORALE_FUZZ_SEEDS` it writes the seeds into that folder instead, prints each target with its
//! share of a run's time and its longest input, and ends. `tests/fuzz/run` builds and starts it.
#![no_main]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]

use std::{alloc::System, env, path::Path, process::exit, sync::OnceLock};

use cap::Cap;
use chorale_fuzz::{TARGETS, Target, memory_max, seeds, target};
use libfuzzer_sys::fuzz_target;

/// Counts what targets allocate and refuses what is above the bound: the program then aborts, and
/// libFuzzer keeps the input that asked for it.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fuzz_target!(
    init: TARGET.get_or_init(begin),
    |data: &[u8]| {
        let target = TARGET.get_or_init(begin);
        let bound = ALLOCATOR.allocated().saturating_add(memory_max(data.len()));
        let _ = ALLOCATOR.set_limit(bound);
        (target.run)(data);
        let _ = ALLOCATOR.set_limit(usize::MAX);
    }
);

fn begin() -> &'static Target {
    if let Ok(folder) = env::var("CHORALE_FUZZ_SEEDS") {
        if let Err(error) = seeds::write(Path::new(&folder)) {
            eprintln!("cannot write the seeds into {folder}: {error}");
            exit(1);
        }
        for target in TARGETS {
            println!("{} {} {}", target.name, target.weight, target.length_max);
        }
        exit(0);
    }
    let name = env::var("CHORALE_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = target(&name) else {
        eprintln!("CHORALE_FUZZ_TARGET names no target: '{name}'");
        exit(2);
    };
    // What a target makes once, for all its inputs, does not count.
    (target.run)(&[]);
    target
}
