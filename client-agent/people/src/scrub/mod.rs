//! Takes personal data out of free text, English and Chinese: phone numbers, e-mail addresses,
//! payment card numbers, IBANs, postal addresses, national ids and names. Each is replaced by a
//! token such as `[phone]`; the rest of the text stays as it is.
//!
//! Numbers are recognised by their form and, where they have one, their check digit. Names and
//! addresses are recognised by what stands around them, so that some are missed: a name without a
//! title, a first name that is common, or a word such as `name:` or `收件人`; an address without a
//! number; anything that is misspelt or written in words. It lowers what a leak would show; it does
//! not make a text anonymous.

mod names;
mod numbers;
mod places;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A payment card's number (ISO/IEC 7812), by its check digit.
    Card,
    /// A bank account's number (ISO 13616), by its check digits.
    Iban,
    /// A postal address, or the telling part of one.
    Address,
    /// A US social security number, or a PRC resident id by its check digit.
    NationalId,
    /// A person's name.
    Name,
}

/// How often each was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found(BTreeMap<What, u64>);

/// A text without what was found in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// The text.
    pub text: String,
    /// What was taken out.
    pub found: Found,
}

crate::error::redacted!(Scrubbed);

/// One way to find something.
struct Rule {
    what: What,
    /// What it may look like. The group `x`, or all of it, is what is taken out.
    regex: Regex,
    /// Whether it is what it looks like, by the texts before it, of it, and after it.
    holds: fn(&str, &str, &str) -> bool,
}

impl What {
    /// What stands in the text instead.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Email => "[email]",
            Self::Phone => "[phone]",
            Self::Card => "[card]",
            Self::Iban => "[iban]",
            Self::Address => "[address]",
            Self::NationalId => "[id]",
            Self::Name => "[name]",
        }
    }
}

impl Found {
    /// How often `what` was found.
    #[must_use]
    pub fn count(&self, what: What) -> u64 {
        self.0.get(&what).copied().unwrap_or(0)
    }

    /// How often anything was found.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, count)| *self.0.entry(*what).or_default() += count);
    }
}

/// `[phone] 2, [name] 1`.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.0.iter().map(|(what, count)| format!("{} {count}", what.token())).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Takes personal data out of `text`. Full-width letters and digits become ordinary ones.
#[must_use]
pub fn scrub(text: &str) -> Scrubbed {
    let mut scrubbed = Scrubbed { text: ordinary(text).into_owned(), found: Found::default() };
    // What one rule takes out may stand between the parts of what another one knows.
    for _ in 0..PASSES_MAX {
        let before = scrubbed.found.total();
        for rules in [numbers::rules(), places::rules(), names::rules()] {
            rules.iter().for_each(|rule| rule.apply(&mut scrubbed));
        }
        if scrubbed.found.total() == before {
            break;
        }
    }
    scrubbed
}

const PASSES_MAX: u32 = 3;

impl Rule {
    fn new(what: What, pattern: &str, holds: fn(&str, &str, &str) -> bool) -> Self {
        // The patterns are constants, and a test uses every one of them.
        let regex = Regex::new(pattern).expect("the pattern is valid");
        Self { what, regex, holds }
    }

    fn apply(&self, scrubbed: &mut Scrubbed) {
        let text = std::mem::take(&mut scrubbed.text);
        let (mut out, mut copied, mut at) = (String::new(), 0, 0);
        while let Some(found) = self.regex.captures_at(&text, at) {
            let Some(part) = whole_or_x(&found) else { break };
            if (self.holds)(&text[..part.start()], part.as_str(), &text[part.end()..]) {
                out.push_str(&text[copied..part.start()]);
                out.push_str(self.what.token());
                *scrubbed.found.0.entry(self.what).or_default() += 1;
                (copied, at) = (part.end(), part.end());
            } else {
                // Something shorter may begin inside what was refused.
                let first = text[part.start()..].chars().next().map_or(1, char::len_utf8);
                at = part.start() + first;
            }
            if at >= text.len() {
                break;
            }
        }
        out.push_str(&text[copied..]);
        scrubbed.text = out;
    }
}

fn whole_or_x<'t>(found: &Captures<'t>) -> Option<regex::Match<'t>> {
    found.name("x").or_else(|| found.get(0)).filter(|part| !part.is_empty())
}

/// Full-width forms (U+FF01 to U+FF5E) and the ideographic space as ASCII, but for punctuation that
/// Chinese text has of its own.
fn ordinary(text: &str) -> Cow<'_, str> {
    let is_wide = |c: char| matches!(c, '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' | '＠' | '＋' | '－' | '．' | '＿' | '\u{3000}');
    if !text.contains(is_wide) {
        return Cow::Borrowed(text);
    }
    let narrow = |c: char| match c {
        '\u{3000}' => ' ',
        c if is_wide(c) => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    };
    Cow::Owned(text.chars().map(narrow).collect())
}

/// Neither an ASCII letter nor a digit stands directly before or after.
fn stands_alone(before: &str, after: &str) -> bool {
    let joins = |c: char| c.is_ascii_alphanumeric();
    !before.ends_with(joins) && !after.starts_with(joins)
}

#[cfg(test)]
mod tests;
