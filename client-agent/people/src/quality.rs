//! The data-quality report: rows in = rows used + rows quarantined, by reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{error::Explain, event::Reason};

/// What was read and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Rows that the SQL yielded, and malformed lines.
    pub rows: u64,
    /// Rows that became events.
    pub used: u64,
    /// Rows set aside, by reason.
    pub quarantined: BTreeMap<Reason, Quarantine>,
    /// Used rows that a later row corrected or took back.
    pub corrected: u64,
    /// Per column of the SQL's result.
    pub columns: Vec<ColumnQuality>,
    /// Per source, what was read of its files.
    pub sources: Vec<SourceQuality>,
}

/// What was read of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceQuality {
    /// Its name.
    pub name: String,
    /// Files that were read.
    pub files: u64,
    /// Files that an earlier reading took, which were left alone.
    pub known: u64,
    /// Files that changed so lately that they are left for the next reading.
    pub unsettled: u64,
    /// Rows that were read; `None` where the engine reads the files itself and does not say.
    pub rows: Option<u64>,
    /// Lines that are no row.
    pub malformed: u64,
}

/// The rows set aside for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// How many.
    pub rows: u64,
    /// Where the first of them stood.
    pub first: Vec<Spot>,
}

/// Where a row stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spot {
    /// The file's name, where the row is known by its line.
    pub file: Option<String>,
    /// The line of that file, or the number of the SQL's row, from 1.
    pub number: u64,
}

/// What one column held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnQuality {
    /// The column.
    pub name: String,
    /// Its type as the engine names it.
    pub kind: String,
    /// Rows without a value.
    pub empty: u64,
    /// Rows whose value could not be converted.
    pub unreadable: u64,
}

/// Too many faulty rows to go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "{faulty} of {rows} rows are faulty ({summary}); at most a share of {share_max} is accepted"
)]
pub struct TooManyFaults {
    /// Faulty rows.
    pub faulty: u64,
    /// All rows.
    pub rows: u64,
    /// Counts and first rows by reason.
    pub summary: String,
    /// The configured limit.
    pub share_max: f64,
}

/// Row numbers kept for each reason.
pub const FIRST_ROWS: usize = 5;

impl Quality {
    /// Rows set aside, for whatever reason.
    #[must_use]
    pub fn quarantined_rows(&self) -> u64 {
        self.quarantined.values().map(|entry| entry.rows).sum()
    }

    /// Rows set aside because they are faulty, items outside the catalogue not counted.
    #[must_use]
    pub fn faulty_rows(&self) -> u64 {
        let faults = self.quarantined.iter().filter(|(reason, _)| reason.is_fault());
        faults.map(|(_, entry)| entry.rows).sum()
    }

    /// Refuses the whole reading when the share of faulty rows is above `share_max`.
    ///
    /// # Errors
    /// [`TooManyFaults`] with the counts and the first rows by reason.
    pub fn admit(&self, share_max: f64) -> Result<(), TooManyFaults> {
        let faulty = self.faulty_rows();
        if faulty as f64 <= share_max * self.rows as f64 {
            return Ok(());
        }
        let summary = self.fault_summary();
        Err(TooManyFaults { faulty, rows: self.rows, summary, share_max })
    }

    /// Counts and first rows of the faults on one line.
    #[must_use]
    pub fn fault_summary(&self) -> String {
        let faults = self.quarantined.iter().filter(|(reason, _)| reason.is_fault());
        let parts: Vec<String> = faults
            .map(|(reason, entry)| {
                format!("{}: {} ({})", reason.text(), entry.rows, entry.first_rows())
            })
            .collect();
        parts.join("; ")
    }

    /// Counts a row that was set aside for `reason`.
    pub fn set_aside(&mut self, reason: Reason, spot: impl FnOnce() -> Spot) {
        let entry = self.quarantined.entry(reason).or_default();
        entry.rows += 1;
        if entry.first.len() < FIRST_ROWS {
            entry.first.push(spot());
        }
    }
}

impl Quarantine {
    /// `row 7`, or `rows 7, 9, 12, ...`, or `receipts.csv line 12`.
    #[must_use]
    pub fn first_rows(&self) -> String {
        let spots: Vec<String> = self.first.iter().map(Spot::to_string).collect();
        let more = if self.rows as usize > self.first.len() { ", ..." } else { "" };
        let by_row = self.first.iter().all(|spot| spot.file.is_none());
        let noun = match (by_row, self.rows) {
            (false, _) => "",
            (true, 1) => "row ",
            (true, _) => "rows ",
        };
        format!("{noun}{}{more}", spots.join(", "))
    }
}

impl Spot {
    /// Row `number` of the SQL's result.
    #[must_use]
    pub fn row(number: u64) -> Self {
        Self { file: None, number }
    }
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file} line {}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

impl Explain for TooManyFaults {
    fn place(&self) -> String {
        "the rows that event_sql yields".into()
    }

    fn remedy(&self) -> String {
        "look at the rows with `client-agent data check`, repair the source, or raise \
         cleaning.quarantine_max_share if they may be left out"
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_count_and_unknown_items_do_not() {
        let mut quality = Quality { rows: 100, used: 89, ..Quality::default() };
        for row in 1..=10 {
            quality.set_aside(Reason::UnknownItem, || Spot::row(row));
        }
        quality.set_aside(Reason::NegativeAmount, || Spot::row(77));
        assert_eq!((quality.faulty_rows(), quality.quarantined_rows()), (1, 11));
        assert!(quality.admit(0.01).is_ok());
        let error = quality.admit(0.001).map_err(|error| error.to_string());
        assert_eq!(
            error,
            Err("1 of 100 rows are faulty (negative amount: 1 (row 77)); \
                 at most a share of 0.001 is accepted"
                .to_owned())
        );
        assert_eq!(
            quality.quarantined[&Reason::UnknownItem].first_rows(),
            "rows 1, 2, 3, 4, 5, ..."
        );
        let line = Spot { file: Some("a.csv".into()), number: 12 };
        quality.set_aside(Reason::MalformedLine, || line);
        assert_eq!(quality.quarantined[&Reason::MalformedLine].first_rows(), "a.csv line 12");
    }
}
