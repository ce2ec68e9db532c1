//! A sum, with or without noise, exists inside the gate only.
use chorale_gate::stages::{Noised, Summed};

fn main() {}
