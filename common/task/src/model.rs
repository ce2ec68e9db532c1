//! Models: named tensors over one catalogue, as the coordinator broadcasts them.
//!
//! Models accumulate: a popularity round writes the tensor `popularity`, a later plan adds
//! `item_factors` or `gram` and keeps what was there. A model holds only what was computed from
//! noisy totals and public information, never anything about one person.

use std::collections::BTreeMap;

use chorale_wire::{DecodeError, Digest, EncodeError, codec, limits::MODEL_BYTES_MAX};
use serde::{Deserialize, Serialize};

/// The only format of models so far.
pub const MODEL_FORMAT: u16 = 1;

/// Most items in a catalogue.
pub const ITEMS_MAX: u32 = 1 << 20;

/// Most tensors in one model, and most notes.
pub const TENSORS_MAX: usize = 32;

/// Most dimensions of a tensor.
pub const DIMENSIONS_MAX: usize = 4;

/// Longest name of a tensor, a note or a kind in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest text of a note in bytes.
pub const NOTE_BYTES_MAX: usize = 512;

/// A dense array of finite numbers in row-major order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawTensor")]
pub struct Tensor {
    shape: Vec<u32>,
    values: Vec<f32>,
}

/// Named tensors over one catalogue. What a round is computed on, and what scorers read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    format: u16,
    kind: String,
    items: u32,
    catalogue: Digest,
    tensors: BTreeMap<String, Tensor>,
    notes: BTreeMap<String, String>,
}

/// Why a model or tensor is not admissible. Whoever made or sent it is to blame.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not an encoded model.
    #[error("the bytes are not a model")]
    Decode(#[from] DecodeError),
    /// The model is too long to send.
    #[error("the model cannot be encoded")]
    Encode(#[from] EncodeError),
    /// Written by a newer or foreign program.
    #[error("the model has format {found}; this program reads format {MODEL_FORMAT}")]
    Format {
        /// The format found.
        found: u16,
    },
    /// A count or a length outside its limit.
    #[error("the model's {what} must be {expected}")]
    Limit {
        /// What is out of range.
        what: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The shape's product is not the number of values.
    #[error("a tensor of shape {shape:?} cannot hold {values} values")]
    Values {
        /// The claimed shape.
        shape: Vec<u32>,
        /// The number of values.
        values: usize,
    },
    /// NaN or infinite.
    #[error("value {position} of a tensor is not finite")]
    NotFinite {
        /// Position of the first such value, in row-major order.
        position: usize,
    },
    /// A tensor that the reader needs is not there.
    #[error("the model has no tensor '{tensor}': run the task that writes it first")]
    Missing {
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor has another shape than its reader needs.
    #[error("the model's tensor '{tensor}' has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// The shape found.
        found: Vec<u32>,
        /// The shape expected.
        expected: Vec<u32>,
    },
    /// A tensor's values do not mean what its reader needs.
    #[error("the model's tensor '{tensor}' must hold {expected}")]
    Content {
        /// The tensor's name.
        tensor: &'static str,
        /// What it must hold.
        expected: &'static str,
    },
    /// The model is over another number of items.
    #[error("the model covers {found} items, the catalogue has {expected}")]
    Items {
        /// The model's items.
        found: u32,
        /// The items expected.
        expected: u32,
    },
}

impl Tensor {
    /// A tensor of `shape` (1 to 4 dimensions, each at least 1) from its values in row-major
    /// order.
    ///
    /// # Errors
    /// [`ModelError`] when the shape is out of range, does not hold as many values or a value is
    /// not finite.
    pub fn new(shape: Vec<u32>, values: Vec<f32>) -> Result<Self, ModelError> {
        RawTensor { shape, values }.try_into()
    }

    /// A one-dimensional tensor from real numbers, rounded to single precision.
    ///
    /// # Errors
    /// As [`Tensor::new`]; a number beyond the range of `f32` is not finite.
    pub fn vector(values: &[f64]) -> Result<Self, ModelError> {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let length = u32::try_from(values.len()).map_err(|_| ModelError::Limit {
            what: "length of a tensor",
            expected: "below 2^32",
        })?;
        Self::new(vec![length], values)
    }

    /// The length of each dimension.
    #[must_use]
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// The values in row-major order.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Model {
    /// The empty model that a federation over `items` items starts from; `catalogue` is the
    /// digest of the declared item list.
    ///
    /// # Errors
    /// [`ModelError::Limit`] unless there are 1 to 2^20 items.
    pub fn initial(items: u32, catalogue: Digest) -> Result<Self, ModelError> {
        let model = Self {
            format: MODEL_FORMAT,
            kind: "initial".to_owned(),
            items,
            catalogue,
            tensors: BTreeMap::new(),
            notes: BTreeMap::new(),
        };
        model.check()?;
        Ok(model)
    }

    /// The name of the task that changed the model last, or `initial`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Number of items in the catalogue.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// Digest of the catalogue that the items are indices of.
    #[must_use]
    pub fn catalogue(&self) -> &Digest {
        &self.catalogue
    }

    /// The tensors by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The notes by name: public facts for people, such as the plan that wrote a tensor.
    #[must_use]
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.notes
    }

    /// The tensor `name`, if it was written.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor `name` with exactly the shape `expected`.
    ///
    /// # Errors
    /// [`ModelError::Missing`] or [`ModelError::Shape`].
    pub fn require(&self, name: &str, expected: &[u32]) -> Result<&Tensor, ModelError> {
        let tensor =
            self.tensor(name).ok_or_else(|| ModelError::Missing { tensor: name.to_owned() })?;
        if tensor.shape != expected {
            return Err(ModelError::Shape {
                tensor: name.to_owned(),
                found: tensor.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok(tensor)
    }

    /// The one number that the tensor `name` holds.
    ///
    /// # Errors
    /// [`ModelError::Missing`] or [`ModelError::Shape`].
    pub fn scalar(&self, name: &str) -> Result<f32, ModelError> {
        Ok(self.require(name, &[1])?.values[0])
    }

    /// Checks that the model is over `expected` items.
    ///
    /// # Errors
    /// [`ModelError::Items`].
    pub fn check_items(&self, expected: u32) -> Result<(), ModelError> {
        if self.items == expected {
            Ok(())
        } else {
            Err(ModelError::Items { found: self.items, expected })
        }
    }

    /// The model with the tensor `name` written or replaced, by the task `kind`.
    ///
    /// # Errors
    /// [`ModelError::Limit`] when a name is too long or there are too many tensors.
    pub fn with_tensor(
        mut self,
        kind: &str,
        name: &str,
        tensor: Tensor,
    ) -> Result<Self, ModelError> {
        kind.clone_into(&mut self.kind);
        self.tensors.insert(name.to_owned(), tensor);
        self.check()?;
        Ok(self)
    }

    /// The model with a note written or replaced.
    ///
    /// # Errors
    /// [`ModelError::Limit`] when it is too long or there are too many notes.
    pub fn with_note(mut self, name: &str, text: &str) -> Result<Self, ModelError> {
        self.notes.insert(name.to_owned(), text.to_owned());
        self.check()?;
        Ok(self)
    }

    /// The canonical encoding, at most [`MODEL_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`ModelError::Encode`] when it is longer.
    pub fn encode(&self) -> Result<Vec<u8>, ModelError> {
        Ok(codec::encode(self, MODEL_BYTES_MAX)?)
    }

    /// Decodes a model and checks format, limits, shapes and that every value is finite.
    ///
    /// # Errors
    /// [`ModelError`] says what is wrong; nothing is repaired.
    pub fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        codec::decode::<RawModel>(bytes, MODEL_BYTES_MAX)?.try_into()
    }

    /// Digest of the canonical encoding, which a ROUND-OPEN names.
    ///
    /// # Errors
    /// [`ModelError::Encode`] when the model is too long to be sent.
    pub fn digest(&self) -> Result<Digest, ModelError> {
        Ok(Self::digest_of(&self.encode()?))
    }

    /// Digest of an already encoded model.
    #[must_use]
    pub fn digest_of(encoded: &[u8]) -> Digest {
        Digest::of("chorale/1 model", &[encoded])
    }

    fn check(&self) -> Result<(), ModelError> {
        let limit = |what, expected| Err(ModelError::Limit { what, expected });
        if self.format != MODEL_FORMAT {
            return Err(ModelError::Format { found: self.format });
        }
        if self.items == 0 || self.items > ITEMS_MAX {
            return limit("number of items", "1 to 2^20");
        }
        if self.tensors.len() > TENSORS_MAX || self.notes.len() > TENSORS_MAX {
            return limit("number of tensors and of notes", "at most 32 each");
        }
        let mut names = self.tensors.keys().chain(self.notes.keys());
        if !names.all(|name| name_fits(name)) || !name_fits(&self.kind) {
            return limit("kind, tensor names and note names", "1 to 64 bytes long");
        }
        if self.notes.values().any(|text| text.len() > NOTE_BYTES_MAX) {
            return limit("notes", "at most 512 bytes long each");
        }
        Ok(())
    }
}

fn name_fits(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
}

/// A tensor as it is read, before its checks.
#[derive(Serialize, Deserialize)]
struct RawTensor {
    shape: Vec<u32>,
    values: Vec<f32>,
}

/// A model as it is read, before its checks; the fields are [`Model`]'s in the same order.
#[derive(Serialize, Deserialize)]
struct RawModel {
    format: u16,
    kind: String,
    items: u32,
    catalogue: Digest,
    tensors: BTreeMap<String, RawTensor>,
    notes: BTreeMap<String, String>,
}

impl TryFrom<RawTensor> for Tensor {
    type Error = ModelError;

    fn try_from(raw: RawTensor) -> Result<Self, ModelError> {
        let RawTensor { shape, values } = raw;
        if shape.is_empty() || shape.len() > DIMENSIONS_MAX || shape.contains(&0) {
            return Err(ModelError::Limit {
                what: "tensor shapes",
                expected: "1 to 4 dimensions, each at least 1",
            });
        }
        let product =
            shape.iter().try_fold(1u64, |product, &side| product.checked_mul(u64::from(side)));
        if product != Some(values.len() as u64) {
            return Err(ModelError::Values { shape, values: values.len() });
        }
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            return Err(ModelError::NotFinite { position });
        }
        Ok(Self { shape, values })
    }
}

impl TryFrom<RawModel> for Model {
    type Error = ModelError;

    fn try_from(raw: RawModel) -> Result<Self, ModelError> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in raw.tensors {
            tensors.insert(name, tensor.try_into()?);
        }
        let model = Self {
            format: raw.format,
            kind: raw.kind,
            items: raw.items,
            catalogue: raw.catalogue,
            tensors,
            notes: raw.notes,
        };
        model.check()?;
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn model() -> Model {
        Model::initial(3, Digest::plain(b"catalogue"))
            .unwrap()
            .with_tensor("popularity", "popularity", Tensor::vector(&[1.0, 2.5, 0.0]).unwrap())
            .unwrap()
            .with_note("plan", "taste")
            .unwrap()
    }

    fn raw(shape: &[u32], values: &[f32]) -> Vec<u8> {
        let tensor = RawTensor { shape: shape.to_vec(), values: values.to_vec() };
        let raw = RawModel {
            format: MODEL_FORMAT,
            kind: "popularity".to_owned(),
            items: 3,
            catalogue: Digest::plain(b"catalogue"),
            tensors: [("popularity".to_owned(), tensor)].into(),
            notes: BTreeMap::new(),
        };
        codec::encode(&raw, 1 << 20).unwrap()
    }

    #[test]
    fn round_trip_keeps_bytes_and_digest() {
        let bytes = model().encode().unwrap();
        let read = Model::decode(&bytes).unwrap();
        assert_eq!(read, model());
        assert_eq!(read.digest().unwrap(), Model::digest_of(&bytes));
        let other = model().with_note("plan", "other").unwrap();
        assert_ne!(other.digest().unwrap(), read.digest().unwrap());
    }

    #[test]
    fn bad_tensors_are_refused_on_decode() {
        assert!(Model::decode(&raw(&[3], &[1.0, 2.0, 3.0])).is_ok());
        let refused = |shape: &[u32], values: &[f32]| Model::decode(&raw(shape, values)).err();
        assert!(matches!(refused(&[3], &[1.0, 2.0]), Some(ModelError::Values { values: 2, .. })));
        assert!(matches!(refused(&[u32::MAX; 4], &[1.0]), Some(ModelError::Values { .. })));
        assert!(matches!(refused(&[0], &[]), Some(ModelError::Limit { .. })));
        assert!(matches!(refused(&[], &[1.0]), Some(ModelError::Limit { .. })));
        assert!(matches!(refused(&[1; 5], &[1.0]), Some(ModelError::Limit { .. })));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(matches!(
                refused(&[3], &[0.0, bad, 0.0]),
                Some(ModelError::NotFinite { position: 1 })
            ));
        }
    }

    #[test]
    fn limits_and_format_are_checked() {
        assert!(Model::initial(0, Digest::plain(b"")).is_err());
        assert!(Model::initial(ITEMS_MAX + 1, Digest::plain(b"")).is_err());
        assert!(model().with_note(&"n".repeat(65), "").is_err());
        assert!(model().with_note("n", &"t".repeat(513)).is_err());
        let one = Tensor::vector(&[1.0]).unwrap();
        let mut full = model();
        for index in 1..TENSORS_MAX {
            full = full.with_tensor("t", &format!("t{index}"), one.clone()).unwrap();
        }
        assert!(full.with_tensor("t", "one more", one).is_err());
        let mut bytes = model().encode().unwrap();
        bytes[0] = 2;
        assert!(matches!(Model::decode(&bytes), Err(ModelError::Format { found: 2 })));
    }

    #[test]
    fn require_names_what_is_wrong() {
        assert!(matches!(
            model().require("gram", &[6]),
            Err(ModelError::Missing { tensor }) if tensor == "gram"
        ));
        assert!(matches!(model().require("popularity", &[4]), Err(ModelError::Shape { .. })));
        assert!(model().check_items(4).is_err());
    }

    proptest! {
        #[test]
        fn whatever_decodes_encodes_back(mut bytes in Just(model().encode().unwrap()), at: usize, with: u8) {
            let length = bytes.len();
            bytes[at % length] = with;
            if let Ok(read) = Model::decode(&bytes) {
                prop_assert_eq!(read.encode().unwrap(), bytes);
            }
        }
    }
}
