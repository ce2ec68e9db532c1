//! A permit cannot be copied.
use chorale_gate::Permit;

fn copy(permit: &Permit) -> Permit {
    Clone::clone(permit)
}

fn main() {}
