//! The declared public item list: which catalogue index means which item.
//!
//! The list is part of a plan (by digest) because it must not depend on private data: an item
//! that appears only when somebody bought it would tell that somebody did.

use std::collections::{BTreeMap, HashMap};

use chorale_wire::Digest;

use crate::model::ITEMS_MAX;

/// One line of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The item as the store's events name it.
    pub item_id: String,
    /// Department, the coarsest level of the hierarchy.
    pub department: String,
    /// Category, between department and item.
    pub category: String,
}

/// The items in index order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    items: Vec<Item>,
    index: HashMap<String, u32>,
    /// Department and category, ascending.
    categories: Vec<(String, String)>,
    /// For each item the place of its category.
    category_of: Vec<u32>,
}

/// Why a catalogue file was refused. Line numbers count from 1, the header included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Not UTF-8.
    #[error("the catalogue is not UTF-8 text")]
    Encoding,
    /// The first line is not the header.
    #[error("the catalogue must start with the line '{HEADER}', found '{found}'")]
    Header {
        /// The line found, cut to 80 characters.
        found: String,
    },
    /// Wrong number of fields, or broken quoting.
    #[error("line {line} of the catalogue: {problem}")]
    Line {
        /// The line.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The same item twice.
    #[error("line {line} of the catalogue: item '{item_id}' is there twice")]
    Twice {
        /// The line.
        line: usize,
        /// The item.
        item_id: String,
    },
    /// No items, or too many.
    #[error("the catalogue has {items} items; 1 to {ITEMS_MAX} are possible")]
    Count {
        /// Items found.
        items: usize,
    },
}

/// The header of a catalogue file.
pub const HEADER: &str = "index,item_id,department,category";

impl Catalogue {
    /// Reads a comma-separated file (RFC 4180, UTF-8, one record per line) with the columns
    /// [`HEADER`]; indices must count from 0 without gaps.
    ///
    /// # Errors
    /// [`CatalogueError`] names the line.
    pub fn read_csv(bytes: &[u8]) -> Result<Self, CatalogueError> {
        let text = std::str::from_utf8(bytes).map_err(|_| CatalogueError::Encoding)?;
        let mut lines = text.lines().enumerate();
        let header = lines.next().map_or("", |(_, line)| line);
        if header != HEADER {
            return Err(CatalogueError::Header { found: header.chars().take(80).collect() });
        }
        let mut items = Vec::new();
        for (position, line) in lines {
            let line_number = position + 1;
            let bad = |problem| CatalogueError::Line { line: line_number, problem };
            let fields = split_record(line).ok_or(bad("the quotes are not balanced"))?;
            let [index, item_id, department, category]: [String; 4] =
                fields.try_into().map_err(|_| bad("there must be four fields"))?;
            if index != items.len().to_string() {
                return Err(bad("the index must count from 0 without gaps"));
            }
            if item_id.is_empty() {
                return Err(bad("item_id is empty"));
            }
            items.push(Item { item_id, department, category });
        }
        Self::new(items)
    }

    /// A catalogue from its items in index order.
    ///
    /// # Errors
    /// [`CatalogueError`] when there are no items or too many, one twice or one with a line break.
    pub fn new(items: Vec<Item>) -> Result<Self, CatalogueError> {
        if items.is_empty() || items.len() > ITEMS_MAX as usize {
            return Err(CatalogueError::Count { items: items.len() });
        }
        let mut index = HashMap::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            let fields = [&item.item_id, &item.department, &item.category];
            if fields.iter().any(|field| field.contains(['\r', '\n'])) {
                return Err(CatalogueError::Line {
                    line: position + 2,
                    problem: "a field contains a line break",
                });
            }
            if index.insert(item.item_id.clone(), position as u32).is_some() {
                return Err(CatalogueError::Twice {
                    line: position + 2,
                    item_id: item.item_id.clone(),
                });
            }
        }
        let pair = |item: &Item| (item.department.clone(), item.category.clone());
        let mut categories: BTreeMap<(String, String), u32> =
            items.iter().map(|item| (pair(item), 0)).collect();
        categories.values_mut().zip(0..).for_each(|(place, position)| *place = position);
        let category_of = items.iter().map(|item| categories[&pair(item)]).collect();
        let categories = categories.into_keys().collect();
        Ok(Self { items, index, categories, category_of })
    }

    /// Departments and categories, each pair once, ascending.
    #[must_use]
    pub fn categories(&self) -> &[(String, String)] {
        &self.categories
    }

    /// For each item, in index order, the place of its category in [`Catalogue::categories`].
    #[must_use]
    pub fn category_of(&self) -> &[u32] {
        &self.category_of
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no items; never true for a catalogue that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The item at `index`.
    #[must_use]
    pub fn item(&self, index: u32) -> Option<&Item> {
        self.items.get(index as usize)
    }

    /// The items in index order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The index of `item_id`, or `None` for an item outside the catalogue.
    #[must_use]
    pub fn index_of(&self, item_id: &str) -> Option<u32> {
        self.index.get(item_id).copied()
    }

    /// The canonical file: the header, then one record per line, `\n` after each, fields quoted
    /// only where they must be.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (index, item) in self.items.iter().enumerate() {
            text.push_str(&index.to_string());
            for field in [&item.item_id, &item.department, &item.category] {
                text.push(',');
                push_field(&mut text, field);
            }
            text.push('\n');
        }
        text
    }

    /// SHA-256 of the canonical file, so that `sha256sum` of a canonical file gives the same and
    /// different line ends do not make different catalogues.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::plain(self.to_csv().as_bytes())
    }
}

/// The fields of one record without line breaks; `None` when the quotes are not balanced.
fn split_record(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (field, after) = unquote(quoted)?;
            fields.push(field);
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None if after.is_empty() => return Some(fields),
                None => return None,
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let field = &rest[..end];
            if field.contains('"') {
                return None;
            }
            fields.push(field.to_owned());
            match rest.get(end + 1..) {
                Some(next) if end < rest.len() => rest = next,
                _ => return Some(fields),
            }
        }
    }
}

/// The field whose opening quote was just read, and what follows its closing quote.
fn unquote(mut rest: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, rest)),
        }
    }
}

fn push_field(text: &mut String, field: &str) {
    if field.contains(['"', ',']) {
        text.push('"');
        text.push_str(&field.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(field);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SMALL: &str = "index,item_id,department,category\n\
        0,APPLES,PRODUCE,FRUIT\n\
        1,\"BEANS, \"\"GREEN\"\"\",PRODUCE,\n";

    #[test]
    fn reads_quotes_and_finds_items() {
        let catalogue = Catalogue::read_csv(SMALL.as_bytes()).unwrap();
        assert_eq!(catalogue.len(), 2);
        assert_eq!(catalogue.item(1).unwrap().item_id, "BEANS, \"GREEN\"");
        assert_eq!(catalogue.item(1).unwrap().category, "");
        assert_eq!(catalogue.index_of("APPLES"), Some(0));
        assert_eq!(catalogue.index_of("PEARS"), None);
        assert_eq!(catalogue.digest(), Digest::plain(SMALL.as_bytes()));
    }

    #[test]
    fn line_ends_do_not_change_the_digest() {
        let windows = SMALL.replace('\n', "\r\n");
        assert_eq!(
            Catalogue::read_csv(windows.as_bytes()).unwrap().digest(),
            Digest::plain(SMALL.as_bytes())
        );
    }

    #[test]
    fn mistakes_name_their_line() {
        let read = |text: &str| Catalogue::read_csv(text.as_bytes()).unwrap_err();
        assert!(matches!(read("item,index\n"), CatalogueError::Header { .. }));
        assert!(matches!(read(""), CatalogueError::Header { .. }));
        let with = |line: &str| read(&format!("{HEADER}\n0,A,B,C\n{line}\n"));
        for (line, word) in [
            ("1,X,Y", "four"),
            ("1,X,Y,Z,W", "four"),
            ("2,X,Y,Z", "gaps"),
            ("1,,Y,Z", "empty"),
            ("1,\"X,Y,Z", "quotes"),
            ("1,\"X\"x,Y,Z", "quotes"),
        ] {
            let error = with(line);
            assert!(
                matches!(&error, CatalogueError::Line { line: 3, problem } if problem.contains(word)),
                "{line}: {error}"
            );
        }
        assert!(matches!(with("1,A,Y,Z"), CatalogueError::Twice { line: 3, .. }));
        assert!(matches!(read(&format!("{HEADER}\n")), CatalogueError::Count { items: 0 }));
        assert_eq!(Catalogue::read_csv(&[0xff]).unwrap_err(), CatalogueError::Encoding);
    }

    #[test]
    fn the_committed_catalogue_is_canonical() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/complete-journey/catalogue.csv");
        let bytes = std::fs::read(path).unwrap();
        let catalogue = Catalogue::read_csv(&bytes).unwrap();
        assert_eq!(catalogue.digest(), Digest::plain(&bytes));
        assert!(catalogue.len() > 100);
    }

    proptest! {
        #[test]
        fn written_is_read_back(names in proptest::collection::btree_set("[a-c\",é ]{1,6}", 1..8)) {
            let items = names
                .into_iter()
                .map(|item_id| Item { department: item_id.clone(), category: String::new(), item_id })
                .collect();
            let catalogue = Catalogue::new(items).unwrap();
            prop_assert_eq!(Catalogue::read_csv(catalogue.to_csv().as_bytes()).unwrap(), catalogue);
        }
    }

    #[test]
    fn every_item_has_its_category_and_none_comes_twice() {
        let text = "index,item_id,department,category\n0,a,D,Y\n1,b,C,Z\n2,c,D,Y\n3,d,D,X\n";
        let catalogue = Catalogue::read_csv(text.as_bytes()).unwrap();
        let pair = |department: &str, category: &str| (department.into(), category.into());
        assert_eq!(catalogue.categories(), [pair("C", "Z"), pair("D", "X"), pair("D", "Y")]);
        assert_eq!(catalogue.category_of(), [2, 0, 2, 1]);
    }
}
