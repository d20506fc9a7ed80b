//! Strings of a model's BYTES tensors in buffers: each in a cell of a fixed size, so that rows of
//! strings are gathered, split and mirrored like any others.
//!
//! A cell is the string's length (u32, little-endian), its bytes, and zeros up to the contract's
//! `max_bytes`.

use std::borrow::Cow;

use crate::tensor::TensorSpec;

/// Largest `max_bytes` of a contract, and bytes of one row's cells.
pub const MOST: usize = 64 << 10;
pub const MOST_ROW: usize = 1 << 20;
const LENGTH: usize = size_of::<u32>();

/// Bytes of a cell for strings of at most `max_bytes` bytes.
pub fn cell_bytes(max_bytes: usize) -> usize {
    LENGTH + max_bytes
}

/// Appends the cell of `text`, which is at most `max_bytes` bytes long.
pub fn put(text: &[u8], max_bytes: usize, cells: &mut Vec<u8>) {
    let end = cells.len() + cell_bytes(max_bytes);
    cells.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    cells.extend(text);
    cells.resize(end, 0);
}

/// Writes `text` into a cell; false if it is too long for it.
pub fn write(text: &[u8], cell: &mut [u8]) -> bool {
    let Some((length, room)) = cell.split_at_mut_checked(LENGTH) else {
        return false;
    };
    if text.len() > room.len() {
        return false;
    }
    length.copy_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    let (front, rest) = room.split_at_mut(text.len());
    front.copy_from_slice(text);
    rest.fill(0);
    true
}

/// The string in a cell.
pub fn read(cell: &[u8]) -> &[u8] {
    let Some((length, room)) = cell.split_first_chunk::<LENGTH>() else {
        return &[];
    };
    // An engine may have written the cell: it is believed as far as the cell goes.
    &room[..(u32::from_le_bytes(*length) as usize).min(room.len())]
}

/// Outputs as the protocol sends them: cells without their padding, all else as it is. `None` if
/// there are no strings.
pub fn for_the_wire<'a>(specs: &[TensorSpec], outputs: &[&'a [u8]]) -> Option<Vec<Cow<'a, [u8]>>> {
    if !specs.iter().any(TensorSpec::is_strings) {
        return None;
    }
    let plain = specs.iter().zip(outputs).map(|(spec, bytes)| {
        if !spec.is_strings() {
            return Cow::Borrowed(*bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        for cell in bytes.chunks_exact(spec.element_bytes()) {
            let text = read(cell);
            out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(text);
        }
        Cow::Owned(out)
    });
    Some(plain.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tensor::DataType;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_into_cells_goes_out_as_the_protocol_writes_it(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..=12), 0..8),
        ) {
            let (mut cells, mut wire) = (Vec::new(), Vec::new());
            for text in &texts {
                put(text, 12, &mut cells);
                wire.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
                wire.extend(text);
            }
            prop_assert_eq!(cells.len(), texts.len() * cell_bytes(12));
            let spec = TensorSpec { max_bytes: Some(12), ..TensorSpec::new("s", DataType::Bytes, &[-1, 1]) };
            let plain = for_the_wire(&[spec], &[&cells]).unwrap();
            prop_assert_eq!(&plain[0][..], &wire[..]);
            for (cell, text) in cells.chunks_exact_mut(cell_bytes(12)).zip(&texts) {
                prop_assert_eq!(read(cell), &text[..]);
                cell.fill(0xff);
                prop_assert!(write(text, cell));
                let mut fresh = Vec::new();
                put(text, 12, &mut fresh);
                prop_assert_eq!(&*cell, &fresh[..], "nothing of an older string is left");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written_and_a_wrong_length_reads_no_further_than_its_cell() {
        let mut cell = [7; 6];
        assert!(!write(b"abc", &mut cell));
        assert_eq!(cell, [7; 6]);
        assert_eq!(read(&[255, 255, 255, 255, 1, 2]), [1, 2]);
        assert!(read(&[1, 0]).is_empty());
    }

    #[test]
    fn numbers_are_left_alone() {
        let spec = TensorSpec::new("x", DataType::Fp32, &[-1, 1]);
        assert!(for_the_wire(&[spec], &[&[0; 4]]).is_none());
    }
}
