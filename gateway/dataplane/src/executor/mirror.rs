//! Hands an answered batch to the model's shadow, if it has one that wants it.

use std::sync::Arc;

use super::{BatchOutputs, Inputs, Job};
use crate::sched::queue::Waiting;
use crate::shadow::{Door, Mirrored, Part};

/// Moves the batch's rows into the shadow's queue. Nothing is copied: the jobs need their inputs no
/// more. A batch that holds a pair is always wanted, others by the shadow's share.
pub fn mirror(shadow: &Door, jobs: &mut [Waiting<Job>], outputs: &Arc<BatchOutputs>) {
    let route = shadow.load();
    let Some(route) = &*route else {
        return;
    };
    let pairs = jobs.iter().any(|w| w.job.pair.is_some());
    // The share is of all batches: those with a pair have their turn in it too.
    let sampled = route.queue.samples();
    if !pairs && !sampled {
        return;
    }
    let due = jobs.iter().map(|w| w.job.ticket.deadline).min();
    let parts = jobs.iter_mut().map(|waiting| Part {
        inputs: std::mem::replace(&mut waiting.job.inputs, Inputs::Rows(Vec::new())),
        rows: waiting.rows,
        pair: waiting.job.pair.take(),
    });
    route.queue.push(Mirrored {
        parts: parts.collect(),
        rows: outputs.rows,
        outputs: Arc::clone(outputs),
        budget: due.unwrap_or(0).saturating_sub(outputs.started),
        work: None,
    });
}
