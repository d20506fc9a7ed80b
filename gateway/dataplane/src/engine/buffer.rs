//! Memory that an engine reads and writes: zeroed, aligned for every element type and vector unit.

/// A cache line; also the alignment that ONNX Runtime's kernels like.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[derive(Debug)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    pub fn zeroed(len: usize) -> Self {
        Self {
            lines: vec![Line([0; 64]); len.div_ceil(64).max(1)],
            len,
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: `lines` owns at least `len` initialised bytes, `Line` is `repr(C)` over `[u8; 64]`
        // without padding, and the borrow keeps it in place.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
