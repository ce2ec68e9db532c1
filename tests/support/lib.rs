//! What the tests that span crates share.
#![allow(clippy::unwrap_used)]

pub mod cases;
pub mod federation;
pub mod running;
pub mod shop;

use std::path::{Path, PathBuf};

pub use cases::{Case, run_cases};
pub use federation::{Federation, Setup};
pub use running::{Agent, Coordinator, Kill};
pub use shop::Shop;

/// The root of the checkout.
#[must_use]
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
