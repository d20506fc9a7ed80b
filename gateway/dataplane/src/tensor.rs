//! Tensor types and shapes as the contract, the engines and the wire all name them.

use serde::{Deserialize, Serialize};

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
}

impl DataType {
    pub const ALL: [DataType; 13] = [
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
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
        }
    }
}

/// One input or output: its name, element type and shape. `shape[0]` is -1, the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    pub name: String,
    pub datatype: DataType,
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Elements of one row.
    pub fn row_elements(&self) -> usize {
        self.shape
            .iter()
            .skip(1)
            .map(|&d| usize::try_from(d).unwrap_or(0))
            .product()
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.row_elements() * self.datatype.size()
    }

    /// Why this tensor cannot be served in batches, if it cannot.
    pub fn defect(&self) -> Option<String> {
        let TensorSpec { name, shape, .. } = self;
        if name.is_empty() {
            return Some("a tensor has no name".into());
        }
        match shape.split_first() {
            Some((-1, rest)) if rest.iter().all(|&d| d > 0) => {
                let elements = rest.iter().try_fold(1i64, |n, &d| n.checked_mul(d));
                elements
                    .is_none_or(|n| n > 1 << 28)
                    .then(|| format!("tensor '{name}' has shape {shape:?}: a row is too large"))
            }
            Some((-1, _)) => Some(format!(
                "tensor '{name}' has shape {shape:?}: every dimension after the batch must have a fixed size"
            )),
            _ => Some(format!(
                "tensor '{name}' has shape {shape:?}: the first dimension must be the batch, of variable size (-1)"
            )),
        }
    }
}
