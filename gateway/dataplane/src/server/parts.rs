//! A request in parts: one that is larger than a batch, or whose texts are of different lengths, is
//! run as several and put together again.

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::table::Model;
use crate::executor::{Inputs, Tokens};

/// A request's rows, ready for the engine.
pub enum TakenRows {
    /// One an input.
    Fixed(Vec<Bytes>),
    /// One a row.
    Tokens(Vec<Tokens>),
}

/// Which rows of the request a part holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All of them, in order.
    Whole(usize),
    /// So many from one on.
    From(usize, usize),
    /// These.
    Rows(Vec<usize>),
}

impl Place {
    pub fn rows(&self) -> usize {
        match self {
            Self::Whole(rows) | Self::From(_, rows) => *rows,
            Self::Rows(rows) => rows.len(),
        }
    }
}

#[derive(Debug)]
pub struct Part {
    pub rows: usize,
    pub inputs: Inputs,
    pub place: Place,
}

/// A request as one part, or as several of at most the model's largest batch each.
pub fn parts_of(rows: TakenRows, model: &Model) -> SmallVec<[Part; 1]> {
    match rows {
        TakenRows::Fixed(inputs) => {
            let specs = &model.contract.inputs;
            fixed(inputs, |i| specs[i].row_bytes(), model.max_batch)
        }
        TakenRows::Tokens(rows) => by_length(rows, &model.classes, model.max_batch),
    }
}

fn fixed(
    inputs: Vec<Bytes>,
    row_bytes: impl Fn(usize) -> usize,
    max_batch: usize,
) -> SmallVec<[Part; 1]> {
    let rows = match inputs.first().map(|bytes| (bytes.len(), row_bytes(0))) {
        Some((bytes, size)) if size > 0 => bytes / size,
        _ => 1,
    };
    if rows <= max_batch {
        return smallvec![Part {
            rows,
            inputs: Inputs::Rows(inputs),
            place: Place::Whole(rows),
        }];
    }
    let part = |first: usize| {
        let rows = max_batch.min(rows - first);
        let slices = inputs.iter().enumerate().map(|(i, bytes)| {
            let size = row_bytes(i);
            bytes.slice(first * size..(first + rows) * size)
        });
        Part {
            rows,
            inputs: Inputs::Rows(slices.collect()),
            place: Place::From(first, rows),
        }
    };
    (0..rows).step_by(max_batch).map(part).collect()
}

fn by_length(rows: Vec<Tokens>, classes: &[usize], max_batch: usize) -> SmallVec<[Part; 1]> {
    let class = |tokens: &Tokens| classes.partition_point(|longest| *longest < tokens.len());
    let first = rows.first().map(class);
    if rows.len() <= max_batch && rows.iter().all(|r| Some(class(r)) == first) {
        return smallvec![Part {
            rows: rows.len(),
            place: Place::Whole(rows.len()),
            inputs: Inputs::Tokens(rows),
        }];
    }
    let mut indexed: Vec<(usize, Tokens)> = rows.into_iter().enumerate().collect();
    indexed.sort_by_key(|(_, tokens)| tokens.len());
    let mut parts: Vec<(usize, Vec<usize>, Vec<Tokens>)> = Vec::new();
    for (index, tokens) in indexed {
        let class = class(&tokens);
        match parts.last_mut() {
            Some((last, places, rows)) if *last == class && rows.len() < max_batch => {
                places.push(index);
                rows.push(tokens);
            }
            _ => parts.push((class, vec![index], vec![tokens])),
        }
    }
    parts
        .into_iter()
        .map(|(_, places, rows)| Part {
            rows: rows.len(),
            place: Place::Rows(places),
            inputs: Inputs::Tokens(rows),
        })
        .collect()
}

/// Puts the parts' rows of one output back into the request's order.
pub fn join<'a>(parts: impl Iterator<Item = (&'a Place, Vec<u8>)>, row_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, bytes) in parts {
        for (nth, row) in bytes.chunks_exact(row_bytes.max(1)).enumerate() {
            let at = row_bytes
                * match place {
                    Place::Whole(_) => nth,
                    Place::From(first, _) => first + nth,
                    Place::Rows(rows) => rows[nth],
                };
            if out.len() < at + row_bytes {
                out.resize(at + row_bytes, 0);
            }
            out[at..at + row_bytes].copy_from_slice(row);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rejoined(parts: &[Part], row: impl Fn(&Inputs, usize) -> Vec<u8>) -> Vec<u8> {
        let size = row(&parts[0].inputs, 0).len();
        let outputs = parts.iter().map(|part| {
            let bytes = (0..part.rows).flat_map(|n| row(&part.inputs, n)).collect();
            (&part.place, bytes)
        });
        join(outputs, size)
    }

    proptest! {
        #[test]
        fn a_large_request_comes_back_in_its_own_order(rows in 1usize..100, max_batch in 1usize..40) {
            let bytes: Vec<u8> = (0..rows * 2).map(|n| n as u8).collect();
            let parts = fixed(vec![bytes.clone().into()], |_| 2, max_batch);
            prop_assert!(parts.iter().all(|p| p.rows <= max_batch && p.rows == p.place.rows()));
            let back = rejoined(&parts, |inputs, n| match inputs {
                Inputs::Rows(inputs) => inputs[0][n * 2..][..2].to_vec(),
                Inputs::Tokens(_) => Vec::new(),
            });
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn texts_of_mixed_lengths_come_back_in_their_own_order(
            lengths in prop::collection::vec(1usize..20, 1..60),
            max_batch in 1usize..20,
        ) {
            let rows: Vec<Tokens> = lengths.iter().enumerate().map(|(n, len)| vec![n as u32; *len].into()).collect();
            let classes = [8, 16, 20];
            let parts = by_length(rows, &classes, max_batch);
            for part in &parts {
                prop_assert!(part.rows <= max_batch);
                if let Inputs::Tokens(rows) = &part.inputs {
                    let class = |r: &Tokens| classes.partition_point(|c| *c < r.len());
                    prop_assert!(rows.iter().all(|r| class(r) == class(&rows[0])));
                }
            }
            let back = rejoined(&parts, |inputs, n| match inputs {
                Inputs::Tokens(rows) => vec![rows[n][0] as u8],
                Inputs::Rows(_) => Vec::new(),
            });
            let expected: Vec<u8> = (0..lengths.len()).map(|n| n as u8).collect();
            prop_assert_eq!(back, expected);
        }
    }
}
