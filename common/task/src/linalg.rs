//! Dense linear algebra on symmetric matrices in `f64`. Every function is deterministic.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};

mod cholesky;
mod eigen;

pub(crate) use cholesky::{invert_positive_definite, solve_positive_definite};
pub(crate) use eigen::{orthonormalise, seeded_normal, symmetric_eigen, top_eigen};

/// The block of `a` at `rows` and `columns`. (The slicing macro of ndarray expands to `unsafe`,
/// which this crate forbids.)
pub(crate) fn block<'a>(
    a: &'a Array2<f64>,
    rows: Range<usize>,
    columns: Range<usize>,
) -> ArrayView2<'a, f64> {
    a.slice_axis(Axis(0), rows.into()).slice_axis_move(Axis(1), columns.into())
}

/// The same block, to be written to.
pub(crate) fn block_mut<'a>(
    a: &'a mut Array2<f64>,
    rows: Range<usize>,
    columns: Range<usize>,
) -> ArrayViewMut2<'a, f64> {
    a.slice_axis_mut(Axis(0), rows.into()).slice_axis_move(Axis(1), columns.into())
}

/// Scalar product in four interleaved sums, which the compiler turns into vector instructions.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a4.zip(b4) {
        for lane in 0..4 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + tail
}

/// Euclidean norm.
pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}
