//! One input of a request: its shape against the contract's, and its content as bytes.

use bytes::Bytes;

use super::contents::{bytes_of, elements};
use super::inference::model_infer_request::InferInputTensor;
use super::status::Status;
use crate::strings;
use crate::tensor::{DataType, TensorSpec};

/// Slack that a slice may keep alive beside itself.
const SMALL: usize = 16 << 10;
/// Rows of one request; a batch may take fewer, then it is run in parts.
const MAX_ROWS: usize = 16_384;
/// Bytes of one request's strings in their cells: a small message of short strings must not become
/// a large one.
const MAX_CELLS: usize = 16 << 20;

/// The rows that a tensor's shape says; 1 for a model that is not batched.
pub fn check_shape(tensor: &InferInputTensor, spec: &TensorSpec) -> Result<usize, Status> {
    let name = &spec.name;
    let expected = spec.datatype.wire_name();
    if tensor.datatype != expected {
        return Err(Status::invalid(format!(
            "input '{name}' is sent as '{}', the model takes {expected}",
            tensor.datatype
        )));
    }
    let batch = if spec.is_batched() {
        " (-1 is the number of rows)"
    } else {
        " (this model takes no batch)"
    };
    if tensor.shape.len() != spec.shape.len() {
        return Err(Status::invalid(format!(
            "input '{name}' has {} dimensions, the model takes {:?}{batch}",
            tensor.shape.len(),
            spec.shape
        )));
    }
    let given = &tensor.shape[spec.shape.len() - spec.dims().len()..];
    if given != spec.dims() {
        return Err(Status::invalid(format!(
            "input '{name}' has shape {:?}, the model takes {:?}{batch}",
            tensor.shape, spec.shape
        )));
    }
    if !spec.is_batched() {
        return Ok(1);
    }
    match usize::try_from(tensor.shape[0]) {
        Ok(0) => Err(Status::invalid(format!(
            "input '{name}' has no rows; send at least one"
        ))),
        Ok(rows) if rows <= MAX_ROWS => Ok(rows),
        Ok(rows) => Err(Status::invalid(format!(
            "input '{name}' has {rows} rows, one request takes at most {MAX_ROWS}"
        ))),
        Err(_) => Err(Status::invalid(format!(
            "input '{name}' has shape {:?}",
            tensor.shape
        ))),
    }
}

/// The texts of a BYTES input, one a row.
pub fn text_rows(
    tensor: &InferInputTensor,
    raw: Option<&Bytes>,
    rows: usize,
) -> Result<Vec<Bytes>, Status> {
    byte_strings(tensor, raw, rows, "row")
}

/// The `count` byte strings of a tensor, of valid UTF-8; `what` one of them is called.
fn byte_strings(
    tensor: &InferInputTensor,
    raw: Option<&Bytes>,
    count: usize,
    what: &str,
) -> Result<Vec<Bytes>, Status> {
    let name = &tensor.name;
    let texts = match (raw, &tensor.contents) {
        (Some(_), Some(_)) => return Err(sent_twice(name)),
        (None, None) => return Err(sent_not(name)),
        (Some(raw), None) => elements(raw, name)?,
        (None, Some(contents)) => contents.bytes_contents.clone(),
    };
    if texts.len() != count {
        return Err(Status::invalid(format!(
            "input '{name}' holds {} byte strings, its shape takes {count}",
            texts.len()
        )));
    }
    for (index, text) in texts.iter().enumerate() {
        if let Err(error) = std::str::from_utf8(text) {
            let at = error.valid_up_to();
            return Err(Status::invalid(format!(
                "input '{name}', {what} {index}: not UTF-8 from byte {at} on"
            )));
        }
    }
    Ok(texts)
}

/// Strings that the model takes as they are, in their cells.
fn string_cells(
    tensor: &InferInputTensor,
    raw: Option<&Bytes>,
    spec: &TensorSpec,
    rows: usize,
) -> Result<Bytes, Status> {
    let (name, most) = (&spec.name, spec.max_bytes.unwrap_or(0));
    let bytes = rows * spec.row_bytes();
    if bytes > MAX_CELLS {
        return Err(Status::invalid(format!(
            "input '{name}': {rows} rows take {bytes} bytes of strings at their longest, one \
             request {MAX_CELLS} at most: send fewer rows"
        )));
    }
    let texts = byte_strings(tensor, raw, rows * spec.row_elements(), "element")?;
    let mut cells = Vec::with_capacity(bytes);
    for (index, text) in texts.iter().enumerate() {
        if text.len() > most {
            return Err(Status::invalid(format!(
                "input '{name}', element {index} has {} bytes, the model takes {most} at most",
                text.len()
            )));
        }
        strings::put(text, most, &mut cells);
    }
    Ok(cells.into())
}

fn sent_twice(name: &str) -> Status {
    Status::invalid(format!(
        "input '{name}' is sent twice: in contents and in raw_input_contents"
    ))
}

fn sent_not(name: &str) -> Status {
    Status::invalid(format!(
        "input '{name}' has neither contents nor raw_input_contents"
    ))
}

/// A tensor's elements: little-endian, row-major.
pub fn content(
    tensor: &InferInputTensor,
    raw: Option<&Bytes>,
    spec: &TensorSpec,
    rows: usize,
    message: usize,
) -> Result<Bytes, Status> {
    if spec.is_strings() {
        return string_cells(tensor, raw, spec, rows);
    }
    let name = &spec.name;
    match (raw, &tensor.contents) {
        (Some(_), Some(_)) => Err(sent_twice(name)),
        (None, None) => Err(sent_not(name)),
        (Some(raw), None) => {
            let expected = rows * spec.row_bytes();
            if raw.len() != expected {
                return Err(Status::invalid(format!(
                    "input '{name}' has {} raw bytes, {rows} rows of {} take {expected}",
                    raw.len(),
                    spec.datatype.wire_name()
                )));
            }
            if spec.datatype == DataType::Bool && raw.iter().any(|b| *b > 1) {
                return Err(Status::invalid(format!(
                    "input '{name}' holds a byte that is neither 0 nor 1"
                )));
            }
            // A small slice must not keep a large message alive in the queue.
            let wasteful = message > 2 * raw.len() + SMALL;
            Ok(if wasteful {
                Bytes::copy_from_slice(raw)
            } else {
                raw.clone()
            })
        }
        (None, Some(contents)) => bytes_of(contents, spec, rows * spec.row_elements()),
    }
}
