//! Decisions taken from the fuzzer's bytes, one after the other.

/// A cursor over the input. When it is used up, every decision is 0, which stands for the
/// undisturbed course of things.
#[derive(Debug)]
pub struct Choices<'a> {
    left: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Decisions from `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// Whether all bytes are used up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// The next byte, or 0.
    pub fn byte(&mut self) -> u8 {
        match self.left.split_first() {
            Some((first, rest)) => {
                self.left = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `count`, or 0 where `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        let low = usize::from(self.byte());
        let chosen = if count > 256 { low | usize::from(self.byte()) << 8 } else { low };
        chosen % count
    }

    /// One of `options`, which is not empty.
    pub fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// What is left, all at once.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }
}

/// Changes bytes as the choices say: one to four times a byte is set, flipped, inserted or
/// removed, or the end is cut off.
pub fn edit(bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
    for _ in 0..1 + choices.below(4) {
        let place = choices.below(bytes.len());
        match choices.below(6) {
            0 if !bytes.is_empty() => bytes[place] ^= 1 << choices.below(8),
            1 if !bytes.is_empty() => bytes[place] = choices.byte(),
            2 if !bytes.is_empty() => bytes[place] = bytes[place].wrapping_add(1),
            3 => bytes.insert(place, choices.byte()),
            4 if !bytes.is_empty() => {
                bytes.remove(place);
            }
            _ => bytes.truncate(place),
        }
    }
}
