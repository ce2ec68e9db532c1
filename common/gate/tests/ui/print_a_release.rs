//! What leaves a store cannot be shown, encoded as a value or copied on the way.
use chorale_gate::Release;

fn shown(release: &Release) -> String {
    format!("{release:?}")
}

fn encoded(release: &Release) -> Vec<u8> {
    chorale_wire::codec::encode(release, 1024).unwrap()
}

fn copied(release: &Release) -> Release {
    Clone::clone(release)
}

fn main() {}
