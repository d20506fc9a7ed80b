//! Typed contents to bytes: InferTensorContents has a field for each kind of number; engines take
//! little-endian, row-major bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::inference::InferTensorContents;
use super::status::Status;
use crate::tensor::{DataType, TensorSpec};

/// The values of the one field that belongs to the element type, as little-endian bytes.
pub fn bytes_of(
    contents: &InferTensorContents,
    spec: &TensorSpec,
    elements: usize,
) -> Result<Bytes, Status> {
    let c = contents;
    let mut out = BytesMut::with_capacity(elements * spec.datatype.size());
    let (field, sent): (&str, usize) = match spec.datatype {
        DataType::Bool => {
            c.bool_contents
                .iter()
                .for_each(|v| out.put_u8(u8::from(*v)));
            ("bool_contents", c.bool_contents.len())
        }
        DataType::Int8 => {
            narrow(&c.int_contents, spec, |v: i8| out.put_i8(v))?;
            ("int_contents", c.int_contents.len())
        }
        DataType::Int16 => {
            narrow(&c.int_contents, spec, |v: i16| out.put_i16_le(v))?;
            ("int_contents", c.int_contents.len())
        }
        DataType::Int32 => {
            c.int_contents.iter().for_each(|v| out.put_i32_le(*v));
            ("int_contents", c.int_contents.len())
        }
        DataType::Int64 => {
            c.int64_contents.iter().for_each(|v| out.put_i64_le(*v));
            ("int64_contents", c.int64_contents.len())
        }
        DataType::Uint8 => {
            narrow(&c.uint_contents, spec, |v: u8| out.put_u8(v))?;
            ("uint_contents", c.uint_contents.len())
        }
        DataType::Uint16 => {
            narrow(&c.uint_contents, spec, |v: u16| out.put_u16_le(v))?;
            ("uint_contents", c.uint_contents.len())
        }
        DataType::Uint32 => {
            c.uint_contents.iter().for_each(|v| out.put_u32_le(*v));
            ("uint_contents", c.uint_contents.len())
        }
        DataType::Uint64 => {
            c.uint64_contents.iter().for_each(|v| out.put_u64_le(*v));
            ("uint64_contents", c.uint64_contents.len())
        }
        DataType::Fp32 => {
            c.fp32_contents.iter().for_each(|v| out.put_f32_le(*v));
            ("fp32_contents", c.fp32_contents.len())
        }
        DataType::Fp64 => {
            c.fp64_contents.iter().for_each(|v| out.put_f64_le(*v));
            ("fp64_contents", c.fp64_contents.len())
        }
        DataType::Fp16 | DataType::Bf16 => {
            return Err(Status::invalid(format!(
                "input '{}' is {}, which has no typed field: send raw_input_contents",
                spec.name,
                spec.datatype.wire_name()
            )));
        }
    };
    if sent != elements {
        return Err(Status::invalid(format!(
            "input '{}' has {sent} values in {field}, its shape takes {elements}",
            spec.name
        )));
    }
    Ok(out.freeze())
}

fn narrow<W: Copy + std::fmt::Display, N: TryFrom<W>>(
    values: &[W],
    spec: &TensorSpec,
    mut put: impl FnMut(N),
) -> Result<(), Status> {
    for &value in values {
        put(N::try_from(value).map_err(|_| {
            Status::invalid(format!(
                "input '{}' holds {value}, which does not fit {}",
                spec.name,
                spec.datatype.wire_name()
            ))
        })?);
    }
    Ok(())
}
