//! Blocked Cholesky factorisation, inversion and solution of positive definite systems.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, linalg::general_mat_mul};

use super::{block, block_mut};

/// Side of the blocks: three of them fit the second-level cache.
const BLOCK: usize = 96;

/// The matrix is not positive definite: pivot `row` was not positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotPositiveDefinite {
    /// The row.
    pub(crate) row: usize,
}

/// Lower Cholesky factor of a symmetric positive definite matrix, by the right-looking blocked
/// algorithm (Golub and Van Loan, *Matrix Computations*, 4th ed., 4.2.6). Only the lower triangle
/// is read.
pub(crate) fn cholesky(mut a: Array2<f64>) -> Result<Array2<f64>, NotPositiveDefinite> {
    let n = a.nrows();
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        cholesky_unblocked(block_mut(&mut a, start..end, start..end), start)?;
        if end == n {
            break;
        }
        let inverse = invert_lower_unblocked(block(&a, start..end, start..end));
        let panel = block(&a, end..n, start..end).dot(&inverse.t());
        block_mut(&mut a, end..n, start..end).assign(&panel);
        // The trailing matrix, one block of columns at a time and only below the diagonal.
        for column in (end..n).step_by(BLOCK) {
            let column_end = (column + BLOCK).min(n);
            let below = block(&panel, column - end..n - end, 0..end - start);
            let across = block(&panel, column - end..column_end - end, 0..end - start);
            let mut target = block_mut(&mut a, column..n, column..column_end);
            general_mat_mul(-1.0, &below, &across.t(), 1.0, &mut target);
        }
    }
    for (row, mut values) in a.axis_iter_mut(Axis(0)).enumerate() {
        values.iter_mut().skip(row + 1).for_each(|value| *value = 0.0);
    }
    Ok(a)
}

/// Inverse of a symmetric positive definite matrix: P = XᵀX with X = L⁻¹.
pub(crate) fn invert_positive_definite(a: Array2<f64>) -> Result<Array2<f64>, NotPositiveDefinite> {
    let x = invert_lower(&cholesky(a)?);
    let n = x.nrows();
    let mut p = Array2::zeros((n, n));
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        // Rows start..end of P up to its diagonal block; X is zero above its own diagonal.
        let left = block(&x, start..n, start..end);
        let right = block(&x, start..n, 0..end);
        let mut target = block_mut(&mut p, start..end, 0..end);
        general_mat_mul(1.0, &left.t(), &right, 0.0, &mut target);
    }
    mirror_lower(&mut p);
    Ok(p)
}

/// Solves (a)x = b for a small symmetric positive definite `a`.
pub(crate) fn solve_positive_definite(
    a: Array2<f64>,
    b: &mut [f64],
) -> Result<(), NotPositiveDefinite> {
    let mut a = a;
    cholesky_unblocked(a.view_mut(), 0)?;
    solve_with_factor(a.view(), b);
    Ok(())
}

/// Solves L Lᵀ x = b in place; only the lower triangle of `factor` is read.
fn solve_with_factor(factor: ArrayView2<'_, f64>, b: &mut [f64]) {
    let n = b.len();
    for row in 0..n {
        let known: f64 = (0..row).map(|j| factor[[row, j]] * b[j]).sum();
        b[row] = (b[row] - known) / factor[[row, row]];
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|j| factor[[j, row]] * b[j]).sum();
        b[row] = (b[row] - known) / factor[[row, row]];
    }
}

fn cholesky_unblocked(
    mut a: ArrayViewMut2<'_, f64>,
    offset: usize,
) -> Result<(), NotPositiveDefinite> {
    let n = a.nrows();
    for j in 0..n {
        let pivot = a[[j, j]];
        // Also refuses NaN.
        if !(pivot > 0.0 && pivot.is_finite()) {
            return Err(NotPositiveDefinite { row: offset + j });
        }
        let root = pivot.sqrt();
        a[[j, j]] = root;
        for i in j + 1..n {
            a[[i, j]] /= root;
        }
        for i in j + 1..n {
            let factor = a[[i, j]];
            for k in j + 1..=i {
                a[[i, k]] -= factor * a[[k, j]];
            }
        }
    }
    Ok(())
}

/// Inverse of a lower triangular matrix, block row by block row:
/// X_ii = L_ii⁻¹ and X_i,<i = -L_ii⁻¹ L_i,<i X_<i,<i.
fn invert_lower(l: &Array2<f64>) -> Array2<f64> {
    let n = l.nrows();
    let mut x = Array2::<f64>::zeros((n, n));
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let diagonal = invert_lower_unblocked(block(l, start..end, start..end));
        // The known part of X is lower triangular: column block c starts at row c.
        for column in (0..start).step_by(BLOCK) {
            let column_end = (column + BLOCK).min(start);
            let known = block(&x, column..start, column..column_end);
            let product = block(l, start..end, column..start).dot(&known);
            let mut target = block_mut(&mut x, start..end, column..column_end);
            general_mat_mul(-1.0, &diagonal, &product, 0.0, &mut target);
        }
        block_mut(&mut x, start..end, start..end).assign(&diagonal);
    }
    x
}

fn invert_lower_unblocked(l: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = l.nrows();
    let mut x = Array2::<f64>::zeros((n, n));
    for i in 0..n {
        let pivot = l[[i, i]];
        for k in 0..i {
            let factor = l[[i, k]];
            for j in 0..=k {
                x[[i, j]] -= factor * x[[k, j]];
            }
        }
        for j in 0..i {
            x[[i, j]] /= pivot;
        }
        x[[i, i]] = 1.0 / pivot;
    }
    x
}

/// Copies the lower triangle to the upper one, tile by tile.
fn mirror_lower(a: &mut Array2<f64>) {
    let n = a.nrows();
    for rows in (0..n).step_by(BLOCK) {
        for columns in (0..=rows).step_by(BLOCK) {
            for i in rows..(rows + BLOCK).min(n) {
                for j in columns..(columns + BLOCK).min(i) {
                    a[[j, i]] = a[[i, j]];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ndarray::Array1;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha12Rng;

    use super::*;

    /// A random symmetric positive definite matrix.
    fn positive(n: usize, seed: u64) -> Array2<f64> {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let b = Array2::from_shape_simple_fn((n, n), || rng.random::<f64>() - 0.5);
        b.dot(&b.t()) / n as f64 + Array2::<f64>::eye(n) * 0.1
    }

    fn error(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
        (a - b).iter().fold(0.0, |most, v| most.max(v.abs()))
    }

    #[test]
    fn blocked_inverse_times_matrix_is_identity() {
        for n in [1, 2, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 31] {
            let a = positive(n, n as u64);
            let l = cholesky(a.clone()).unwrap();
            assert!(error(&l.dot(&l.t()), &a) < 1e-12, "factor {n}");
            let p = invert_positive_definite(a.clone()).unwrap();
            assert!(error(&a.dot(&p), &Array2::eye(n)) < 1e-10, "inverse {n}");
            let mut b = vec![1.0; n];
            solve_positive_definite(a.clone(), &mut b).unwrap();
            let back = a.dot(&Array1::from(b));
            assert!(back.iter().all(|v| (v - 1.0).abs() < 1e-10), "solve {n}");
        }
    }

    #[test]
    fn indefinite_and_nan_are_refused_with_the_row() {
        let mut a = positive(BLOCK + 20, 3);
        a[[BLOCK + 4, BLOCK + 4]] = -1.0;
        let refused = cholesky(a.clone()).unwrap_err();
        assert_eq!(refused.row, BLOCK + 4);
        a[[5, 5]] = f64::NAN;
        assert_eq!(cholesky(a).unwrap_err().row, 5);
    }
}
