//! From events to what training and profiles need: per person, within a window.

mod contributors;
mod declared;
mod history;
mod measure;
mod record;

pub use contributors::{Contributors, Who};
pub use declared::{About, Declared, Did, FEATURES_MAX, Scale, Weekday};
pub use history::{Features, HALF_LIFE_DAYS, ItemHabit};
pub use measure::{Measure, Type};
pub use record::{PersonRecord, StoredEvent};
