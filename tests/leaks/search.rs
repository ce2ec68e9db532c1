//! Looking for bytes, and for vectors of numbers in whatever encoding.

/// How numbers may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    I64Little,
    I64Big,
    I32Little,
    I32Big,
    F32Little,
    F64Little,
}

const FORMATS: [Format; 6] = [
    Format::I64Little,
    Format::I64Big,
    Format::I32Little,
    Format::I32Big,
    Format::F32Little,
    Format::F64Little,
];

impl Format {
    fn width(self) -> usize {
        match self {
            Self::I64Little | Self::I64Big | Self::F64Little => 8,
            Self::I32Little | Self::I32Big | Self::F32Little => 4,
        }
    }

    fn read(self, bytes: &[u8]) -> f64 {
        let eight = || <[u8; 8]>::try_from(&bytes[..8]).unwrap();
        let four = || <[u8; 4]>::try_from(&bytes[..4]).unwrap();
        match self {
            Self::I64Little => i64::from_le_bytes(eight()) as f64,
            Self::I64Big => i64::from_be_bytes(eight()) as f64,
            Self::I32Little => f64::from(i32::from_le_bytes(four())),
            Self::I32Big => f64::from(i32::from_be_bytes(four())),
            Self::F32Little => f64::from(f32::from_le_bytes(four())),
            Self::F64Little => f64::from_le_bytes(eight()),
        }
    }

    fn write(self, value: i64) -> Vec<u8> {
        match self {
            Self::I64Little => value.to_le_bytes().to_vec(),
            Self::I64Big => value.to_be_bytes().to_vec(),
            Self::I32Little => (value as i32).to_le_bytes().to_vec(),
            Self::I32Big => (value as i32).to_be_bytes().to_vec(),
            Self::F32Little => (value as f32).to_le_bytes().to_vec(),
            Self::F64Little => (value as f64).to_le_bytes().to_vec(),
        }
    }
}

/// Where `needle` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let starts = bytes.len().checked_sub(needle.len())?;
    (0..=starts).find(|&start| bytes[start] == first && bytes[start..].starts_with(needle))
}

/// Where the first three coordinates of `vector`, up to `slack` units each, stand one after the
/// other, in lattice units or (floats) in the units of the lattice or of the model.
pub(crate) fn find_vector(bytes: &[u8], vector: &[i64], slack: i64) -> Option<(usize, Format)> {
    let wanted = &vector[..3];
    assert!(wanted.iter().all(|value| *value > 1000), "zeros would be found anywhere");
    for start in 0..bytes.len() {
        for format in FORMATS {
            let width = format.width();
            let Some(window) = bytes.get(start..start + 3 * width) else { continue };
            let found = window.chunks(width).zip(wanted).all(|(cell, value)| {
                let read = format.read(cell);
                let near = |scale: f64| (read * scale - *value as f64).abs() <= slack as f64;
                near(1.0) || near(65_536.0)
            });
            if found {
                return Some((start, format));
            }
        }
    }
    None
}

/// The vector in every format, for planting.
pub(crate) fn encodings(vector: &[i64]) -> impl Iterator<Item = (Format, Vec<u8>)> {
    FORMATS
        .into_iter()
        .map(|format| (format, vector.iter().flat_map(|value| format.write(*value)).collect()))
}
