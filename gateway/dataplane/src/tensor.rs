//! Tensor types and shapes as the contract, the engines and the wire all name them.

use serde::{Deserialize, Serialize};

use crate::strings;

/// Element type, by its Open Inference Protocol name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DataType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    /// Byte strings: text that the data plane tokenises, or strings of at most `max_bytes` bytes
    /// that the model takes or gives as they are.
    Bytes,
}

impl DataType {
    pub const ALL: [DataType; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    pub fn wire_name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64)
    }

    /// Whether its elements can be ordered as numbers; halves are not taken apart here.
    pub fn is_number(self) -> bool {
        !matches!(self, Self::Fp16 | Self::Bf16 | Self::Bytes | Self::Bool)
    }

    /// Little-endian elements as numbers; of types that are `is_number`.
    pub fn numbers(self, bytes: &[u8]) -> Vec<f64> {
        let word = |c: &[u8]| c.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let signed = |c: &[u8]| {
            let shift = 64 - 8 * c.len() as u32;
            (word(c).cast_signed() << shift) >> shift
        };
        let chunks = bytes.chunks_exact(self.size().max(1));
        chunks
            .map(|c| match self {
                Self::Fp32 => f64::from(f32::from_bits(word(c) as u32)),
                Self::Fp64 => f64::from_bits(word(c)),
                Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => signed(c) as f64,
                _ => word(c) as f64,
            })
            .collect()
    }

    /// Bytes of one element; 0 for BYTES, whose elements say their own length.
    pub fn size(self) -> usize {
        match self {
            Self::Bytes => 0,
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
        }
    }
}

impl DataType {
    /// Numbers as little-endian elements of this type.
    ///
    /// # Errors
    /// The first value that this type cannot hold.
    pub fn encode(self, values: &[f64]) -> Result<Vec<u8>, f64> {
        let mut out = Vec::with_capacity(values.len() * self.size());
        for &value in values {
            self.put(value, &mut out).ok_or(value)?;
        }
        Ok(out)
    }

    fn put(self, value: f64, out: &mut Vec<u8>) -> Option<()> {
        let whole = |least: f64, most: f64| {
            (value.fract() == 0.0 && (least..=most).contains(&value)).then_some(value as i128)
        };
        let bits = 8 * self.size() as i32;
        let bytes = match self {
            Self::Fp32 => (value as f32).to_le_bytes().to_vec(),
            Self::Fp64 => value.to_le_bytes().to_vec(),
            Self::Bool => vec![whole(0.0, 1.0)? as u8],
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => {
                let limit = 2f64.powi(bits - 1);
                whole(-limit, limit - 1.0)?.to_le_bytes()[..self.size()].to_vec()
            }
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => {
                whole(0.0, 2f64.powi(bits) - 1.0)?.to_le_bytes()[..self.size()].to_vec()
            }
            // Halves are for engines; a decision that people write down is not one.
            Self::Fp16 | Self::Bf16 | Self::Bytes => return None,
        };
        out.extend(bytes);
        Some(())
    }
}

/// The shape of one batch: its rows and, for tensors of variable length, the length of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    pub rows: usize,
    /// Tokens a row; 1 for a model whose tensors all have a fixed shape.
    pub length: usize,
}

impl Bucket {
    /// Rows of a fixed shape.
    pub fn of(rows: usize) -> Self {
        Self { rows, length: 1 }
    }
}

/// One input or output: its name, element type and shape. `shape[0]` is -1, the batch, or the model
/// is not batched and the shape is that of one request. In an engine's inputs `shape[1]` may be -1
/// too: the length of a text in tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    pub name: String,
    pub datatype: DataType,
    pub shape: Vec<i64>,
    /// Of BYTES that are not tokenised: the most bytes of one string. In buffers each then has a
    /// cell of this size (see `strings`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<usize>,
}

impl TensorSpec {
    pub fn new(name: &str, datatype: DataType, shape: &[i64]) -> Self {
        Self {
            name: name.into(),
            datatype,
            shape: shape.to_vec(),
            max_bytes: None,
        }
    }

    /// Whether its elements are strings that the model takes or gives as they are.
    pub fn is_strings(&self) -> bool {
        self.datatype == DataType::Bytes && self.max_bytes.is_some()
    }

    /// Bytes of one element in buffers.
    pub fn element_bytes(&self) -> usize {
        match self.max_bytes {
            Some(most) if self.datatype == DataType::Bytes => strings::cell_bytes(most),
            _ => self.datatype.size(),
        }
    }

    pub fn is_batched(&self) -> bool {
        self.shape.first() == Some(&-1)
    }

    /// Whether a row's size depends on the bucket's length.
    pub fn is_variable(&self) -> bool {
        self.shape.iter().skip(1).any(|d| *d == -1)
    }

    /// The dimensions of one row, the batch left out.
    pub fn dims(&self) -> &[i64] {
        match self.shape.split_first() {
            Some((-1, rest)) => rest,
            _ => &self.shape,
        }
    }

    /// Elements of one row; of one token of it where the length is variable.
    pub fn row_elements(&self) -> usize {
        let fixed = self.dims().iter().filter(|d| **d != -1);
        fixed.map(|&d| usize::try_from(d).unwrap_or(0)).product()
    }

    /// Bytes of one row; of one token of it where the length is variable.
    pub fn row_bytes(&self) -> usize {
        self.row_elements() * self.element_bytes()
    }

    /// Bytes of a batch.
    pub fn batch_bytes(&self, bucket: Bucket) -> usize {
        let length = if self.is_variable() { bucket.length } else { 1 };
        self.row_bytes()
            .saturating_mul(bucket.rows)
            .saturating_mul(length)
    }

    /// The dimensions of a batch.
    pub fn batch_shape(&self, bucket: Bucket) -> Vec<i64> {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let dims = self.shape.iter().enumerate();
        dims.map(|(i, d)| match (i, d) {
            (0, -1) => number(bucket.rows),
            (_, -1) => number(bucket.length),
            (_, d) => *d,
        })
        .collect()
    }

    /// Why this tensor cannot be served, if it cannot.
    pub fn defect(&self) -> Option<String> {
        let TensorSpec { name, shape, .. } = self;
        if name.is_empty() {
            return Some("a tensor has no name".into());
        }
        if self.dims().iter().any(|d| *d < 1) {
            return Some(match self.is_batched() {
                true => format!(
                    "tensor '{name}' has shape {shape:?}: every dimension after the batch must have a fixed size"
                ),
                false => format!(
                    "tensor '{name}' has shape {shape:?}: the first dimension must be the batch, of variable size (-1), or all must be fixed"
                ),
            });
        }
        let elements = self.dims().iter().try_fold(1i64, |n, &d| n.checked_mul(d));
        if elements.is_none_or(|n| n > 1 << 28) {
            return Some(format!(
                "tensor '{name}' has shape {shape:?}: a row is too large"
            ));
        }
        match self.max_bytes {
            Some(_) if self.datatype != DataType::Bytes => {
                let kind = self.datatype.wire_name();
                Some(format!("tensor '{name}' is {kind}: max_bytes is for BYTES"))
            }
            Some(most) if !(1..=strings::MOST).contains(&most) => {
                let limit = strings::MOST;
                Some(format!(
                    "tensor '{name}' has max_bytes {most}, it must be between 1 and {limit}"
                ))
            }
            Some(_) if self.row_bytes() > strings::MOST_ROW => {
                let (bytes, limit) = (self.row_bytes(), strings::MOST_ROW);
                Some(format!(
                    "tensor '{name}' takes {bytes} bytes a row with its max_bytes, {limit} at most"
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_or_refused_by_type() {
        let encoded = |datatype: DataType, values: &[f64]| datatype.encode(values);
        assert_eq!(
            encoded(DataType::Int8, &[-128.0, 127.0]),
            Ok(vec![0x80, 0x7f])
        );
        assert_eq!(encoded(DataType::Int8, &[0.0, 128.0]), Err(128.0));
        assert_eq!(encoded(DataType::Uint16, &[65_535.0]), Ok(vec![0xff, 0xff]));
        assert_eq!(encoded(DataType::Int32, &[0.5]), Err(0.5));
        assert_eq!(
            encoded(DataType::Fp32, &[0.5]),
            Ok(0.5f32.to_le_bytes().to_vec())
        );
        assert_eq!(
            encoded(DataType::Int64, &[-2.0]),
            Ok((-2i64).to_le_bytes().to_vec())
        );
    }

    #[test]
    fn numbers_survive_being_encoded() {
        for (datatype, values) in [
            (DataType::Int8, vec![-128.0, 5.0]),
            (DataType::Uint32, vec![4e9]),
            (DataType::Int64, vec![-2.0]),
            (DataType::Fp32, vec![0.5, -3.25]),
            (DataType::Fp64, vec![1e300]),
        ] {
            assert_eq!(
                datatype.numbers(&datatype.encode(&values).unwrap_or_default()),
                values
            );
        }
    }

    #[test]
    fn a_batch_of_a_variable_length_has_its_buckets_shape() {
        let spec = |shape: &[i64]| TensorSpec::new("x", DataType::Int64, shape);
        let bucket = Bucket { rows: 3, length: 7 };
        assert_eq!(spec(&[-1, -1]).batch_shape(bucket), [3, 7]);
        assert_eq!(spec(&[-1, -1]).batch_bytes(bucket), 3 * 7 * 8);
        assert_eq!(spec(&[-1, 4]).batch_shape(bucket), [3, 4]);
        assert_eq!(spec(&[-1, 4]).batch_bytes(bucket), 3 * 4 * 8);
        assert_eq!(spec(&[2, 4]).batch_shape(bucket), [2, 4]);
        assert_eq!(spec(&[]).row_elements(), 1);
    }

    #[test]
    fn strings_have_cells_of_a_fixed_size_within_limits() {
        let spec = |max_bytes| TensorSpec {
            max_bytes: Some(max_bytes),
            ..TensorSpec::new("s", DataType::Bytes, &[-1, 3])
        };
        assert_eq!(spec(10).row_bytes(), 3 * 14);
        assert_eq!(spec(10).defect(), None);
        let said = |spec: TensorSpec| spec.defect().unwrap_or_default();
        assert!(said(spec(0)).contains("between 1 and 65536"));
        assert!(said(spec(65_537)).contains("between 1 and 65536"));
        let wide = TensorSpec {
            shape: vec![-1, 100],
            ..spec(65_536)
        };
        assert!(said(wide).contains("a row with its max_bytes"));
        let number = TensorSpec {
            datatype: DataType::Fp32,
            ..spec(8)
        };
        assert!(said(number).contains("is FP32: max_bytes is for BYTES"));
    }
}
