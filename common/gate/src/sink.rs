//! Where a task puts one part for each person: the gate owns the loop's rules.

use chorale_plan::{PersonSink, PersonVector, Pseudonym, SinkError};
use rand_core::CryptoRng;

use crate::{
    meter::Meter,
    permit::Permit,
    stages::{Scratch, Summed},
};

/// Rounds, clips and adds what it is given.
pub(crate) struct Sink<'a, R: CryptoRng + ?Sized> {
    permit: &'a Permit,
    rounding: &'a mut R,
    meter: Option<&'a mut dyn Meter>,
    scratch: Scratch,
    sum: Summed,
    last: Option<Pseudonym>,
    persons: u32,
    refused: Option<SinkError>,
}

impl<'a, R: CryptoRng + ?Sized> Sink<'a, R> {
    pub(crate) fn new(
        permit: &'a Permit,
        rounding: &'a mut R,
        meter: Option<&'a mut dyn Meter>,
    ) -> Self {
        Self {
            permit,
            rounding,
            meter,
            scratch: Scratch::new(),
            sum: Summed::zero(permit.length),
            last: None,
            persons: 0,
            refused: None,
        }
    }

    /// The sum, unless a part was refused: a task that goes on as if nothing had happened does
    /// not get a release.
    pub(crate) fn finish(self) -> Result<Summed, SinkError> {
        match self.refused {
            None => Ok(self.sum),
            Some(refused) => Err(refused),
        }
    }

    /// All rules on one part, before anything of it is used.
    fn check(&self, who: Pseudonym, part: &PersonVector<'_>) -> Result<(), SinkError> {
        if self.last.is_some_and(|last| who <= last) {
            return Err(SinkError::Order);
        }
        if self.persons >= self.permit.persons_max {
            return Err(SinkError::TooMany { persons_max: self.permit.persons_max });
        }
        let coordinates = self.permit.coordinates;
        match part {
            PersonVector::Dense(values) if values.len() != coordinates => {
                Err(SinkError::Length { given: values.len(), expected: coordinates })
            }
            PersonVector::Dense(_) => Ok(()),
            PersonVector::Sparse { index, value } => {
                let inside = index.last().is_none_or(|last| (*last as usize) < coordinates);
                if index.len() == value.len() && inside && index.is_sorted_by(|a, b| a < b) {
                    Ok(())
                } else {
                    Err(SinkError::Index { coordinates })
                }
            }
        }
    }
}

impl<R: CryptoRng + ?Sized> PersonSink for Sink<'_, R> {
    fn person(&mut self, who: Pseudonym, part: PersonVector<'_>) -> Result<(), SinkError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        if let Err(refused) = self.check(who, &part) {
            self.refused = Some(refused.clone());
            return Err(refused);
        }
        self.last = Some(who);
        self.persons += 1;
        let coordinates = self.permit.coordinates;
        let quantised = self
            .scratch
            .quantise(part, self.permit.scale_bits, self.rounding)
            // Neither a length nor a scale that derives can be refused; if it is, fail closed.
            .map_err(|_| SinkError::Length { given: 0, expected: coordinates })
            .inspect_err(|refused| self.refused = Some(refused.clone()))?;
        let clipped = quantised.clip(self.permit.clip);
        if let Some(meter) = &mut self.meter {
            meter.person(who, clipped.norm_squared());
        }
        match part {
            PersonVector::Dense(_) => self.sum.add(clipped, None),
            PersonVector::Sparse { index, .. } => self.sum.add(clipped, Some(index)),
        }
        Ok(())
    }
}
