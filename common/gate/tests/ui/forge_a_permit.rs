//! A permit cannot be made by default, nor decoded.
use chorale_gate::Permit;

fn by_default() -> Permit {
    Default::default()
}

fn decoded(bytes: &[u8]) -> Permit {
    chorale_wire::codec::decode(bytes, 1024).unwrap()
}

fn main() {}
