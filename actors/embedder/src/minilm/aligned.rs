//! Buffers of floats that begin at a cache line, so that no SIMD load of a row spans two.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;
/// Floats in a line.
const FLOATS: usize = LINE / size_of::<f32>();

/// A zeroed buffer whose first element lies at a multiple of 64 bytes.
#[derive(Default)]
pub(crate) struct Aligned {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub(crate) fn zeroed(len: usize) -> Self {
        let data = vec![0.0f32; len + FLOATS];
        // `align_offset` may decline; an unaligned buffer is slower and as good.
        let start = data.as_ptr().align_offset(LINE).min(FLOATS);
        Self { data, start, len }
    }

    /// A buffer of at least `len` floats; what it held before is lost when it has to grow.
    pub(crate) fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Self::zeroed(len);
        }
        &mut self[..len]
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}
