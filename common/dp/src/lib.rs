//! Exact privacy arithmetic: rationals, ρ, noise, kernels and accountants.
//!
//! What each part claims, and the proofs, are in `docs/privacy.md`.
//!
//! - [`Rational`] and [`Rho`]: what budgets are kept in. No float decides an admission.
//! - [`rounding`] and [`clip`]: one person's vector becomes integers of L2 norm at most Δ.
//! - [`Noise`] and [`sampler`]: discrete Gaussian noise without a float, and its bits,
//!   [`Aes256CtrRng`]; [`LayeredNoise`] when surplus is to come off again.
//! - [`accountant`]: from noise to ε and δ and back, rounded outward.
//! - [`Budget`]: what is spent, reserved and left. [`Budgets`]: several caps at once, over a
//!   lifetime, a rolling window, a family of tasks.

pub mod accountant;
mod budgets;
mod cap;
pub mod clip;
mod filter;
mod generator;
mod layered;
mod noise;
mod rational;
mod rho;
pub mod rounding;
pub mod sampler;

pub use budgets::{Budgets, Standing};
pub use cap::{CAP_TASKS_MAX, CAPS_MAX, Cap, CapError, CapExceeded, DAY_S, Frees, WINDOW_DAYS_MAX};
pub use filter::{Budget, BudgetError, OverBudget, Settlement};
pub use generator::Aes256CtrRng;
pub use layered::{LayeredNoise, SeededLayer, subtract_layers};
pub use noise::Noise;
pub use rational::{Rational, RationalError};
pub use rho::{NegativeRho, NonPositiveVariance, Rho, TAU_BITS};
pub use sampler::{ExactDiscreteGaussian, FastDiscreteGaussian, SamplerError};
