//! Sealing everything in a database anew, after the key has changed.

use redb::{Database, ReadableTable, TableDefinition, TableHandle};

use super::{SealError, Sealer};

/// Why a database could not be sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// It cannot be read or written.
    #[error("the database cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// A value opens with neither key.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Seals every value of every table anew that `sealer`'s earlier key sealed, in one transaction;
/// how many that were. Values are bytes under bytes, sealed for their table's name and their key.
///
/// # Errors
/// [`RenewError`]; then nothing is changed.
pub fn renew(database: &Database, sealer: &Sealer) -> Result<u64, RenewError> {
    let transaction = database.begin_write().map_err(failed)?;
    let tables = transaction.list_tables().map_err(failed)?;
    let tables: Vec<String> = tables.map(|table| table.name().to_owned()).collect();
    let mut count = 0;
    for name in &tables {
        let table = TableDefinition::<&[u8], &[u8]>::new(name);
        let mut open = transaction.open_table(table).map_err(failed)?;
        let keys: Result<Vec<Vec<u8>>, _> = open
            .iter()
            .map_err(failed)?
            .map(|entry| entry.map(|(key, _)| key.value().to_vec()))
            .collect();
        for key in keys.map_err(failed)? {
            let key = key.as_slice();
            let renewed = match open.get(key).map_err(failed)? {
                Some(sealed) => sealer.renew(name, key, sealed.value())?,
                None => None,
            };
            if let Some(renewed) = renewed {
                open.insert(key, renewed.as_slice()).map_err(failed)?;
                count += 1;
            }
        }
    }
    transaction.commit().map_err(failed)?;
    Ok(count)
}

fn failed(error: impl Into<redb::Error>) -> RenewError {
    RenewError::Database(Box::new(error.into()))
}
