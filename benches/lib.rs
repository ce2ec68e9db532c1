//! Benchmarks live in the bench targets beside this file; what they showed is in
//! `docs/benchmarks.md`.
