//! Spectra of symmetric matrices: all of a small one, the top of a large one.

use ndarray::{Array1, Array2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use super::{block, block_mut, dot, norm};

/// The `rank` algebraically largest eigenvalues, descending, and their eigenvectors in columns.
pub(crate) struct Eigen {
    pub(crate) values: Array1<f64>,
    pub(crate) vectors: Array2<f64>,
}

/// Columns beyond the rank that subspace iteration carries along for faster convergence.
const OVERSAMPLING: usize = 10;

/// Most iterations; the loop ends earlier when the eigenvalues stand still.
const ITERATIONS_MAX: usize = 120;

/// The top of the spectrum of a symmetric matrix by subspace iteration with Rayleigh-Ritz
/// projection (Golub and Van Loan, 8.2.4) on `a + shift·I`; `shift` should be at least the size
/// of the most negative eigenvalue, so that those do not compete.
pub(crate) fn top_eigen(a: &Array2<f64>, rank: usize, shift: f64) -> Eigen {
    let n = a.nrows();
    let rank = rank.min(n);
    let width = (rank + OVERSAMPLING).min(n);
    // The start only has to have a component along every eigenvector: any fixed seed will do.
    let mut basis = seeded_normal(n, width, &mut ChaCha12Rng::seed_from_u64(1));
    orthonormalise(&mut basis);
    let mut before = Array1::<f64>::zeros(width);
    let mut eigen = None;
    for _ in 0..ITERATIONS_MAX {
        let mut image = a.dot(&basis);
        image.scaled_add(shift, &basis);
        let projected = basis.t().dot(&image);
        let (values, rotation) = symmetric_eigen(projected);
        let scale = values[0].abs().max(f64::MIN_POSITIVE);
        let moved = (0..rank).any(|i| (values[i] - before[i]).abs() > 1e-10 * scale);
        eigen = Some(Eigen {
            values: values.iter().take(rank).map(|value| value - shift).collect(),
            vectors: block(&basis.dot(&rotation), 0..n, 0..rank).to_owned(),
        });
        if !moved {
            break;
        }
        before = values;
        orthonormalise(&mut image);
        basis = image;
    }
    eigen.unwrap_or(Eigen { values: Array1::zeros(0), vectors: Array2::zeros((n, 0)) })
}

/// A `rows` x `columns` matrix of independent numbers of mean 0 and variance 1 that depends on the
/// generator alone: sums of twelve uniform numbers, close enough to a Gaussian for a random
/// direction. Only operations that IEEE 754 defines to the last bit are used, so that agents and
/// coordinator agree on it.
pub(crate) fn seeded_normal(rows: usize, columns: usize, rng: &mut ChaCha12Rng) -> Array2<f64> {
    let mut uniform = || f64::from(rng.random::<u32>()) / 4_294_967_296.0;
    Array2::from_shape_simple_fn((rows, columns), || (0..12).map(|_| uniform()).sum::<f64>() - 6.0)
}

/// Orthonormalises the columns by modified Gram-Schmidt, twice for accuracy; a column that
/// depends on earlier ones becomes zero.
pub(crate) fn orthonormalise(matrix: &mut Array2<f64>) {
    // Columns are contiguous in the transpose.
    let mut rows = matrix.t().as_standard_layout().into_owned();
    for i in 0..rows.nrows() {
        let original = norm(rows.row(i).as_slice().unwrap_or(&[]));
        for _ in 0..2 {
            let (done, mut rest) = rows.view_mut().split_at(Axis(0), i);
            let mut current = rest.row_mut(0);
            for earlier in done.rows() {
                let along =
                    dot(earlier.as_slice().unwrap_or(&[]), current.as_slice().unwrap_or(&[]));
                current.scaled_add(-along, &earlier);
            }
        }
        let length = norm(rows.row(i).as_slice().unwrap_or(&[]));
        let factor = if length > 1e-12 * original && length > 0.0 { 1.0 / length } else { 0.0 };
        rows.row_mut(i).mapv_inplace(|value| value * factor);
    }
    matrix.assign(&rows.t());
}

/// Eigenvalues (descending) and eigenvectors (columns) of a symmetric matrix: Householder
/// reduction to tridiagonal form, then the implicit symmetric QR step with Wilkinson's shift
/// (Golub and Van Loan, 8.3). About 5n³ operations; meant for n up to a thousand. Uses no matrix
/// product and no library function but the square root, so that every processor finds the same.
pub(crate) fn symmetric_eigen(a: Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let n = a.nrows();
    let (mut diagonal, mut below, mut vectors) = tridiagonalise(a);
    diagonalise(&mut diagonal, &mut below, &mut vectors);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]).then(i.cmp(&j)));
    let values = order.iter().map(|&i| diagonal[i]).collect();
    // The rows of `vectors` are the eigenvectors.
    let columns = vectors.select(Axis(0), &order).reversed_axes();
    (values, columns.as_standard_layout().into_owned())
}

/// A = Q T Qᵀ with T tridiagonal: its diagonal, its subdiagonal (the last place is unused and 0)
/// and Qᵀ.
fn tridiagonalise(mut a: Array2<f64>) -> (Vec<f64>, Vec<f64>, Array2<f64>) {
    let n = a.nrows();
    let mut transposed = Array2::<f64>::eye(n);
    for k in 0..n.saturating_sub(2) {
        // The reflection I - 2 v vᵀ maps column k below the diagonal to a multiple of e1.
        let mut v = block(&a, k + 1..n, k..k + 1).column(0).to_owned();
        let length = v.dot(&v).sqrt();
        if length == 0.0 {
            continue;
        }
        v[0] += length.copysign(v[0]);
        v /= v.dot(&v).sqrt();
        let mut trailing = block_mut(&mut a, k + 1..n, k + 1..n);
        let image = trailing.dot(&v);
        let along = image.dot(&v);
        let w = image - &(&v * along);
        for ((mut row, &x), &y) in trailing.rows_mut().into_iter().zip(&v).zip(&w) {
            row.scaled_add(-2.0 * x, &w);
            row.scaled_add(-2.0 * y, &v);
        }
        let mut column = block_mut(&mut a, k + 1..n, k..k + 1);
        let mut column = column.column_mut(0);
        let first = column.dot(&v);
        column.scaled_add(-2.0 * first, &v);
        let mut below = block_mut(&mut transposed, k + 1..n, 0..n);
        let projected = v.dot(&below);
        for (mut row, &x) in below.rows_mut().into_iter().zip(&v) {
            row.scaled_add(-2.0 * x, &projected);
        }
    }
    let diagonal = a.diag().to_vec();
    let below = (0..n).map(|k| if k + 1 < n { a[[k + 1, k]] } else { 0.0 }).collect();
    (diagonal, below, transposed)
}

/// Implicit QR steps on the last unreduced block until nothing is left beside the diagonal; the
/// rotations are applied to the rows of `vectors`.
fn diagonalise(diagonal: &mut [f64], below: &mut [f64], vectors: &mut Array2<f64>) {
    /// Two or three steps an eigenvalue are usual; no more than this are ever taken.
    const STEPS_PER_VALUE: usize = 60;
    let n = diagonal.len();
    let mut last = n.saturating_sub(1);
    for _ in 0..n * STEPS_PER_VALUE {
        for k in 0..last {
            let scale = diagonal[k].abs() + diagonal[k + 1].abs();
            if below[k].abs() <= f64::EPSILON * scale {
                below[k] = 0.0;
            }
        }
        while last > 0 && below[last - 1] == 0.0 {
            last -= 1;
        }
        if last == 0 {
            return;
        }
        let mut first = last - 1;
        while first > 0 && below[first - 1] != 0.0 {
            first -= 1;
        }
        implicit_step(diagonal, below, vectors, first, last);
    }
}

/// One step on the unreduced block `first..=last`.
fn implicit_step(
    d: &mut [f64],
    b: &mut [f64],
    vectors: &mut Array2<f64>,
    first: usize,
    last: usize,
) {
    // Wilkinson's shift: the eigenvalue of the last 2 x 2 block that is closer to its end.
    let half = (d[last - 1] - d[last]) / 2.0;
    let square = b[last - 1] * b[last - 1];
    let shift = d[last] - square / (half + (half * half + square).sqrt().copysign(half));
    let (mut x, mut z) = (d[first] - shift, b[first]);
    for k in first..last {
        // The rotation that makes z vanish against x.
        let length = (x * x + z * z).sqrt();
        let (c, sine) = if length == 0.0 { (1.0, 0.0) } else { (x / length, z / length) };
        if k > first {
            b[k - 1] = length;
        }
        let (p, q, r) = (d[k], b[k], d[k + 1]);
        d[k] = c * c * p + 2.0 * c * sine * q + sine * sine * r;
        d[k + 1] = sine * sine * p - 2.0 * c * sine * q + c * c * r;
        b[k] = c * sine * (r - p) + (c * c - sine * sine) * q;
        x = b[k];
        if k + 1 < last {
            z = sine * b[k + 1];
            b[k + 1] *= c;
        }
        let (mut upper, mut lower) = vectors.view_mut().split_at(Axis(0), k + 1);
        let (mut upper, mut lower) = (upper.row_mut(k), lower.row_mut(0));
        for (u, l) in upper.iter_mut().zip(lower.iter_mut()) {
            let (old_u, old_l) = (*u, *l);
            *u = c * old_u + sine * old_l;
            *l = c * old_l - sine * old_u;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
        (a - b).iter().fold(0.0, |most, v| most.max(v.abs()))
    }

    fn seeded_orthonormal(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
        let mut matrix = seeded_normal(rows, columns, &mut ChaCha12Rng::seed_from_u64(seed));
        orthonormalise(&mut matrix);
        matrix
    }

    #[test]
    fn known_spectrum_is_found() {
        // Q diag(9, 4, 1, 0, …, -8) Qᵀ: the largest in size but one is negative.
        let n = 130;
        let q = seeded_orthonormal(n, n, 5);
        let mut d = Array2::<f64>::zeros((n, n));
        for (i, value) in [9.0, 4.0, 1.0].iter().enumerate() {
            d[[i, i]] = *value;
        }
        d[[n - 1, n - 1]] = -8.0;
        let a = q.dot(&d).dot(&q.t());
        let eigen = top_eigen(&a, 3, 8.0);
        for (found, expected) in eigen.values.iter().zip([9.0, 4.0, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
        for column in 0..3 {
            let along = dot(&eigen.vectors.column(column).to_vec(), &q.column(column).to_vec());
            assert!((along.abs() - 1.0).abs() < 1e-4, "{along}");
        }
    }

    #[test]
    fn the_whole_spectrum_rebuilds_the_matrix() {
        for n in [1, 2, 3, 10, 60] {
            let mut rng = ChaCha12Rng::seed_from_u64(n as u64);
            let b = Array2::from_shape_simple_fn((n, n), || rng.random::<f64>() - 0.5);
            // With a zero row and a repeated eigenvalue among them.
            let mut a = &b + &b.t();
            a.row_mut(n / 2).fill(0.0);
            a.column_mut(n / 2).fill(0.0);
            let (values, q) = symmetric_eigen(a.clone());
            assert!(values.as_slice().is_some_and(|v| v.is_sorted_by(|x, y| x >= y)));
            assert!(error(&q.t().dot(&q), &Array2::eye(n)) < 1e-12, "orthonormal {n}");
            let rebuilt = (&q * &values).dot(&q.t());
            assert!(error(&rebuilt, &a) < 1e-12, "rebuilt {n}");
        }
        let (values, _) = symmetric_eigen(Array2::eye(7));
        assert!(values.iter().all(|v| *v == 1.0));
    }

    #[test]
    fn a_hand_computed_spectrum() {
        let (values, vectors) = symmetric_eigen(ndarray::array![[2.0, 1.0], [1.0, 2.0]]);
        assert!((values[0] - 3.0).abs() < 1e-14 && (values[1] - 1.0).abs() < 1e-14);
        assert!((vectors[[0, 0]].abs() - 0.5f64.sqrt()).abs() < 1e-14);
    }

    #[test]
    fn seeded_basis_is_orthonormal_and_repeats() {
        let v = seeded_orthonormal(50, 8, 9);
        assert!(error(&v.t().dot(&v), &Array2::eye(8)) < 1e-12);
        assert_eq!(v, seeded_orthonormal(50, 8, 9));
        assert_ne!(v, seeded_orthonormal(50, 8, 10));
        let mut flat = Array2::ones((4, 2));
        orthonormalise(&mut flat);
        assert!(flat.column(1).iter().all(|v| *v == 0.0));
    }
}
