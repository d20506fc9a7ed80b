//! What goes through the executor: a request's rows on the way in, its answer on the way out.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::ModelId;
use crate::clock::Ticks;
use crate::sched::admission::Refusal;
use crate::sched::queue::{Owner, Priority, Ticket};
use crate::shadow::Pair;

/// The token ids of one text.
pub type Tokens = Box<[u32]>;

/// The rows of one job.
#[derive(Debug)]
pub enum Inputs {
    /// One an input, in the contract's order: row-major bytes.
    Rows(Vec<Bytes>),
    /// One a row.
    Tokens(Vec<Tokens>),
}

impl Inputs {
    /// Tokens of the longest row; 1 for rows of a fixed shape.
    pub fn length(&self) -> usize {
        match self {
            Self::Rows(_) => 1,
            Self::Tokens(rows) => rows.iter().map(|t| t.len()).max().unwrap_or(1).max(1),
        }
    }
}

/// A request on its way through the executor, or a part of one that is too large or too mixed for
/// one batch.
#[derive(Debug)]
pub struct Job {
    pub model: ModelId,
    pub rows: usize,
    pub inputs: Inputs,
    pub arrived: Ticks,
    pub ticket: Ticket,
    pub priority: Priority,
    pub owner: Owner,
    /// The caller named no deadline; the model's objective stands in.
    pub patient: bool,
    /// A part of the same request as the job before it: they are let in together or not at all.
    pub follows: bool,
    /// Let in to find out what such rows cost now; the executor says so.
    pub on_trial: bool,
    /// Set if a shadow may compare this request.
    pub pair: Option<Pair>,
    pub reply: oneshot::Sender<Reply>,
    /// The port that takes the answer home.
    pub port: usize,
}

/// The parts of one request; nearly always one.
pub type Parts = SmallVec<[Job; 1]>;

/// A batch's results, shared by the requests in it.
#[derive(Debug)]
pub struct BatchOutputs {
    /// One an output, in the contract's order: row-major bytes of all rows of the batch.
    pub tensors: Vec<Vec<u8>>,
    /// The batch's number since the server started.
    pub number: u64,
    pub rows: usize,
    pub started: Ticks,
    pub finished: Ticks,
}

/// How the executor answers a job.
#[derive(Debug)]
pub enum Reply {
    /// This job's rows start at `first_row`.
    Done {
        outputs: Arc<BatchOutputs>,
        first_row: usize,
    },
    Refused(Refusal),
    /// The deadline passed, or could no longer be met, in the queue.
    Expired,
    /// The engine failed the batch this job was in.
    Failed(Arc<str>),
    /// The engine says that the input is at fault.
    BadInput(Arc<str>),
    /// The server stops, or the model was taken away.
    Closed,
}
