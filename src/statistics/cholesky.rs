//! Linear systems of a symmetric positive definite matrix by its lower factor. Square
//! matrices are slices, row by row; of a symmetric one the lower triangle is read. As
//! small as the configurations of a sweep.

/// The lower factor of a positive definite matrix; `None` where it is not.
pub(crate) fn cholesky(mut matrix: Vec<f64>, width: usize) -> Option<Vec<f64>> {
    for row in 0..width {
        for column in 0..=row {
            let sum: f64 =
                (0..column).map(|at| matrix[row * width + at] * matrix[column * width + at]).sum();
            let left = matrix[row * width + column] - sum;
            if row == column {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                matrix[row * width + row] = left.sqrt();
            } else {
                matrix[row * width + column] = left / matrix[column * width + column];
            }
        }
    }
    Some(matrix)
}

/// Solves the lower triangle against `right`.
pub(crate) fn forward(factor: &[f64], width: usize, right: &[f64]) -> Vec<f64> {
    let mut result = right.to_vec();
    for row in 0..width {
        let sum: f64 = (0..row).map(|at| factor[row * width + at] * result[at]).sum();
        result[row] = (result[row] - sum) / factor[row * width + row];
    }
    result
}

/// Solves the whole system against `right`.
pub(crate) fn solve(factor: &[f64], width: usize, right: &[f64]) -> Vec<f64> {
    let mut result = forward(factor, width, right);
    for row in (0..width).rev() {
        let sum: f64 = (row + 1..width).map(|at| factor[at * width + row] * result[at]).sum();
        result[row] = (result[row] - sum) / factor[row * width + row];
    }
    result
}

/// The inverse of the whole matrix, of which the lower triangle is filled.
pub(crate) fn inverse(factor: &[f64], width: usize) -> Vec<f64> {
    let mut lower = vec![0.0; width * width];
    for row in 0..width {
        let (above, own) = lower.split_at_mut(row * width);
        let pivot = factor[row * width + row];
        for at in 0..row {
            let scale = factor[row * width + at] / pivot;
            let other = &above[at * width..=at * width + at];
            for (cell, value) in own.iter_mut().zip(other) {
                *cell -= scale * value;
            }
        }
        own[row] = 1.0 / pivot;
    }
    let mut inverse = vec![0.0; width * width];
    for row in lower.chunks_exact(width.max(1)) {
        for (at, scale) in row.iter().enumerate().filter(|(_, scale)| **scale != 0.0) {
            let cells = &mut inverse[at * width..=at * width + at];
            for (cell, value) in cells.iter_mut().zip(row) {
                *cell += scale * value;
            }
        }
    }
    inverse
}
