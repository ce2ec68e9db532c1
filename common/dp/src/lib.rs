//! Exact privacy arithmetic: rationals, ρ, noise, kernels and accountants.

mod rational;
mod rho;

pub use rational::{Rational, RationalError};
pub use rho::{NegativeRho, Rho, TAU_BITS};
