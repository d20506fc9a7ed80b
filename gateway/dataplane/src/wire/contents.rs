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
        DataType::Fp16 | DataType::Bf16 | DataType::Bytes => {
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

/// The elements of a raw BYTES tensor: each a u32 length, little-endian, and that many bytes.
pub fn elements(raw: &Bytes, name: &str) -> Result<Vec<Bytes>, Status> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let len = raw.get(at..at + 4).map(|b| {
            let len: [u8; 4] = [b[0], b[1], b[2], b[3]];
            u32::from_le_bytes(len) as usize
        });
        let end = len.map(|len| (at + 4).saturating_add(len));
        let Some(end) = end.filter(|end| *end <= raw.len()) else {
            return Err(Status::invalid(format!(
                "input '{name}': its raw bytes end within element {}; each is a 4-byte \
                 little-endian length and that many bytes",
                found.len()
            )));
        };
        found.push(raw.slice(at + 4..end));
        at = end;
    }
    Ok(found)
}

/// Whether little-endian float elements are all finite; other types are.
pub fn all_finite(datatype: DataType, bytes: &[u8]) -> bool {
    // All bits of the exponent set: infinity or NaN.
    let half = |exponent: u16| {
        bytes
            .chunks_exact(2)
            .all(|c| u16::from_le_bytes([c[0], c[1]]) & exponent != exponent)
    };
    match datatype {
        DataType::Fp16 => half(0x7c00),
        DataType::Bf16 => half(0x7f80),
        DataType::Fp32 => {
            let word = |c: &[u8]| u32::from_le_bytes([c[0], c[1], c[2], c[3]]);
            bytes
                .chunks_exact(4)
                .all(|c| word(c) & 0x7f80_0000 != 0x7f80_0000)
        }
        // Little-endian: the exponent is in the last two bytes.
        DataType::Fp64 => bytes
            .chunks_exact(8)
            .all(|c| u16::from_le_bytes([c[6], c[7]]) & 0x7ff0 != 0x7ff0),
        _ => true,
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn infinities_and_nan_are_found_in_every_float_type() {
        let cases: [(DataType, Vec<u8>, bool); 8] = [
            (DataType::Fp32, f32::MAX.to_le_bytes().into(), true),
            (DataType::Fp32, f32::NAN.to_le_bytes().into(), false),
            (
                DataType::Fp32,
                f32::NEG_INFINITY.to_le_bytes().into(),
                false,
            ),
            (DataType::Fp64, f64::MIN.to_le_bytes().into(), true),
            (DataType::Fp64, f64::INFINITY.to_le_bytes().into(), false),
            (DataType::Fp16, 0x7bffu16.to_le_bytes().into(), true),
            (DataType::Fp16, 0xfc00u16.to_le_bytes().into(), false),
            (DataType::Bf16, 0x7fc0u16.to_le_bytes().into(), false),
        ];
        for (datatype, bytes, finite) in cases {
            assert_eq!(
                all_finite(datatype, &bytes),
                finite,
                "{datatype:?} {bytes:?}"
            );
        }
        assert!(all_finite(DataType::Int32, &[255; 4]));
    }

    #[test]
    fn byte_strings_are_taken_apart_or_refused() {
        let raw = Bytes::from_static(b"\x02\0\0\0ab\0\0\0\0\x01\0\0\0c");
        assert_eq!(elements(&raw, "t").unwrap(), ["ab", "", "c"]);
        for bad in [&b"\x02\0\0\0a"[..], b"\x01\0\0", b"\xff\xff\xff\xffa"] {
            let status = elements(&Bytes::copy_from_slice(bad), "t").unwrap_err();
            assert!(status.message.contains("end within element 0"), "{status}");
        }
    }
}
