//! The households of the twelve committed stores, each at its home store.

use std::{collections::BTreeMap, fs::File, path::Path};

use chorale_plan::Pseudonym;
use chorale_task::{Catalogue, MemoryPeople};
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::{Field, Row},
};

use crate::AnyError;

/// One household: items of the catalogue and how often it bought them.
pub(crate) type Household = Vec<(u32, f32)>;

pub(crate) struct Data {
    pub(crate) catalogue: Catalogue,
    pub(crate) households: Vec<Household>,
}

impl Data {
    /// Reads `tests/data/complete-journey`.
    pub(crate) fn read() -> Result<Self, AnyError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/complete-journey");
        let catalogue = Catalogue::read_csv(&std::fs::read(root.join("catalogue.csv"))?)?;
        let mut items = BTreeMap::new();
        each_row(&root.join("products.parquet"), &["product_id", "product_type"], |row| {
            let [product, kind] = row;
            if let Some(item) = catalogue.index_of(&kind) {
                items.insert(product, item);
            }
        })?;
        let mut households: BTreeMap<String, BTreeMap<u32, f32>> = BTreeMap::new();
        let mut stores: Vec<_> =
            std::fs::read_dir(root.join("stores"))?.collect::<Result<_, _>>()?;
        stores.sort_by_key(std::fs::DirEntry::path);
        for store in stores {
            let name = store.file_name().to_string_lossy().into_owned();
            let columns = ["household_id", "home_store", "product_id"];
            each_row(&store.path().join("transactions.parquet"), &columns, |row| {
                let [household, home, product] = row;
                if let (true, Some(item)) = (home == name, items.get(&product)) {
                    *households.entry(household).or_default().entry(*item).or_default() += 1.0;
                }
            })?;
        }
        let households = households.into_values().map(|items| items.into_iter().collect());
        Ok(Self { catalogue, households: households.collect() })
    }
}

/// Some households as a task sees them.
pub(crate) fn people(households: &[&Household]) -> Result<MemoryPeople, AnyError> {
    let person = |(number, items): (usize, &&Household)| {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&(number as u64).to_be_bytes());
        (Pseudonym::from_bytes(name), (*items).clone())
    };
    Ok(MemoryPeople::new(households.iter().enumerate().map(person).collect())?)
}

/// Gives the named columns of every row as text.
fn each_row<const N: usize>(
    path: &Path,
    columns: &[&str; N],
    mut take: impl FnMut([String; N]),
) -> Result<(), AnyError> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    for row in reader.get_row_iter(None)? {
        let row: Row = row?;
        let mut texts = [const { String::new() }; N];
        for (name, field) in row.get_column_iter() {
            if let Some(place) = columns.iter().position(|column| column == name) {
                texts[place] = match field {
                    Field::Str(text) => text.clone(),
                    other => other.to_string(),
                };
            }
        }
        take(texts);
    }
    Ok(())
}
