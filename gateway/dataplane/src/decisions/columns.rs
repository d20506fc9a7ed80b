//! From entries to columns: the rows of one file that were not written yet.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::buffer::{Head, next_value};
use super::key::Key;
use super::tensors::{Values, is_text};
use super::{Kind, Logged};
use crate::config::LoggedInputs;
use crate::strings;
use crate::tensor::TensorSpec;

/// Bytes of a hash.
const HASH: i32 = 32;

/// An entry's bytes taken apart.
pub struct Row<'a> {
    pub head: &'a Head,
    pub time_ns: i64,
    pub id: &'a str,
    /// Behind the id.
    pub rest: &'a [u8],
}

/// One input of a model's, as the policy keeps it.
enum Input {
    Values(Values),
    Hashes(FixedSizeBinaryBuilder),
}

/// Rows of one kind and, but for feedback, of one version of a model.
pub struct Columns {
    kind: Kind,
    model: Option<Arc<Logged>>,
    key: Option<Key>,
    schema: SchemaRef,
    ids: StringBuilder,
    rows: Vec<i32>,
    times: Vec<i64>,
    /// Latencies, or labels.
    numbers: Vec<f64>,
    keys: FixedSizeBinaryBuilder,
    inputs: Vec<Input>,
    outputs: Vec<Values>,
    /// Bytes of what was taken in since the last batch.
    pub bytes: usize,
}

impl Columns {
    /// `model` is `None` for feedback; `key` is for hashes.
    pub fn new(kind: Kind, model: Option<Arc<Logged>>, key: Option<Key>) -> Self {
        let schema = Arc::new(schema(kind, model.as_deref(), key.as_ref()));
        let inputs = match &model {
            Some(model) if kind == Kind::Decisions => inputs(model),
            _ => Vec::new(),
        };
        let outputs = model.as_ref().map_or(&[][..], |m| &m.outputs);
        let outputs = outputs.iter().map(Values::new).collect();
        Self {
            kind,
            schema,
            key,
            ids: StringBuilder::new(),
            rows: Vec::new(),
            times: Vec::new(),
            numbers: Vec::new(),
            keys: FixedSizeBinaryBuilder::new(HASH),
            inputs,
            outputs,
            bytes: 0,
            model,
        }
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Takes in an entry of this kind and model.
    pub fn take(&mut self, row: &Row<'_>) -> Result<(), ArrowError> {
        self.bytes += row.rest.len() + row.id.len();
        match row.head {
            Head::Feedback { row: number, label } => {
                self.row(row, *number);
                self.numbers.push(*label);
            }
            Head::Shadow { row: number, .. } => {
                self.row(row, *number);
                self.put_outputs(row.rest, 1);
            }
            Head::Decision {
                model,
                rows,
                latency_us,
                key,
            } => {
                let (said, mut rest) = row.rest.split_at(key.unwrap_or(0) as usize);
                let count = *rows as usize;
                let whose = self.key.as_ref().filter(|_| key.is_some());
                let whose = whose.map(|k| k.hash("key", said));
                for number in 0..*rows {
                    self.row(row, number);
                    self.numbers.push(*latency_us);
                    if self.key.is_some() {
                        match &whose {
                            Some(hash) => self.keys.append_value(hash)?,
                            None => self.keys.append_null(),
                        }
                    }
                }
                for (input, spec) in self.inputs.iter_mut().zip(&model.inputs) {
                    input.take(&mut rest, spec, count, self.key.as_ref())?;
                }
                self.put_outputs(rest, count);
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>, number: u32) {
        self.ids.append_value(row.id);
        self.rows.push(i32::try_from(number).unwrap_or(i32::MAX));
        self.times.push(row.time_ns);
    }

    fn put_outputs(&mut self, mut rest: &[u8], rows: usize) {
        for output in &mut self.outputs {
            output.take(next_value(&mut rest), rows);
        }
    }

    /// What was taken in as one batch; nothing is left.
    pub fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows();
        self.bytes = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(Int32Array::from(std::mem::take(&mut self.rows))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.times))),
        ];
        if let Some(model) = &self.model {
            columns.push(constant(&model.model, rows)?);
            columns.push(constant(&model.digest, rows)?);
        }
        if self.kind != Kind::Shadow {
            columns.push(Arc::new(Float64Array::from(std::mem::take(
                &mut self.numbers,
            ))));
        }
        if self.kind == Kind::Decisions && self.key.is_some() {
            columns.push(Arc::new(self.keys.finish()));
        }
        for input in &mut self.inputs {
            columns.push(match input {
                Input::Values(values) => values.finish(rows)?,
                Input::Hashes(hashes) => Arc::new(hashes.finish()),
            });
        }
        for output in &mut self.outputs {
            columns.push(output.finish(rows)?);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
}

impl Input {
    fn take(
        &mut self,
        rest: &mut &[u8],
        spec: &TensorSpec,
        rows: usize,
        key: Option<&Key>,
    ) -> Result<(), ArrowError> {
        match self {
            Self::Values(values) if is_text(spec) => {
                (0..rows).for_each(|_| values.take(next_value(rest), 1));
            }
            Self::Values(values) => values.take(next_value(rest), rows),
            Self::Hashes(hashes) => {
                let Some(key) = key else {
                    let text = "inputs are to be hashed, and there is no key";
                    return Err(ArrowError::InvalidArgumentError(text.into()));
                };
                let what = format!("input:{}", spec.name);
                if is_text(spec) {
                    for _ in 0..rows {
                        hashes.append_value(key.hash(&what, next_value(rest)))?;
                    }
                    return Ok(());
                }
                let value = next_value(rest);
                for row in value.chunks_exact(spec.row_bytes().max(1)) {
                    let only = std::slice::from_ref(spec);
                    let plain = strings::for_the_wire(only, &[row]);
                    let plain = plain.as_ref().and_then(|p| p.first());
                    hashes.append_value(key.hash(&what, plain.map_or(row, |p| p)))?;
                }
            }
        }
        Ok(())
    }
}

fn inputs(model: &Logged) -> Vec<Input> {
    let each = model.inputs.iter();
    match model.keep {
        LoggedInputs::None => Vec::new(),
        LoggedInputs::All => each.map(|s| Input::Values(Values::new(s))).collect(),
        LoggedInputs::Hash => each
            .map(|_| Input::Hashes(FixedSizeBinaryBuilder::new(HASH)))
            .collect(),
    }
}

/// One word for all rows.
fn constant(word: &str, rows: usize) -> Result<ArrayRef, ArrowError> {
    let words = StringArray::from(vec![word]);
    let places = Int32Array::from(vec![0; rows]);
    Ok(Arc::new(DictionaryArray::try_new(places, Arc::new(words))?))
}

fn schema(kind: Kind, model: Option<&Logged>, key: Option<&Key>) -> Schema {
    let plain = |name: &str, datatype| Field::new(name, datatype, false);
    let word = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = vec![
        plain("request_id", DataType::Utf8),
        plain("row", DataType::Int32),
        plain("time_ns", DataType::Int64),
    ];
    let mut told = HashMap::from([("sluicegate.format".to_owned(), format!("{}/1", kind.word()))]);
    if let Some(model) = model {
        fields.extend([plain("model", word()), plain("digest", word())]);
        told.insert("sluicegate.model".into(), model.model.clone());
        told.insert("sluicegate.digest".into(), model.digest.clone());
    }
    match kind {
        Kind::Decisions => fields.push(plain("latency_us", DataType::Float64)),
        Kind::Feedback => fields.push(plain("label", DataType::Float64)),
        Kind::Shadow => {}
    }
    if let (Kind::Decisions, Some(model)) = (kind, model) {
        let hash = || DataType::FixedSizeBinary(HASH);
        if let Some(key) = key {
            fields.push(Field::new("key_hmac", hash(), true));
            told.insert("sluicegate.key".into(), key.id.clone());
        }
        fields.extend(model.inputs.iter().filter_map(|spec| match model.keep {
            LoggedInputs::None => None,
            LoggedInputs::All => Some(Values::field("input", spec)),
            LoggedInputs::Hash => Some(plain(&format!("input_hmac:{}", spec.name), hash())),
        }));
    }
    if let Some(model) = model {
        let outputs = model.outputs.iter();
        fields.extend(outputs.map(|spec| Values::field("output", spec)));
    }
    Schema::new_with_metadata(fields, told)
}
