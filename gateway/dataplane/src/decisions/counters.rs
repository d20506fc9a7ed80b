//! What the log counts: rows by what became of them, files that it deleted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Decisions,
    Feedback,
    Shadow,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Decisions, Self::Feedback, Self::Shadow];

    pub fn word(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Feedback => "feedback",
            Self::Shadow => "shadow",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    outcome: &'static str,
}

/// Handles, each in the order of `Kind::ALL`: nobody looks anything up while requests are answered.
#[derive(Debug, Clone)]
pub struct Counters {
    rows: Family<Labels, Counter>,
    written: [Counter; 3],
    dropped: [Counter; 3],
    failed: [Counter; 3],
    pub deleted: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        let rows: Family<Labels, Counter> = Family::default();
        let of = |outcome| {
            Kind::ALL.map(|kind| {
                let kind = kind.word();
                rows.get_or_create(&Labels { kind, outcome }).clone()
            })
        };
        Self {
            written: of("written"),
            dropped: of("dropped"),
            failed: of("failed"),
            deleted: Counter::default(),
            rows,
        }
    }
}

impl Counters {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "sluicegate_decision_log_rows",
            "Rows of the decision log by what became of them",
            self.rows.clone(),
        );
        registry.register(
            "sluicegate_decision_log_files_deleted",
            "Files that were too old, or too much in all",
            self.deleted.clone(),
        );
    }

    /// They stand in a file.
    pub fn written(&self, kind: Kind, rows: usize) {
        self.written[kind as usize].inc_by(rows as u64);
    }

    /// They found no room, or their buffer was being exchanged.
    pub fn dropped(&self, kind: Kind, rows: usize) {
        self.dropped[kind as usize].inc_by(rows as u64);
    }

    /// The system did not take them.
    pub fn failed(&self, kind: Kind, rows: usize) {
        self.failed[kind as usize].inc_by(rows as u64);
    }
}
