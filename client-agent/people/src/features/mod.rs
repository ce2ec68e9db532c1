//! From events to what training and profiles need: per person, within a window.

mod contributors;
mod declared;
mod history;
mod record;

pub use contributors::{Contributors, Who};
pub use declared::{Declared, FEATURES_MAX, Measure, Type};
pub use history::{Features, HALF_LIFE_DAYS, ItemHabit};
pub use record::{PersonRecord, StoredEvent};
