//! What a federation and those before it over the same people have spent together: no budget
//! begins anew under another name.

use std::{collections::BTreeMap, fmt};

use chorale_dp::{
    Rho,
    accountant::{
        bridge::{self, GaussianRelease},
        zcdp,
    },
};
use chorale_wire::FederationId;
use serde::Serialize;

use crate::{
    chain::Head,
    entry::{Predecessor, Privacy},
    report::{Report, finite, round_up},
    verify::{VerifyError, verify},
};

/// The total over a federation and its predecessors, as far as their ledgers were given.
#[derive(Clone, Debug, Serialize)]
pub struct Lineage {
    /// Every predecessor, and theirs, whose ledger was given.
    pub found: Vec<Ancestor>,
    /// Predecessors whose ledger was not given: what they spent is missing in the total.
    pub missing: Vec<Predecessor>,
    /// ρ of all of them together, charged and reserved, exactly; `unprotected` where one had no
    /// noise.
    pub rho: Privacy,
    /// Its ε by the zCDP conversion, at the δ at which the newest federation reports.
    #[serde(serialize_with = "finite")]
    pub zcdp: f64,
    /// Its ε by the exact Gaussian curve, at the same δ.
    #[serde(serialize_with = "finite")]
    pub gaussian: f64,
}

/// A predecessor whose ledger was verified.
#[derive(Clone, Debug, Serialize)]
pub struct Ancestor {
    /// The federation.
    pub federation: FederationId,
    /// The last entry of its ledger as it was given; at or after the head that its successor names.
    pub head: Head,
    /// What it charged and reserved.
    pub rho: Privacy,
}

/// Why no total could be made.
#[derive(Debug, thiserror::Error)]
pub enum LineageError {
    /// A ledger of a predecessor does not verify, or not up to the head that its successor names.
    #[error("the ledger of {federation}, given as a predecessor, does not verify")]
    Ledger {
        /// The federation, as far as it can be read.
        federation: String,
        /// What is wrong with it.
        #[source]
        source: Box<VerifyError>,
    },
    /// Two ledgers of one federation.
    #[error("two ledgers of {federation} were given: give the one that goes further")]
    Twice {
        /// The federation.
        federation: FederationId,
    },
    /// A ledger that nobody names.
    #[error("{federation} is no predecessor: no genesis entry names it")]
    Stranger {
        /// The federation.
        federation: FederationId,
    },
}

/// The total of a verified ledger and its predecessors, theirs included.
///
/// # Errors
/// [`LineageError`] when a file does not verify against the head that its successor names, or is no
/// predecessor's.
pub fn lineage(newest: &Report, predecessors: &[&[u8]]) -> Result<Lineage, LineageError> {
    let mut given: BTreeMap<FederationId, (&[u8], Report)> = BTreeMap::new();
    for file in predecessors {
        let report = verify(file, None).map_err(|source| LineageError::Ledger {
            federation: "a federation".into(),
            source: Box::new(source),
        })?;
        let federation = report.federation_id.clone();
        if given.insert(federation.clone(), (file, report)).is_some() {
            return Err(LineageError::Twice { federation });
        }
    }
    let mut lineage = Lineage {
        found: Vec::new(),
        missing: Vec::new(),
        rho: newest.counted_rho(),
        zcdp: f64::INFINITY,
        gaussian: f64::INFINITY,
    };
    let mut releases: Option<Vec<GaussianRelease>> = newest.releases.clone();
    let mut named: Vec<Predecessor> = newest.predecessors.clone();
    let mut seen: BTreeMap<FederationId, ()> = BTreeMap::new();
    while let Some(predecessor) = named.pop() {
        let federation = predecessor.federation.clone();
        let Some((file, report)) = given.get(&federation) else {
            lineage.missing.push(predecessor);
            continue;
        };
        // Also where it was counted already: two successors may name different heads.
        verify(file, Some(predecessor.head())).map_err(|source| LineageError::Ledger {
            federation: federation.to_string(),
            source: Box::new(source),
        })?;
        if seen.insert(federation.clone(), ()).is_some() {
            continue;
        }
        named.extend(report.predecessors.iter().cloned());
        let rho = report.counted_rho();
        lineage.rho = match (&lineage.rho, &rho) {
            (Privacy::Rho(sum), Privacy::Rho(rho)) => Privacy::Rho(sum + rho),
            _ => Privacy::Unprotected,
        };
        releases = releases.zip(report.releases.clone()).map(|(mut all, more)| {
            all.extend(more);
            all
        });
        lineage.found.push(Ancestor { federation, head: report.head, rho });
    }
    if let Some(stranger) = given.into_keys().find(|federation| !seen.contains_key(federation)) {
        return Err(LineageError::Stranger { federation: stranger });
    }
    lineage.missing.sort();
    lineage.missing.dedup();
    if let Privacy::Rho(rho) = &lineage.rho {
        let delta = newest.epsilon.delta_mechanism;
        let nothing = *rho == Rho::zero();
        lineage.zcdp = if nothing { 0.0 } else { zcdp::epsilon(rho, delta) };
        let gaussian = releases.and_then(|all| bridge::epsilon(&all, delta).ok());
        lineage.gaussian = if nothing { 0.0 } else { gaussian.unwrap_or(f64::INFINITY) };
    }
    Ok(lineage)
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Ancestor { federation, head, rho } in &self.found {
            let rho = match rho {
                Privacy::Rho(rho) => format!("ρ {:.6}", rho.as_rational().to_f64_up()),
                Privacy::Unprotected => "no noise".into(),
            };
            writeln!(f, "predecessor    {federation}: {rho}, up to {head}")?;
        }
        for Predecessor { federation, .. } in &self.missing {
            writeln!(
                f,
                "predecessor    {federation}: NOT GIVEN, so what it spent is not in the total"
            )?;
        }
        writeln!(
            f,
            "in all         ε {} by zCDP, {} by the exact Gaussian, over {} federations{}",
            round_up(self.zcdp),
            round_up(self.gaussian),
            self.found.len() + 1,
            if self.missing.is_empty() { "" } else { "; INCOMPLETE" }
        )
    }
}
