//! Handing what one agent knows about a person to another that is linked with it.
//!
//! A letter is a signed summary of the person's purchases, sealed to the receiving agent. The
//! store's own systems carry it; agents open no connection to each other. This is no round and goes
//! through no noise: it is for one person who has agreed to it, between two stores whose
//! administrators have. See `docs/decisions/0032-hand-over-between-linked-agents.md`.

use chorale_plan::Pseudonym;
use chorale_wire::{DecodeError, Digest, EncodeError, codec};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use hpke::{
    Deserializable as _, HpkeError, Kem as _, OpModeR, OpModeS, Serializable as _, aead::AesGcm256,
    kdf::HkdfSha256, kem::X25519HkdfSha256, single_shot_open, single_shot_seal_with_rng,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    features::{Features, ItemHabit},
    keys::Key,
};

type Kem = X25519HkdfSha256;

const INFO: &[u8] = b"chorale/1 hand-over";
const SEAL_LABEL: &[u8] = b"chorale/1 hand-over seal";
const VERSION: u16 = 1;

/// Items in a letter: those that say most about the person now.
pub const ITEMS_MAX: usize = 200;

/// Longest letter in bytes.
pub const LETTER_BYTES_MAX: usize = 128 << 10;

/// How long a letter may be under way, in seconds.
pub const UNDER_WAY_MAX_S: i64 = 86_400;

/// The end of the year 9999, Unix seconds.
const TIME_MAX_S: i64 = 253_402_300_799;

/// How far the giving agent's clock may be ahead, in seconds.
const AHEAD_MAX_S: i64 = 300;

/// What is handed over: a summary of purchases. No event, no amount, no time of day.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    version: u16,
    /// The agent that gives.
    pub from: String,
    /// The agent that it is for.
    pub to: String,
    /// The person's pseudonym, the same at linked agents.
    pub person: [u8; 32],
    /// When it was made, Unix seconds.
    pub time_s: i64,
    /// Baskets there.
    pub baskets: u32,
    /// First purchase there, Unix seconds.
    pub first_s: i64,
    /// Last purchase there, Unix seconds.
    pub last_s: i64,
    /// The items that say most, at most [`ITEMS_MAX`], by recency-weighted count.
    pub items: Vec<Item>,
}

/// How the person buys one item there.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The item, as the federation's catalogue has it.
    pub item: String,
    /// Baskets with it.
    pub baskets: u32,
    /// Baskets, each halved for every 120 days.
    pub recent: f64,
    /// Last purchase of it, Unix seconds.
    pub last_s: i64,
    /// Median days between days with it.
    pub period_days: Option<f64>,
}

/// What an agent keeps of a letter that it was given.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The letter's content.
    pub summary: Summary,
    /// Until when it may be kept, Unix seconds.
    pub until_s: i64,
}

/// One line of the log of disclosures, at the giving and at the receiving agent.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Disclosure {
    /// When, Unix seconds.
    pub time_s: i64,
    /// Whether this agent gave; otherwise it was given.
    pub given: bool,
    /// The other agent.
    pub agent: String,
    /// Whose.
    pub person: [u8; 32],
    /// Items in the letter.
    pub items: u32,
    /// SHA-256 over the letter: both agents' lines of one letter have the same.
    pub letter: Digest,
}

/// An agent that letters may go to or come from, as the store's signed policy names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linked {
    /// Its name.
    pub agent: String,
    /// Its key for sealing, 64 hexadecimal digits, as its `client-agent keys link` prints it.
    pub seal_key: String,
    /// Its key for signing, likewise.
    pub sign_key: String,
    /// Whether summaries may be given to it.
    #[serde(default)]
    pub give: bool,
    /// Whether summaries are taken from it.
    #[serde(default)]
    pub take: bool,
    /// Days for which what was taken is kept, 1 to 366.
    #[serde(default = "thirty")]
    pub days: u32,
}

/// This agent's own keys for letters.
pub struct LinkKeys {
    sign: SigningKey,
    seal: <Kem as hpke::Kem>::PrivateKey,
}

/// Why a letter could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SealLetterError {
    /// The receiving agent's key for sealing is none.
    #[error("the seal_key of the receiving agent is no key")]
    Key(#[source] HpkeError),
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness")]
    Randomness(#[source] getrandom::Error),
    /// Longer than a letter may be.
    #[error("the summary is too long for a letter")]
    Encode(#[from] EncodeError),
}

/// Why a letter was not taken. Whoever made it or carried it is to blame, unless a store's policy
/// holds a wrong key.
#[derive(Debug, thiserror::Error)]
pub enum OpenLetterError {
    /// Too long, or cut short.
    #[error("this is no letter")]
    Length,
    /// Sealed to another agent, by another agent than was said, or changed.
    #[error("the letter does not open: it is for another agent, from another one, or was changed")]
    Sealed(#[source] HpkeError),
    /// Not signed by the agent that it names.
    #[error("the letter is not signed by the agent that it is said to come from")]
    Forged,
    /// The sign_key in the policy is none.
    #[error("the sign_key of the giving agent is no key")]
    Key,
    /// Signed by the right agent, and not readable.
    #[error("the letter holds no summary that this version can read")]
    Content(#[source] DecodeError),
    /// For another agent, from another one, in another version, or with impossible figures.
    #[error(
        "the letter's content names other agents than its cover, another version, or impossible \
         figures"
    )]
    Mismatch,
    /// Too old, or from the future.
    #[error("the letter was made at {made_s} and it is {now_s}: at most a day may lie between")]
    Stale {
        /// When it was made, Unix seconds.
        made_s: i64,
        /// The present, Unix seconds.
        now_s: i64,
    },
}

crate::error::redacted!(Summary, Item, Received, Disclosure, LinkKeys);

impl Summary {
    /// What `features` say about a person whom `person` names at both agents, for items that
    /// `name` finds.
    #[must_use]
    pub fn of(
        features: &Features,
        person: Pseudonym,
        (from, to): (&str, &str),
        time_s: i64,
        name: impl Fn(u32) -> Option<String>,
    ) -> Self {
        let mut habits: Vec<&ItemHabit> = features.items.iter().collect();
        habits.sort_by(|a, b| b.recent.total_cmp(&a.recent).then(a.item.cmp(&b.item)));
        let items = habits.into_iter().filter_map(|habit| {
            Some(Item {
                item: name(habit.item)?,
                baskets: habit.baskets,
                recent: habit.recent,
                last_s: habit.last_s,
                period_days: habit.period_days,
            })
        });
        Self {
            version: VERSION,
            from: from.to_owned(),
            to: to.to_owned(),
            person: *person.as_bytes(),
            time_s,
            baskets: features.baskets,
            first_s: features.first_s,
            last_s: features.last_s,
            items: items.take(ITEMS_MAX).collect(),
        }
    }

    /// `own` with what this says: the taste of somebody who buys at both places. Money and rhythm
    /// stay the own channel's.
    pub fn add_to(&self, own: &mut Features, index: impl Fn(&str) -> Option<u32>) {
        for item in &self.items {
            let Some(number) = index(&item.item) else { continue };
            match own.items.binary_search_by_key(&number, |habit| habit.item) {
                Ok(at) => {
                    let habit = &mut own.items[at];
                    habit.baskets = habit.baskets.saturating_add(item.baskets);
                    habit.recent += item.recent;
                    habit.last_s = habit.last_s.max(item.last_s);
                }
                Err(at) => own.items.insert(
                    at,
                    ItemHabit {
                        item: number,
                        baskets: item.baskets,
                        recent: item.recent,
                        quantity: 0.0,
                        amount: 0.0,
                        last_s: item.last_s,
                        period_days: item.period_days,
                    },
                ),
            }
        }
    }

    /// Whether every figure can be meant. Who signed it is known, not that they made no mistake.
    fn is_sound(&self) -> bool {
        let time = |time_s: i64| (0..=TIME_MAX_S).contains(&time_s);
        let number = |value: f64| (0.0..=1e6).contains(&value);
        self.items.len() <= ITEMS_MAX
            && [self.first_s, self.last_s].into_iter().all(time)
            && self.items.iter().all(|item| {
                item.item.len() <= 256
                    && number(f64::from(item.baskets))
                    && number(item.recent)
                    && item.period_days.is_none_or(number)
                    && time(item.last_s)
            })
    }
}

impl LinkKeys {
    /// From the key that signs this agent's receipts, so that there is no further file to keep.
    #[must_use]
    pub fn new(receipt_key: &Key) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        // 32 bytes are within HKDF's limit.
        Hkdf::<Sha256>::new(None, receipt_key.as_bytes())
            .expand(SEAL_LABEL, seed.as_mut())
            .expect("a short output");
        let (seal, _) = Kem::derive_keypair(seed.as_ref());
        Self { sign: SigningKey::from_bytes(receipt_key.as_bytes()), seal }
    }

    /// The public keys, as hexadecimal digits: for sealing and for signing.
    #[must_use]
    pub fn public(&self) -> (String, String) {
        let seal = Kem::sk_to_pk(&self.seal).to_bytes();
        (hex::encode(seal), hex::encode(self.sign.verifying_key().to_bytes()))
    }

    /// Signs a summary and seals it to the agent that it is for.
    ///
    /// # Errors
    /// [`SealLetterError`].
    pub fn seal(&self, summary: &Summary, to: &Linked) -> Result<Vec<u8>, SealLetterError> {
        let mut plain = Zeroizing::new(codec::encode(summary, LETTER_BYTES_MAX)?);
        let signature = self.sign.sign(&signed(&plain));
        plain.extend_from_slice(&signature.to_bytes());
        let key = hex::decode(&to.seal_key).unwrap_or_default();
        let key = <Kem as hpke::Kem>::PublicKey::from_bytes(&key).map_err(SealLetterError::Key)?;
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(SealLetterError::Randomness)?;
        let mut rng = ChaCha20Rng::from_seed(*seed);
        let (encapsulated, sealed) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, Kem>(
            &OpModeS::Base,
            &key,
            INFO,
            &plain,
            &cover(&summary.from, &summary.to),
            &mut rng,
        )
        .map_err(SealLetterError::Key)?;
        Ok([encapsulated.to_bytes().as_slice(), &sealed].concat())
    }

    /// Opens a letter that is said to come from `from`, for the agent `own`, at `now_s` (Unix
    /// seconds).
    ///
    /// # Errors
    /// [`OpenLetterError`].
    pub fn open(
        &self,
        letter: &[u8],
        from: &Linked,
        own: &str,
        now_s: i64,
    ) -> Result<Summary, OpenLetterError> {
        if letter.len() > LETTER_BYTES_MAX {
            return Err(OpenLetterError::Length);
        }
        let (encapsulated, sealed) =
            letter.split_first_chunk::<32>().ok_or(OpenLetterError::Length)?;
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated)
            .map_err(OpenLetterError::Sealed)?;
        let plain = single_shot_open::<AesGcm256, HkdfSha256, Kem>(
            &OpModeR::Base,
            &self.seal,
            &encapsulated,
            INFO,
            sealed,
            &cover(&from.agent, own),
        )
        .map(Zeroizing::new)
        .map_err(OpenLetterError::Sealed)?;
        let (content, signature) = plain.split_last_chunk::<64>().ok_or(OpenLetterError::Length)?;
        let key: Option<[u8; 32]> =
            hex::decode(&from.sign_key).ok().and_then(|k| k.try_into().ok());
        let key = key.and_then(|key| VerifyingKey::from_bytes(&key).ok());
        key.ok_or(OpenLetterError::Key)?
            .verify_strict(&signed(content), &Signature::from_bytes(signature))
            .map_err(|_| OpenLetterError::Forged)?;
        let summary: Summary =
            codec::decode(content, LETTER_BYTES_MAX).map_err(OpenLetterError::Content)?;
        let named = summary.from == from.agent && summary.to == own;
        if summary.version != VERSION || !named || !summary.is_sound() {
            return Err(OpenLetterError::Mismatch);
        }
        if !(now_s - UNDER_WAY_MAX_S..=now_s + AHEAD_MAX_S).contains(&summary.time_s) {
            return Err(OpenLetterError::Stale { made_s: summary.time_s, now_s });
        }
        Ok(summary)
    }
}

impl Linked {
    /// Whether names, keys and days can be meant.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let key = |text: &str| hex::decode(text).is_ok_and(|bytes| bytes.len() == 32);
        let named = !self.agent.is_empty() && self.agent.len() <= 64;
        named && key(&self.seal_key) && key(&self.sign_key) && (1..=366).contains(&self.days)
    }
}

/// What a signature is over: never the bytes alone, since the key signs receipts too.
fn signed(content: &[u8]) -> Vec<u8> {
    [INFO, b"\0", content].concat()
}

/// The two names, which HPKE authenticates.
fn cover(from: &str, to: &str) -> Vec<u8> {
    [&(from.len() as u64).to_be_bytes()[..], from.as_bytes(), to.as_bytes()].concat()
}

fn thirty() -> u32 {
    30
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn keys(byte: u8) -> LinkKeys {
        LinkKeys::new(&Key::from_bytes([byte; 32]))
    }

    fn linked(agent: &str, keys: &LinkKeys) -> Linked {
        let (seal_key, sign_key) = keys.public();
        Linked { agent: agent.into(), seal_key, sign_key, give: true, take: true, days: 30 }
    }

    fn habit(item: u32, baskets: u32, recent: f64) -> ItemHabit {
        ItemHabit {
            item,
            baskets,
            recent,
            quantity: 9.0,
            amount: 99.0,
            last_s: 1000 + i64::from(item),
            period_days: Some(7.0),
        }
    }

    fn features() -> Features {
        let items = vec![habit(1, 2, 0.5), habit(4, 5, 2.5), habit(6, 1, 0.1)];
        Features {
            items,
            baskets: 6,
            amount: 500.0,
            first_s: 1,
            last_s: 1006,
            ..Features::default()
        }
    }

    fn summary() -> Summary {
        let name = |item: u32| (item != 6).then(|| format!("I{item}"));
        Summary::of(&features(), Pseudonym::from_bytes([7; 32]), ("shop", "web"), 5000, name)
    }

    fn letter() -> Vec<u8> {
        keys(1).seal(&summary(), &linked("web", &keys(2))).unwrap()
    }

    #[test]
    fn a_letter_arrives_with_what_it_may_hold() {
        let arrived = keys(2).open(&letter(), &linked("shop", &keys(1)), "web", 5060).unwrap();
        assert!(arrived == summary());
        let items: Vec<_> = arrived.items.iter().map(|i| (i.item.as_str(), i.baskets)).collect();
        assert_eq!(items, [("I4", 5), ("I1", 2)]);
        let mut own = Features { items: vec![habit(4, 1, 1.0)], ..Features::default() };
        arrived.add_to(&mut own, |item| item.strip_prefix('I')?.parse().ok());
        let all: Vec<_> = own.items.iter().map(|h| (h.item, h.baskets, h.recent)).collect();
        assert_eq!(all, [(1, 2, 0.5), (4, 6, 3.5)]);
        assert_eq!((own.baskets, own.amount), (0, 0.0), "the own channel's figures stay");
    }

    #[test]
    fn nobody_else_opens_it_and_nobody_else_made_it() {
        let shop = linked("shop", &keys(1));
        let open = |keys: &LinkKeys, from: &Linked, own: &str, now_s| {
            keys.open(&letter(), from, own, now_s).unwrap_err()
        };
        assert!(matches!(open(&keys(3), &shop, "web", 5000), OpenLetterError::Sealed(_)));
        assert!(matches!(open(&keys(2), &shop, "other", 5000), OpenLetterError::Sealed(_)));
        let other = linked("other", &keys(1));
        assert!(matches!(open(&keys(2), &other, "web", 5000), OpenLetterError::Sealed(_)));
        let forged = linked("shop", &keys(4));
        assert!(matches!(open(&keys(2), &forged, "web", 5000), OpenLetterError::Forged));
        for now_s in [5000 + UNDER_WAY_MAX_S + 1, 5000 - AHEAD_MAX_S - 1] {
            assert!(matches!(open(&keys(2), &shop, "web", now_s), OpenLetterError::Stale { .. }));
        }
        for bytes in [&[][..], &[0; 31], &[9; 100], &vec![0; LETTER_BYTES_MAX + 1]] {
            assert!(keys(2).open(bytes, &shop, "web", 5000).is_err());
        }
    }

    #[test]
    fn figures_that_cannot_be_meant_are_refused_whoever_signed_them() {
        let shop = linked("shop", &keys(1));
        let changes: [fn(&mut Summary); 6] = [
            |summary| summary.version = 2,
            |summary| summary.last_s = i64::MAX,
            |summary| summary.items[0].recent = f64::NAN,
            |summary| summary.items[0].period_days = Some(f64::INFINITY),
            |summary| summary.items[0].last_s = i64::MIN,
            |summary| summary.items[1].item = "x".repeat(257),
        ];
        for change in changes {
            let mut summary = summary();
            change(&mut summary);
            let letter = keys(1).seal(&summary, &linked("web", &keys(2))).unwrap();
            let error = keys(2).open(&letter, &shop, "web", 5000).unwrap_err();
            assert!(matches!(error, OpenLetterError::Mismatch), "{error}");
        }
    }

    #[test]
    fn both_keys_follow_from_one_and_differ() {
        let (seal, sign) = keys(1).public();
        assert_ne!(seal, sign);
        assert_eq!(keys(1).public(), (seal, sign));
        assert!(linked("web", &keys(1)).is_possible());
        assert!(!Linked { days: 0, ..linked("web", &keys(1)) }.is_possible());
        assert!(!Linked { seal_key: "00".into(), ..linked("web", &keys(1)) }.is_possible());
    }

    proptest! {
        #[test]
        fn no_changed_letter_opens(at in 0usize..200, bit in 0u8..8) {
            let mut bytes = letter();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(keys(2).open(&bytes, &linked("shop", &keys(1)), "web", 5000).is_err());
        }
    }
}
