//! What must not compile: no stage of the gate can be skipped, repeated, forged or printed.
#![allow(missing_docs)]

#[test]
fn the_gate_cannot_be_walked_around() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
