//! Rows of a tensor as an Arrow column: a list of its elements, row-major; text as it is.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, PrimitiveArray};
use arrow_buffer::{Buffer, MutableBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as Arrow, Field};

use crate::strings;
use crate::tensor::{DataType, TensorSpec};

/// Whether its rows are texts that the gateway tokenises, each of its own length.
pub fn is_text(spec: &TensorSpec) -> bool {
    spec.datatype == DataType::Bytes && !spec.is_strings()
}

/// Rows of one tensor that are not written yet.
pub struct Values {
    spec: TensorSpec,
    /// Elements, little-endian.
    bytes: MutableBuffer,
    texts: StringBuilder,
}

impl Values {
    pub fn new(spec: &TensorSpec) -> Self {
        Self {
            spec: spec.clone(),
            bytes: MutableBuffer::new(0),
            texts: StringBuilder::new(),
        }
    }

    pub fn field(prefix: &str, spec: &TensorSpec) -> Field {
        Field::new(format!("{prefix}:{}", spec.name), column_type(spec), false)
    }

    /// Takes in rows as they were received or computed; of a text just one.
    pub fn take(&mut self, value: &[u8], rows: usize) {
        if is_text(&self.spec) {
            self.texts.append_value(String::from_utf8_lossy(value));
        } else if self.spec.is_strings() {
            let cells = value.chunks_exact(self.spec.element_bytes());
            for cell in cells.take(rows * self.spec.row_elements()) {
                // A model may give bytes that are no text.
                self.texts
                    .append_value(String::from_utf8_lossy(strings::read(cell)));
            }
        } else {
            self.bytes.extend_from_slice(value);
        }
    }

    /// What was taken in; nothing is left.
    pub fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        let elements: ArrayRef = if self.spec.datatype == DataType::Bytes {
            Arc::new(self.texts.finish())
        } else {
            let room = self.bytes.len();
            let taken = std::mem::replace(&mut self.bytes, MutableBuffer::with_capacity(room));
            numbers(self.spec.datatype, taken.into())
        };
        if matches!(column_type(&self.spec), Arrow::Utf8) {
            return Ok(elements);
        }
        let lengths = std::iter::repeat_n(self.spec.row_elements(), rows);
        let item = Arc::new(Field::new("item", element_type(&self.spec), false));
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(item, offsets, elements, None)?))
    }
}

/// One text a row is that text; all else is a list.
fn column_type(spec: &TensorSpec) -> Arrow {
    if spec.datatype == DataType::Bytes && (is_text(spec) || spec.row_elements() == 1) {
        return Arrow::Utf8;
    }
    Arrow::List(Arc::new(Field::new("item", element_type(spec), false)))
}

fn element_type(spec: &TensorSpec) -> Arrow {
    match spec.datatype {
        DataType::Bool => Arrow::Boolean,
        DataType::Uint8 => Arrow::UInt8,
        DataType::Uint16 => Arrow::UInt16,
        DataType::Uint32 => Arrow::UInt32,
        DataType::Uint64 => Arrow::UInt64,
        DataType::Int8 => Arrow::Int8,
        DataType::Int16 => Arrow::Int16,
        DataType::Int32 => Arrow::Int32,
        DataType::Int64 => Arrow::Int64,
        DataType::Fp16 => Arrow::Float16,
        // Arrow has no bfloat16; each is a float exactly.
        DataType::Bf16 | DataType::Fp32 => Arrow::Float32,
        DataType::Fp64 => Arrow::Float64,
        DataType::Bytes => Arrow::Utf8,
    }
}

fn numbers(datatype: DataType, bytes: Buffer) -> ArrayRef {
    match datatype {
        DataType::Bool => {
            let values = bytes.iter().map(|b| Some(*b != 0));
            Arc::new(values.collect::<BooleanArray>())
        }
        DataType::Uint8 | DataType::Bytes => primitive::<UInt8Type>(bytes),
        DataType::Uint16 => primitive::<UInt16Type>(bytes),
        DataType::Uint32 => primitive::<UInt32Type>(bytes),
        DataType::Uint64 => primitive::<UInt64Type>(bytes),
        DataType::Int8 => primitive::<Int8Type>(bytes),
        DataType::Int16 => primitive::<Int16Type>(bytes),
        DataType::Int32 => primitive::<Int32Type>(bytes),
        DataType::Int64 => primitive::<Int64Type>(bytes),
        DataType::Fp16 => primitive::<Float16Type>(bytes),
        DataType::Fp32 => primitive::<Float32Type>(bytes),
        DataType::Fp64 => primitive::<Float64Type>(bytes),
        DataType::Bf16 => {
            let halves = bytes.chunks_exact(2);
            let values =
                halves.map(|h| f32::from_bits(u32::from(u16::from_le_bytes([h[0], h[1]])) << 16));
            Arc::new(values.map(Some).collect::<PrimitiveArray<Float32Type>>())
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(bytes: Buffer) -> Arc<dyn Array> {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(bytes), None))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;

    fn column(spec: &TensorSpec, value: &[u8], rows: usize) -> ArrayRef {
        let mut values = Values::new(spec);
        values.take(value, rows);
        let column = values.finish(rows).unwrap();
        assert_eq!(column.data_type(), Values::field("x", spec).data_type());
        assert_eq!(column.len(), rows);
        assert_eq!(values.finish(0).unwrap().len(), 0, "nothing is left");
        column
    }

    #[test]
    fn rows_are_lists_of_their_own_type() {
        let spec = TensorSpec::new("x", DataType::Int64, &[-1, 2]);
        let bytes: Vec<u8> = (0..6i64).flat_map(i64::to_le_bytes).collect();
        let column = column(&spec, &bytes, 3);
        let last = column.as_list::<i32>().value(2);
        assert_eq!(last.as_primitive::<Int64Type>().values().as_ref(), [4, 5]);
    }

    #[test]
    fn every_type_has_a_column() {
        for datatype in DataType::ALL {
            let mut spec = TensorSpec::new("x", datatype, &[-1, 3]);
            if datatype == DataType::Bytes {
                spec.max_bytes = Some(4);
            }
            column(&spec, &vec![0; 2 * spec.row_bytes()], 2);
        }
    }

    #[test]
    fn a_bfloat16_is_the_float_that_it_is() {
        let spec = TensorSpec::new("x", DataType::Bf16, &[-1, 1]);
        let column = column(&spec, &[0x80, 0x3f], 1);
        let row = column.as_list::<i32>().value(0);
        assert_eq!(row.as_primitive::<Float32Type>().value(0), 1.0);
    }

    #[test]
    fn a_string_is_text_and_several_are_a_list() {
        let mut spec = TensorSpec::new("s", DataType::Bytes, &[-1, 1]);
        spec.max_bytes = Some(4);
        let mut cells = Vec::new();
        strings::put(b"ab", 4, &mut cells);
        strings::put("é".as_bytes(), 4, &mut cells);
        let one = column(&spec, &cells, 2);
        assert_eq!(one.as_string::<i32>().value(1), "é");
        spec.shape = vec![-1, 2];
        let row = column(&spec, &cells, 1).as_list::<i32>().value(0);
        assert_eq!(row.as_string::<i32>().value(0), "ab");
    }
}
