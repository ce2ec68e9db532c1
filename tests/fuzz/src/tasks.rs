//! Models as agents receive them, and catalogues as stores declare them.

use chorale_task::{Catalogue, Model};

use crate::Verdict;

/// An encoded model.
pub fn model(data: &[u8]) -> Verdict {
    let Ok(model) = Model::decode(data) else { return Verdict::Refused };
    assert_eq!(model.encode().expect("what was decoded can be encoded"), data);
    assert_eq!(model.digest().expect("as above"), Model::digest_of(data));
    for (name, tensor) in model.tensors() {
        let size: u64 = tensor.shape().iter().map(|&side| u64::from(side)).product();
        assert_eq!(size, tensor.values().len() as u64, "{name}");
        assert!(tensor.values().iter().all(|value| value.is_finite()), "{name}");
        assert!(model.require(name, tensor.shape()).is_ok());
    }
    Verdict::Accepted
}

/// A catalogue file. Other line ends and needless quotes are allowed; the meaning is kept.
pub fn catalogue(data: &[u8]) -> Verdict {
    let Ok(catalogue) = Catalogue::read_csv(data) else { return Verdict::Refused };
    let text = catalogue.to_csv();
    let again = Catalogue::read_csv(text.as_bytes()).expect("the canonical file can be read");
    assert_eq!(again, catalogue, "the canonical file means another catalogue");
    assert_eq!(again.digest(), catalogue.digest());
    for (index, item) in catalogue.items().iter().enumerate() {
        assert_eq!(catalogue.index_of(&item.item_id), Some(index as u32));
    }
    Verdict::Accepted
}
