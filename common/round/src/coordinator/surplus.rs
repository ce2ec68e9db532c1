//! The surplus of the noise: collected from reveals, and taken off the unmasked total.

use std::{collections::BTreeMap, num::NonZeroUsize};

use chorale_dp::{Rational, SeededLayer, subtract_layers};
use chorale_plan::NoiseLayer;
use chorale_secagg::surplus;
use chorale_wire::{Digest, SessionId, Slot, message::NoiseLink};

use super::{
    fault::SurplusError,
    unmask::{UnmaskError, Unmasked},
};
use crate::context::Context;

/// The layers that the certified survivors make superfluous, and the seeds of them that arrived.
pub(super) struct Surplus {
    /// All layers of one agent's noise.
    layers: Vec<NoiseLayer>,
    /// The first one that is surplus, if any is.
    first: Option<usize>,
    /// By survivor.
    seeds: BTreeMap<Slot, Vec<SeededLayer>>,
}

impl Surplus {
    pub(super) fn new(context: &Context, survivors: usize) -> Self {
        Self {
            layers: context.derived.layers.clone(),
            first: context.first_surplus_layer(survivors),
            seeds: BTreeMap::new(),
        }
    }

    /// Takes the link that a survivor revealed.
    pub(super) fn take(
        &mut self,
        slot: Slot,
        session: SessionId,
        commitment: Option<&Digest>,
        link: Option<NoiseLink>,
    ) -> Result<(), SurplusError> {
        let (first, link) = match (self.first, link) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(SurplusError::Unasked),
            (Some(_), None) => return Err(SurplusError::Missing),
            (Some(first), Some(link)) => (first, link),
        };
        let commitment = commitment.ok_or(SurplusError::Missing)?;
        let removable = self.layers.len() - 1;
        let seeds = surplus::open(commitment, session, slot, first, removable, &link.0)?;
        let variances = self.layers[first..].iter().map(|layer| layer.variance.clone());
        let layers = variances.zip(seeds);
        let layers = layers.map(|(variance, seed)| SeededLayer { variance, seed }).collect();
        self.seeds.insert(slot, layers);
        Ok(())
    }

    /// Takes off every layer whose seed is known. The surplus of survivors that revealed none
    /// stays. Keeps the canary lanes, from coordinate `lanes_from` on, as they were: whoever reveals
    /// the seeds of noise that it never added would else leave noise behind in its place.
    pub(super) fn remove(
        &self,
        mut unmasked: Unmasked,
        lanes_from: usize,
        threads: NonZeroUsize,
    ) -> Result<Unmasked, UnmaskError> {
        if self.layers.len() > 1 {
            let lanes = unmasked.totals.get(lanes_from..).unwrap_or_default();
            unmasked.whole_lanes = lanes.to_vec();
        }
        let layers: Vec<SeededLayer> = self.seeds.values().flatten().cloned().collect();
        subtract_layers(&mut unmasked.totals, &layers, threads).map_err(UnmaskError::Surplus)?;
        Ok(unmasked)
    }

    /// Variance of the noise in each coordinate of the total of `survivors` agents.
    pub(super) fn variance_left(&self, survivors: usize) -> Option<Rational> {
        if self.layers.is_empty() {
            return None;
        }
        let sum = |layers: &[NoiseLayer]| {
            layers.iter().fold(Rational::zero(), |sum, layer| &sum + &layer.variance)
        };
        let times = |count: usize| Rational::from_integer(count as u64);
        let lightened = self.seeds.len().min(survivors);
        let kept = self.first.unwrap_or(self.layers.len());
        let light = &sum(&self.layers[..kept]) * &times(lightened);
        let whole = &sum(&self.layers) * &times(survivors - lightened);
        Some(&light + &whole)
    }
}

impl std::fmt::Debug for Surplus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surplus").field("first", &self.first).finish_non_exhaustive()
    }
}
