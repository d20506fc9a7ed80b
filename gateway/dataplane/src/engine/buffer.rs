//! Memory that an engine reads and writes: our own, zeroed and aligned for every element type and
//! vector unit, or an engine's.

/// A cache line; also the alignment that ONNX Runtime's kernels like.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

#[derive(Debug)]
enum Memory {
    Own(Vec<Line>),
    Foreign(*mut u8),
}

#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    len: usize,
}

// SAFETY: the memory has no thread affinity; a lane and its buffers are used by one thread at a time.
unsafe impl Send for Buffer {}

impl Buffer {
    pub fn zeroed(len: usize) -> Self {
        Self {
            memory: Memory::Own(vec![Line([0; 64]); len.div_ceil(64).max(1)]),
            len,
        }
    }

    /// # Safety
    /// `start` points to `len` initialised bytes that stay where they are and are used by nobody
    /// else for as long as this buffer is.
    pub unsafe fn foreign(start: *mut u8, len: usize) -> Self {
        Self {
            memory: Memory::Foreign(start),
            len,
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        let start = match &self.memory {
            Memory::Own(lines) => lines.as_ptr().cast(),
            Memory::Foreign(start) => start.cast_const(),
        };
        // SAFETY: our own lines are at least `len` initialised bytes (`Line` is `repr(C)` over
        // `[u8; 64]` without padding) and the borrow keeps them in place; for foreign memory whoever
        // made the buffer vouches.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }

    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        let start = match &mut self.memory {
            Memory::Own(lines) => lines.as_mut_ptr().cast(),
            Memory::Foreign(start) => *start,
        };
        // SAFETY: as above, and `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}
