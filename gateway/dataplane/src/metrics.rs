//! Counters and histograms. Names follow Triton's where one exists (`nv_inference_…`); the others
//! begin with `sluicegate_`. A model's handles are looked up once, when it is loaded.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::prometheus_protobuf::encode_to_vec;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use crate::clock::Ticks;
use crate::decisions;
use crate::histogram::Histogram;
use crate::record::{Outcome, Record};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    model: String,
    version: String,
    outcome: &'static str,
}

type HistogramFamily = Family<ModelLabels, Histogram, fn() -> Histogram>;

/// A counter of µs that is a histogram's sum: a request pays for one of them only.
#[derive(Debug, Clone, Default)]
struct MicrosOf(Arc<OnceLock<Histogram>>);

impl MicrosOf {
    fn follow(&self, histogram: &Histogram) {
        // A version that is loaded again has the histogram that it had.
        let _ = self.0.set(histogram.clone());
    }

    fn get(&self) -> u64 {
        self.0.get().map_or(0, |h| (h.sum() * 1e6) as u64)
    }
}

impl TypedMetric for MicrosOf {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for MicrosOf {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.get(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// From 1 µs to 64 s.
fn seconds() -> Histogram {
    Histogram::new(-20, 6)
}

/// From 1 to 4,096.
fn batch_rows() -> Histogram {
    Histogram::new(0, 12)
}

/// All metrics of the server.
pub struct Metrics {
    registry: Registry,
    requests: Family<OutcomeLabels, Counter>,
    inferences: Family<ModelLabels, Counter>,
    executions: Family<ModelLabels, Counter>,
    queue_us: Family<ModelLabels, MicrosOf>,
    compute_us: Family<ModelLabels, Counter>,
    request_us: Family<ModelLabels, MicrosOf>,
    pending: Family<ModelLabels, Gauge>,
    request_seconds: HistogramFamily,
    queue_seconds: HistogramFamily,
    execute_seconds: HistogramFamily,
    slack_seconds: HistogramFamily,
    batch_rows: HistogramFamily,
    fallbacks: Family<ModelLabels, Counter>,
    on: bool,
    pub connections: Gauge,
    pub connections_refused: Counter,
    pub handshakes_failed: Counter,
    /// Seconds since 1970; 0 without TLS.
    pub certificate_expires: Gauge,
}

/// One model's handles.
pub struct ModelMetrics {
    /// In the order of `Outcome::ALL`.
    outcomes: [Counter; Outcome::ALL.len()],
    inferences: Counter,
    executions: Counter,
    queue_us: MicrosOf,
    compute_us: Counter,
    request_us: MicrosOf,
    pub pending: Gauge,
    request_seconds: Histogram,
    queue_seconds: Histogram,
    execute_seconds: Histogram,
    slack_seconds: Histogram,
    batch_rows: Histogram,
    fallbacks: Counter,
    on: bool,
    /// When the latest answer was written.
    last_answer: AtomicU64,
    /// Batches by their number of rows and the time that they took, in ns: index 0 is one row.
    batches: Vec<(AtomicU64, AtomicU64)>,
}

/// What a version has done since it was loaded; times are those of answered requests.
#[derive(Debug, Clone, Copy)]
pub struct Sums {
    pub rows: u64,
    pub batches: u64,
    pub queue_us: u64,
    pub compute_us: u64,
    pub request_us: u64,
    pub fallbacks: u64,
    /// 0 if there was none.
    pub last_answer: Ticks,
}

fn secs(ticks: Ticks) -> f64 {
    ticks as f64 / 1e9
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(true, Counter::default(), &decisions::Counters::default())
    }
}

impl Metrics {
    /// Without `on`, only what the server itself needs is counted.
    pub fn new(on: bool, spans_dropped: Counter, log: &decisions::Counters) -> Self {
        let mut registry = Registry::default();
        let histogram = |make: fn() -> Histogram| HistogramFamily::new_with_constructor(make);
        let metrics = Self {
            requests: Family::default(),
            inferences: Family::default(),
            executions: Family::default(),
            queue_us: Family::default(),
            compute_us: Family::default(),
            request_us: Family::default(),
            pending: Family::default(),
            request_seconds: histogram(seconds),
            queue_seconds: histogram(seconds),
            execute_seconds: histogram(seconds),
            slack_seconds: histogram(seconds),
            batch_rows: histogram(batch_rows),
            fallbacks: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            certificate_expires: Gauge::default(),
            registry: Registry::default(),
            on,
        };
        let m = &metrics;
        registry.register(
            "sluicegate_requests",
            "Requests by how they ended; every request ends once",
            m.requests.clone(),
        );
        registry.register("nv_inference_count", "Rows inferred", m.inferences.clone());
        registry.register(
            "nv_inference_exec_count",
            "Batches run",
            m.executions.clone(),
        );
        registry.register(
            "nv_inference_queue_duration_us",
            "Time that answered requests were queued, in microseconds",
            m.queue_us.clone(),
        );
        registry.register(
            "nv_inference_compute_infer_duration_us",
            "Time that answered requests' batches ran, in microseconds",
            m.compute_us.clone(),
        );
        registry.register(
            "nv_inference_request_duration_us",
            "Time from arrival to answer of answered requests, in microseconds",
            m.request_us.clone(),
        );
        registry.register(
            "nv_inference_pending_request_count",
            "Requests that wait or run",
            m.pending.clone(),
        );
        registry.register(
            "sluicegate_request_seconds",
            "From arrival to answer, answered requests",
            m.request_seconds.clone(),
        );
        registry.register(
            "sluicegate_queue_seconds",
            "From arrival to the start of the batch, answered requests",
            m.queue_seconds.clone(),
        );
        registry.register(
            "sluicegate_execute_seconds",
            "One batch",
            m.execute_seconds.clone(),
        );
        registry.register(
            "sluicegate_slack_seconds",
            "Time left to the deadline when the answer was written; late ones count as 0",
            m.slack_seconds.clone(),
        );
        registry.register(
            "sluicegate_batch_rows",
            "Rows in one batch",
            m.batch_rows.clone(),
        );
        registry.register(
            "sluicegate_fallbacks",
            "Requests answered with the fallback decision; they are counted by their outcome too",
            m.fallbacks.clone(),
        );
        registry.register(
            "sluicegate_connections",
            "Open gRPC connections",
            m.connections.clone(),
        );
        registry.register(
            "sluicegate_connections_refused",
            "gRPC connections closed at once because as many as may be were open",
            m.connections_refused.clone(),
        );
        registry.register(
            "sluicegate_handshakes_failed",
            "TLS handshakes that failed",
            m.handshakes_failed.clone(),
        );
        registry.register(
            "sluicegate_certificate_expires_seconds",
            "When the server's certificate expires, in seconds since 1970; 0 without TLS",
            m.certificate_expires.clone(),
        );
        registry.register(
            "sluicegate_spans_dropped",
            "Traced requests whose spans were dropped because nobody fetched them in time",
            spans_dropped,
        );
        log.register(&mut registry);
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// The handles of one model; `max_batch` is the largest batch it runs.
    pub fn model(&self, model: &str, version: &str, max_batch: usize) -> Arc<ModelMetrics> {
        let labels = ModelLabels {
            model: model.into(),
            version: version.into(),
        };
        let outcome = |o: Outcome| {
            let (model, version) = (model.into(), version.into());
            let labels = OutcomeLabels {
                model,
                version,
                outcome: o.label(),
            };
            self.requests.get_or_create(&labels).clone()
        };
        let queue_seconds = self.queue_seconds.get_or_create(&labels).clone();
        let request_seconds = self.request_seconds.get_or_create(&labels).clone();
        let queue_us = self.queue_us.get_or_create(&labels).clone();
        let request_us = self.request_us.get_or_create(&labels).clone();
        queue_us.follow(&queue_seconds);
        request_us.follow(&request_seconds);
        Arc::new(ModelMetrics {
            outcomes: Outcome::ALL.map(outcome),
            inferences: self.inferences.get_or_create(&labels).clone(),
            executions: self.executions.get_or_create(&labels).clone(),
            queue_us,
            compute_us: self.compute_us.get_or_create(&labels).clone(),
            request_us,
            pending: self.pending.get_or_create(&labels).clone(),
            request_seconds,
            queue_seconds,
            execute_seconds: self.execute_seconds.get_or_create(&labels).clone(),
            slack_seconds: self.slack_seconds.get_or_create(&labels).clone(),
            batch_rows: self.batch_rows.get_or_create(&labels).clone(),
            fallbacks: self.fallbacks.get_or_create(&labels).clone(),
            last_answer: AtomicU64::new(0),
            on: self.on,
            batches: std::iter::repeat_with(Default::default)
                .take(max_batch)
                .collect(),
        })
    }

    /// Drops the series of a version that is no longer resident.
    pub fn forget(&self, model: &str, version: &str) {
        let (model, version) = (model.to_owned(), version.to_owned());
        for outcome in Outcome::ALL {
            self.requests.remove(&OutcomeLabels {
                model: model.clone(),
                version: version.clone(),
                outcome: outcome.label(),
            });
        }
        let labels = ModelLabels { model, version };
        for counters in [
            &self.inferences,
            &self.executions,
            &self.compute_us,
            &self.fallbacks,
        ] {
            counters.remove(&labels);
        }
        for sums in [&self.queue_us, &self.request_us] {
            sums.remove(&labels);
        }
        self.pending.remove(&labels);
        for histograms in [
            &self.request_seconds,
            &self.queue_seconds,
            &self.execute_seconds,
            &self.slack_seconds,
            &self.batch_rows,
        ] {
            histograms.remove(&labels);
        }
    }

    /// A request that no model can be blamed for: unknown model, broken message.
    pub fn without_model(&self, outcome: Outcome) {
        let labels = OutcomeLabels {
            model: String::new(),
            version: String::new(),
            outcome: outcome.label(),
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Prometheus's own messages, each with its length before it; native histograms are in these
    /// alone.
    pub fn protobuf(&self) -> Vec<u8> {
        // Every metric here has a name and a type that it can encode.
        encode_to_vec(&self.registry).unwrap_or_default()
    }

    /// OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}

impl ModelMetrics {
    /// Writes a request's record.
    pub fn write(&self, record: &Record) {
        self.counter(record.outcome).inc();
        if record.fell_back {
            self.fallbacks.inc();
        }
        if !self.on {
            return;
        }
        if record.outcome != Outcome::Answered {
            if record.outcome == Outcome::Late {
                self.slack_seconds.observe(0.0);
            }
            return;
        }
        self.last_answer.store(record.written, Relaxed);
        let queued = record.started.saturating_sub(record.arrived);
        let total = record.written.saturating_sub(record.arrived);
        self.compute_us
            .inc_by(record.finished.saturating_sub(record.started) / 1_000);
        self.queue_seconds.observe(secs(queued));
        self.request_seconds.observe(secs(total));
        self.slack_seconds
            .observe(secs(record.deadline.saturating_sub(record.written)));
    }

    /// One batch has run.
    pub fn batch(&self, rows: usize, cost: Ticks) {
        self.executions.inc();
        self.inferences.inc_by(rows as u64);
        if !self.on {
            return;
        }
        self.execute_seconds.observe(secs(cost));
        self.batch_rows.observe(rows as f64);
        if let Some((count, ns)) = rows.checked_sub(1).and_then(|i| self.batches.get(i)) {
            count.fetch_add(1, Relaxed);
            ns.fetch_add(cost, Relaxed);
        }
    }

    /// Sums since the version was loaded.
    pub fn sums(&self) -> Sums {
        Sums {
            rows: self.inferences.get(),
            batches: self.executions.get(),
            queue_us: self.queue_us.get(),
            compute_us: self.compute_us.get(),
            request_us: self.request_us.get(),
            fallbacks: self.fallbacks.get(),
            last_answer: self.last_answer.load(Relaxed),
        }
    }

    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.counter(outcome).get()
    }

    fn counter(&self, outcome: Outcome) -> &Counter {
        &self.outcomes[outcome as usize]
    }

    /// (rows, batches, ns that they took) for every size that occurred.
    pub fn batch_sizes(&self) -> Vec<(usize, u64, Ticks)> {
        let sizes = self.batches.iter().enumerate();
        let sizes = sizes.map(|(i, (n, ns))| (i + 1, n.load(Relaxed), ns.load(Relaxed)));
        sizes.filter(|(_, n, _)| *n > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_gone_leaves_no_series_behind() {
        let metrics = Metrics::default();
        let model = metrics.model("m", "7", 4);
        model.write(&Record {
            outcome: Outcome::Answered,
            ..Record::arrived(0)
        });
        model.batch(1, 1_000);
        assert!(metrics.text().contains("version=\"7\""));
        assert!(metrics.protobuf().windows(5).any(|w| w == b"queue"));
        metrics.forget("m", "7");
        assert!(!metrics.text().contains("version=\"7\""));
    }

    #[test]
    fn a_record_is_counted_once_under_its_outcome() {
        let metrics = Metrics::default();
        let model = metrics.model("m", "1", 4);
        for outcome in Outcome::ALL {
            model.write(&Record {
                outcome,
                ..Record::arrived(0)
            });
        }
        model.batch(3, 1_000);
        let text = metrics.text();
        for outcome in Outcome::ALL {
            assert_eq!(model.outcome(outcome), 1);
            let line = format!(
                "sluicegate_requests_total{{model=\"m\",version=\"1\",outcome=\"{}\"}} 1",
                outcome.label()
            );
            assert!(text.contains(&line), "{line} in {text}");
        }
        assert_eq!(model.batch_sizes(), [(3, 1, 1_000)]);
        assert!(text.contains("nv_inference_count_total{model=\"m\",version=\"1\"} 3"));
        assert!(text.contains("sluicegate_request_seconds_count{model=\"m\",version=\"1\"} 1"));
    }
}
