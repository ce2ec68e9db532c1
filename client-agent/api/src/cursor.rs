//! Cursors: where an answer ended. They hold what was given already, so that a page never repeats
//! an item, whatever has changed in the meantime.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::problem::Problem;

/// Most items that pages of one answer can name.
pub(crate) const GIVEN_MAX: usize = 2000;

/// A cursor for the items given so far.
pub(crate) fn of_items(given: &[u32]) -> String {
    let bytes: Vec<u8> = given.iter().flat_map(|item| item.to_be_bytes()).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The items given so far.
pub(crate) fn items(cursor: Option<&str>) -> Result<Vec<u32>, Problem> {
    let Some(cursor) = cursor else { return Ok(Vec::new()) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| strange())?;
    let (items, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() || items.len() > GIVEN_MAX {
        return Err(strange());
    }
    Ok(items.iter().map(|item| u32::from_be_bytes(*item)).collect())
}

/// A cursor for the last person given.
pub(crate) fn of_person(last: chorale_plan::Pseudonym) -> String {
    URL_SAFE_NO_PAD.encode(last.as_bytes())
}

/// The last person given.
pub(crate) fn person(cursor: Option<&str>) -> Result<Option<chorale_plan::Pseudonym>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| strange())?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| strange())?;
    Ok(Some(chorale_plan::Pseudonym::from_bytes(bytes)))
}

fn strange() -> Problem {
    Problem::bad("'cursor' must be the one that the answer before gave")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_comes_back() {
        let given = [0, 7, u32::MAX];
        assert_eq!(items(Some(&of_items(&given))), Ok(given.to_vec()));
        let who = chorale_plan::Pseudonym::from_bytes([9; 32]);
        assert_eq!(person(Some(&of_person(who))), Ok(Some(who)));
        for bad in ["AAA", "!", "AAAAAAA="] {
            assert!(items(Some(bad)).is_err() && person(Some(bad)).is_err(), "{bad}");
        }
    }
}
