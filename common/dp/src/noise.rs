//! What the gate asks of a source of noise.

use crate::Rational;

/// A source of independent integer noise with a declared variance parameter.
///
/// There is no implementation without noise: a federation without privacy takes another path
/// through the gate, under its own name.
pub trait Noise {
    /// Adds one fresh independent draw to every coordinate.
    ///
    /// Sums are taken modulo 2^64, as the masks' modulus 2^w divides it; a plan whose sums could
    /// leave the centred range is refused when it is made.
    fn add_to(&mut self, total: &mut [i64]);

    /// The parameter σ² of each draw, in squared lattice units: of all its layers together.
    fn variance(&self) -> &Rational;

    /// The parameters of the independent layers that make up each draw, in order. The first one
    /// can never be taken off again; a source of one piece has no other.
    fn layers(&self) -> &[Rational] {
        std::slice::from_ref(self.variance())
    }
}
