//! The items that answers may name: the federation's catalogue, and after it what the store added.
//! A number once given to an item stays its own as long as the agent runs.

use std::{collections::HashMap, sync::Arc};

use chorale_people::live::ItemRecord;
use chorale_task::{Catalogue, Item, model::ITEMS_MAX};

/// Items with what the store says about them.
#[derive(Clone)]
pub(crate) struct Shelf {
    federated: usize,
    lines: Vec<Line>,
    index: HashMap<Arc<str>, u32>,
    /// Changes whenever an item is added, so that what was counted before is counted anew.
    pub(crate) epoch: u64,
}

/// One item.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) item: Arc<str>,
    pub(crate) department: String,
    pub(crate) category: String,
    pub(crate) says: Option<ItemRecord>,
}

/// There is no room for another item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent holds at most {ITEMS_MAX} items")]
pub(crate) struct Full;

impl Shelf {
    pub(crate) fn new(catalogue: &Catalogue) -> Self {
        let mut shelf = Self {
            federated: catalogue.len(),
            lines: Vec::with_capacity(catalogue.len()),
            index: HashMap::with_capacity(catalogue.len()),
            epoch: 0,
        };
        for item in catalogue.items() {
            shelf.push(&item.item_id, &item.department, &item.category);
        }
        shelf
    }

    /// Takes the store's word on an item; a new item gets the next number.
    pub(crate) fn put(&mut self, says: ItemRecord) -> Result<(), Full> {
        let at = match self.index_of(&says.item) {
            Some(at) => at,
            None if self.lines.len() >= ITEMS_MAX as usize => return Err(Full),
            None => {
                self.epoch += 1;
                self.push(&says.item, "", "")
            }
        };
        let own = at as usize >= self.federated;
        let line = &mut self.lines[at as usize];
        if own {
            line.department = says.department.clone().unwrap_or_default();
            line.category = says.category.clone().unwrap_or_default();
        }
        line.says = Some(says);
        Ok(())
    }

    /// Whether all items have the names, departments and categories that they have in `other`.
    pub(crate) fn is_named_as(&self, other: &Self) -> bool {
        self.lines.len() == other.lines.len()
            && self
                .lines
                .iter()
                .zip(&other.lines)
                .all(|(one, two)| one.category == two.category && one.department == two.department)
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn index_of(&self, item: &str) -> Option<u32> {
        self.index.get(item).copied()
    }

    pub(crate) fn line(&self, index: u32) -> Option<&Line> {
        self.lines.get(index as usize)
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// All items as scorers and profiles take them.
    pub(crate) fn catalogue(&self) -> Option<Catalogue> {
        let items = self.lines.iter().map(|line| Item {
            item_id: line.item.to_string(),
            department: line.department.clone(),
            category: line.category.clone(),
        });
        // Ids are unique here and free of line breaks (see `routes::items`).
        Catalogue::new(items.collect()).ok()
    }

    fn push(&mut self, item: &str, department: &str, category: &str) -> u32 {
        let at = self.lines.len() as u32;
        let item: Arc<str> = item.into();
        self.index.insert(Arc::clone(&item), at);
        self.lines.push(Line {
            item,
            department: department.to_owned(),
            category: category.to_owned(),
            says: None,
        });
        at
    }
}

impl Line {
    /// Whether an answer may name it.
    pub(crate) fn is_offered(&self) -> bool {
        self.says.as_ref().is_none_or(|says| !says.hidden && says.stock != Some(0))
    }

    pub(crate) fn labels(&self) -> &[String] {
        self.says.as_ref().map_or(&[], |says| says.labels.as_slice())
    }

    pub(crate) fn price(&self) -> Option<f64> {
        self.says.as_ref().and_then(|says| says.price)
    }

    pub(crate) fn title(&self) -> Option<&str> {
        self.says.as_ref().and_then(|says| says.title.as_deref())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_items_follow_the_federations_and_keep_their_numbers() {
        let text = "index,item_id,department,category\n0,APPLES,PRODUCE,FRUIT\n";
        let mut shelf = Shelf::new(&Catalogue::read_csv(text.as_bytes()).unwrap());
        let says = |item: &str, stock| ItemRecord {
            item: item.into(),
            category: Some("TEA".into()),
            stock,
            ..ItemRecord::default()
        };
        shelf.put(says("OOLONG", None)).unwrap();
        shelf.put(says("APPLES", Some(0))).unwrap();
        assert_eq!((shelf.index_of("APPLES"), shelf.index_of("OOLONG")), (Some(0), Some(1)));
        assert_eq!(shelf.line(0).unwrap().category, "FRUIT", "the federation's word stands");
        assert_eq!(shelf.line(1).unwrap().category, "TEA");
        assert!(!shelf.line(0).unwrap().is_offered());
        assert_eq!(shelf.epoch, 1);
        let before = shelf.clone();
        shelf.put(says("APPLES", Some(3))).unwrap();
        assert!(shelf.line(0).unwrap().is_offered());
        assert!(shelf.is_named_as(&before));
        shelf.put(ItemRecord { category: None, ..says("OOLONG", None) }).unwrap();
        assert!(!shelf.is_named_as(&before));
        assert_eq!((shelf.epoch, shelf.catalogue().unwrap().len()), (1, 2));
    }
}
