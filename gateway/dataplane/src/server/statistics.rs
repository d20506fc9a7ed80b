//! ModelStatistics: what each version has done since it was loaded.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Server;
use super::callers::Rights;
use super::metadata::decode;
use super::table::Model;
use crate::clock::{Ticks, now};
use crate::record::Outcome;
use crate::wire::framing::frame;
use crate::wire::inference as pb;
use crate::wire::status::Status;

pub fn model_statistics(server: &Server, rights: &Rights, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::ModelStatisticsRequest = decode(message, "ModelStatisticsRequest")?;
    let table = server.table.load();
    let model_stats = if request.name.is_empty() {
        let mine = table.live().filter(|m| rights.may_use(&m.name).is_ok());
        mine.map(|m| statistics(m)).collect()
    } else {
        rights.may_use(&request.name)?;
        vec![statistics(table.find(&request.name, &request.version)?)]
    };
    Ok(frame(&pb::ModelStatisticsResponse { model_stats }))
}

fn statistics(model: &Model) -> pb::ModelStatistics {
    let metrics = &model.metrics;
    let sums = metrics.sums();
    let answered = metrics.outcome(Outcome::Answered);
    let failed = Outcome::ALL.iter().filter(|o| **o != Outcome::Answered);
    let failed = failed.map(|o| metrics.outcome(*o)).sum();
    let over = |count, us: u64| {
        Some(pb::StatisticDuration {
            count,
            ns: us * 1_000,
        })
    };
    let batch = |(rows, count, ns): (usize, u64, Ticks)| pb::InferBatchStatistics {
        batch_size: rows as u64,
        compute_input: over(count, 0),
        compute_infer: Some(pb::StatisticDuration { count, ns }),
        compute_output: over(count, 0),
    };
    pb::ModelStatistics {
        name: model.name.clone(),
        version: model.version.to_string(),
        last_inference: since_1970(sums.last_answer),
        inference_count: sums.rows,
        execution_count: sums.batches,
        inference_stats: Some(pb::InferStatistics {
            success: over(answered, sums.request_us),
            fail: over(failed, 0),
            queue: over(answered, sums.queue_us),
            // Rows are copied within the batch's own time.
            compute_input: over(answered, 0),
            compute_infer: over(answered, sums.compute_us),
            compute_output: over(answered, 0),
            cache_hit: over(0, 0),
            cache_miss: over(0, 0),
        }),
        batch_stats: metrics.batch_sizes().into_iter().map(batch).collect(),
    }
}

/// Milliseconds since 1970; 0 for never.
fn since_1970(at: Ticks) -> u64 {
    if at == 0 {
        return 0;
    }
    let ago = Duration::from_nanos(now().saturating_sub(at));
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(time.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX)
}
