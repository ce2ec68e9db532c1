//! A vector that was rounded cannot be added without being clipped, not even inside the gate.
#[path = "../../src/stages.rs"]
mod stages;

fn add(sum: &mut stages::Summed, person: stages::Quantised<'_>) {
    sum.add(person, None);
}

fn main() {}
