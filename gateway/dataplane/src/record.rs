//! One record a request: filled on its way, written once at the end.

use crate::clock::Ticks;

/// How a request ended. Every request ends as exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered within its deadline.
    Answered,
    /// Computed, but the deadline had passed when the answer was written.
    Late,
    /// Refused at admission: the queue was full.
    ShedQueueFull,
    /// Refused at admission: the deadline could not be met.
    ShedDeadline,
    /// It was queued and gave way to a request of a higher priority.
    ShedPriority,
    /// It was queued and gave way to a caller that held less than its share.
    ShedShare,
    /// It brought no deadline, and the queue had stood too long.
    ShedOverload,
    /// The deadline passed, or could no longer be met, while the request was queued.
    ExpiredInQueue,
    /// The caller went away.
    Cancelled,
    /// The request did not fit the contract or the protocol.
    Invalid,
    /// The message was larger than allowed.
    TooLarge,
    /// The caller is not known, or may not use the model.
    Denied,
    /// No such model or version.
    NoModel,
    /// The model is not loaded, or the server stops.
    Unavailable,
    /// The engine failed the batch.
    Failed,
}

impl Outcome {
    pub const ALL: [Outcome; 15] = [
        Self::Answered,
        Self::Late,
        Self::ShedQueueFull,
        Self::ShedDeadline,
        Self::ShedPriority,
        Self::ShedShare,
        Self::ShedOverload,
        Self::ExpiredInQueue,
        Self::Cancelled,
        Self::Invalid,
        Self::TooLarge,
        Self::Denied,
        Self::NoModel,
        Self::Unavailable,
        Self::Failed,
    ];

    /// Whether a fallback decision may stand in: the model was not at fault, nor the request.
    pub fn may_fall_back(self) -> bool {
        matches!(
            self,
            Self::Late
                | Self::ShedQueueFull
                | Self::ShedDeadline
                | Self::ShedPriority
                | Self::ShedShare
                | Self::ShedOverload
                | Self::ExpiredInQueue
        )
    }

    /// The label of this outcome in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Late => "late",
            Self::ShedQueueFull => "shed_queue_full",
            Self::ShedDeadline => "shed_deadline",
            Self::ShedPriority => "shed_priority",
            Self::ShedShare => "shed_share",
            Self::ShedOverload => "shed_overload",
            Self::ExpiredInQueue => "expired_in_queue",
            Self::Cancelled => "cancelled",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Denied => "denied",
            Self::NoModel => "no_model",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// Times are ticks; `started` and `finished` are those of the batch and 0 if none ran.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub outcome: Outcome,
    pub arrived: Ticks,
    pub deadline: Ticks,
    pub started: Ticks,
    pub finished: Ticks,
    pub written: Ticks,
    /// The fallback decision was answered in the model's place.
    pub fell_back: bool,
}

impl Record {
    /// A request that has just arrived and of which nothing more is known.
    pub fn arrived(arrived: Ticks) -> Self {
        let outcome = Outcome::Invalid;
        Self {
            outcome,
            arrived,
            deadline: Ticks::MAX,
            started: 0,
            finished: 0,
            written: 0,
            fell_back: false,
        }
    }
}
