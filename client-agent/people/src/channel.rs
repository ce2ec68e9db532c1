//! Where something happened: the till, the web shop, the app.

use serde::{Deserialize, Serialize};

/// The channels that a store tells apart, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Channels(Vec<String>);

/// Channels that one agent may name.
pub const CHANNELS_MAX: usize = 64;

impl Channels {
    /// The number of the channel `name`, without regard to case and white space around it; `None`
    /// where the store names no such channel.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        let name = folded(name);
        self.0.iter().any(|known| folded(known) == name).then(|| number(&name))
    }

    /// The name of a channel's number; `None` for 0 and for a channel that the store no longer names.
    #[must_use]
    pub fn name(&self, of: u32) -> Option<&str> {
        self.0.iter().find(|known| number(&folded(known)) == of).map(String::as_str)
    }

    /// Whether these cannot be meant: more than [`CHANNELS_MAX`], an empty name, or two that are one.
    #[must_use]
    pub fn are_wrong(&self) -> bool {
        let mut numbers: Vec<u32> = self.0.iter().map(|name| number(&folded(name))).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len() != self.0.len()
            || self.0.len() > CHANNELS_MAX
            || self.0.iter().any(|name| folded(name).is_empty())
    }
}

impl<S: Into<String>> FromIterator<S> for Channels {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}

/// The first four bytes of the name's hash, and never 0: what is stored stays right when the list
/// grows or changes its order.
fn number(folded: &str) -> u32 {
    let digest = chorale_wire::Digest::of("chorale/1 channel", &[folded.as_bytes()]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    u32::from_be_bytes([a, b, c, d]).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_have_numbers_that_stay() {
        let before: Channels = ["till", "Web shop"].into_iter().collect();
        let after: Channels = ["app", "web shop", "till"].into_iter().collect();
        let till = before.number(" TILL ").unwrap();
        assert_eq!((after.number("till"), after.name(till)), (Some(till), Some("till")));
        assert_eq!(before.name(before.number("web shop").unwrap()), Some("Web shop"));
        assert_eq!((before.number("fax"), before.name(0)), (None, None));
        assert_ne!(till, before.number("web shop").unwrap());
    }

    #[test]
    fn what_cannot_be_meant_is_found() {
        assert!(!Channels::default().are_wrong());
        assert!(Channels::from_iter(["till", "Till "]).are_wrong());
        assert!(Channels::from_iter([" "]).are_wrong());
        assert!(Channels::from_iter((0..=CHANNELS_MAX).map(|n| n.to_string())).are_wrong());
    }
}
