//! From persons to one masked vector, in one call.

use chorale_dp::{Noise, Rational};
use chorale_plan::{PersonSink, SinkError};
use chorale_secagg::{MaskTicket, TicketError};
use chorale_wire::{Digest, RoundNumber, SessionId};
use rand_core::CryptoRng;

use crate::{meter::Meter, permit::Permit, sink::Sink};

/// What protects the sum. It must be what the permit's spec asks for.
pub enum Protection<'a> {
    /// This agent's share of the noise, of exactly the variance that the spec derives.
    Noise(&'a mut dyn Noise),
    /// No noise: only for a spec whose mechanism is `Unprotected`.
    None,
}

/// Why nothing was released. The permit is used up and the charge stands, unless it is given
/// back in the journal as a round of which no byte left.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError<E: std::error::Error + Send + Sync + 'static> {
    /// The ticket was made for something else. The program is to blame.
    #[error("round {round}: the mask ticket is for another {field}; nothing is released")]
    Ticket {
        /// The round.
        round: RoundNumber,
        /// What differs.
        field: &'static str,
    },
    /// The noise is not the one that the spec asks for. The program is to blame.
    #[error(
        "round {round}: the spec asks for {expected}, the noise source has {given}; nothing is \
         released"
    )]
    Protection {
        /// The round.
        round: RoundNumber,
        /// What the spec derives.
        expected: String,
        /// What was given.
        given: String,
    },
    /// A part broke the rules of the sink. The task is to blame.
    #[error("round {round}: the task's parts break the rules; nothing is released")]
    Sink {
        /// The round.
        round: RoundNumber,
        /// Which rule.
        #[source]
        source: SinkError,
    },
    /// The task, or the source of its data, failed.
    #[error("round {round}: the contributions could not be computed; nothing is released")]
    People {
        /// The round.
        round: RoundNumber,
        /// Why.
        #[source]
        source: E,
    },
    /// The ticket did not mask.
    #[error("round {round}: the vector could not be masked; nothing is released")]
    Mask {
        /// The round.
        round: RoundNumber,
        /// Why.
        #[source]
        source: TicketError,
    },
}

/// A masked vector: all that leaves a store. It can be read as bytes to be sent, and neither
/// copied, printed, decoded nor made otherwise than by [`release`].
#[must_use = "a release that is not sent is a forfeited round"]
pub struct Release {
    session: SessionId,
    digest: Digest,
    bytes: Vec<u8>,
}

impl Release {
    /// The session that the vector is masked for.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Plain SHA-256 of all bytes, as the masked header carries it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a round has at least one coordinate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Up to `max` bytes from `offset` on; empty at and past the end.
    #[must_use]
    pub fn chunk(&self, offset: usize, max: usize) -> &[u8] {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        &rest[..rest.len().min(max)]
    }
}

/// Releases one vector: rounds, clips and adds the parts that `people` gives to the sink, adds
/// the noise, and masks the sum with `ticket`. Uses up permit and ticket whatever happens.
///
/// `people` gives one part for each person in strictly ascending order of pseudonym. No person
/// at all is fine: the total then is noise alone. `rounding` and the noise source must be
/// cryptographically secure and never restarted.
///
/// # Errors
/// [`ReleaseError`]; nothing leaves the gate then.
pub fn release<R, E>(
    permit: Permit,
    rounding: &mut R,
    protection: Protection<'_>,
    ticket: impl MaskTicket,
    people: impl FnOnce(&mut dyn PersonSink) -> Result<(), E>,
) -> Result<Release, ReleaseError<E>>
where
    R: CryptoRng + ?Sized,
    E: std::error::Error + Send + Sync + 'static,
{
    make(permit, rounding, protection, ticket, people, None)
}

/// [`release()`], and tells `meter` what each person's part weighed. The vector is the same.
///
/// # Errors
/// [`ReleaseError`]; nothing leaves the gate then, and what the meter was told counts for nothing.
pub fn release_metered<R, E>(
    permit: Permit,
    rounding: &mut R,
    protection: Protection<'_>,
    ticket: impl MaskTicket,
    people: impl FnOnce(&mut dyn PersonSink) -> Result<(), E>,
    meter: &mut dyn Meter,
) -> Result<Release, ReleaseError<E>>
where
    R: CryptoRng + ?Sized,
    E: std::error::Error + Send + Sync + 'static,
{
    make(permit, rounding, protection, ticket, people, Some(meter))
}

fn make<R, E>(
    permit: Permit,
    rounding: &mut R,
    protection: Protection<'_>,
    ticket: impl MaskTicket,
    people: impl FnOnce(&mut dyn PersonSink) -> Result<(), E>,
    meter: Option<&mut dyn Meter>,
) -> Result<Release, ReleaseError<E>>
where
    R: CryptoRng + ?Sized,
    E: std::error::Error + Send + Sync + 'static,
{
    let round = permit.round;
    check_ticket(&permit, &ticket)?;
    check_protection(&permit, &protection)?;
    // Shortens the lifetime of what the meter is, too.
    let meter = meter.map(|meter| meter as &mut dyn Meter);
    let mut sink = Sink::new(&permit, rounding, meter);
    let outcome = people(&mut sink);
    // The sink's word comes first: it is what a failing task would have passed on.
    let sum = sink.finish().map_err(|source| ReleaseError::Sink { round, source })?;
    outcome.map_err(|source| ReleaseError::People { round, source })?;
    let noised = match protection {
        Protection::Noise(noise) => sum.noise(noise),
        Protection::None => sum.unprotected(),
    };
    let session = ticket.session();
    let packed = noised.mask(ticket).map_err(|source| ReleaseError::Mask { round, source })?;
    Ok(Release { session, digest: packed.digest(), bytes: packed.into_bytes() })
}

fn check_ticket<E: std::error::Error + Send + Sync + 'static>(
    permit: &Permit,
    ticket: &impl MaskTicket,
) -> Result<(), ReleaseError<E>> {
    let differs = |field| Err(ReleaseError::Ticket { round: permit.round, field });
    if ticket.spec() != permit.spec {
        return differs("round spec");
    }
    if ticket.coordinates() != permit.length {
        return differs("number of coordinates");
    }
    if ticket.modulus_bits() != permit.modulus_bits {
        return differs("modulus");
    }
    Ok(())
}

/// The noise must have the variance that the spec derives, in exactly the layers that it derives:
/// a layer that may come off again must not carry what has to stay.
fn check_protection<E: std::error::Error + Send + Sync + 'static>(
    permit: &Permit,
    protection: &Protection<'_>,
) -> Result<(), ReleaseError<E>> {
    let given: &[Rational] = match protection {
        Protection::Noise(noise) => noise.layers(),
        Protection::None => &[],
    };
    let variance = match protection {
        Protection::Noise(noise) => Some(noise.variance()),
        Protection::None => None,
    };
    let expected = permit.layers.iter().map(|layer| &layer.variance);
    if expected.clone().eq(given) && variance == permit.share_variance.as_ref() {
        return Ok(());
    }
    Err(ReleaseError::Protection {
        round: permit.round,
        expected: name(expected),
        given: name(given.iter()),
    })
}

fn name<'a>(layers: impl Iterator<Item = &'a Rational>) -> String {
    let layers: Vec<String> = layers.map(Rational::to_string).collect();
    match layers.as_slice() {
        [] => "no noise".to_string(),
        [variance] => format!("noise of variance {variance}"),
        layers => format!("noise in layers of variance {}", layers.join(", ")),
    }
}
