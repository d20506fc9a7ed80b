//! Whether a request is let into the queue: only if there is room and its deadline can be met.

use crate::clock::Ticks;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The queue holds as many rows as it may.
    QueueFull {
        /// When there should be room, in ns from now.
        retry: Ticks,
    },
    /// By the cost table, the answer would come after the deadline.
    CannotMeet {
        /// When it could be met, in ns from now; `None` if not even an idle server could.
        retry: Option<Ticks>,
    },
    /// It was queued and gave way to another request.
    GaveWay(GaveWay),
    /// It brought no deadline and the queue stood too long.
    Overload,
}

/// To what a queued request gave way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveWay {
    /// A request of a higher priority.
    ToPriority,
    /// A request of a caller that held less of the queue for its share.
    ToShare,
    /// A request that was due earlier, in a full queue.
    ToDeadline,
}

/// What the lanes look like to a request that arrives.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub now: Ticks,
    /// Lane time that must pass before the first new batch can start, in ns.
    pub busy: Ticks,
    pub lanes: usize,
}

/// Limits of one model's queue and batches, in rows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_batch: usize,
    pub queue_rows: usize,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// When its batch must have ended.
    pub deadline: Ticks,
    /// What its own rows cost, in ns.
    pub own: Ticks,
    /// Whether to let it in though it looks hopeless: nothing else waits, and its cost has not
    /// been measured lately.
    pub on_trial: bool,
}

/// Decides on a request. `all` is the lane time of everything queued, in ns, known at once;
/// `due_before` is that of the work due before this request, counted only if `all` does not fit.
///
/// The test is now + rest of the running batches + work due earlier + own cost against the time
/// that it is due.
pub fn admit(
    ask: Ask,
    load: Load,
    all: Ticks,
    due_before: impl FnOnce() -> Ticks,
) -> Result<(), Refusal> {
    let Some(slack) = ask.deadline.checked_sub(load.now).filter(|s| *s > 0) else {
        return Err(Refusal::CannotMeet { retry: None });
    };
    let lanes = load.lanes.max(1) as u64;
    let needs = |work: Ticks| {
        load.busy
            .saturating_add(ask.own)
            .saturating_add(work / lanes)
    };
    if needs(all) <= slack {
        return Ok(());
    }
    let needed = needs(due_before());
    if needed <= slack || ask.on_trial {
        return Ok(());
    }
    let retry = (ask.own <= slack).then_some(needed - slack);
    Err(Refusal::CannotMeet { retry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MILLIS;

    fn load(busy: Ticks, lanes: usize) -> Load {
        Load {
            now: 100 * MILLIS,
            busy: busy * MILLIS,
            lanes,
        }
    }

    /// A request of 5 ms that must end at `due` ms, with this much queued before it, in ms.
    fn verdict(due: u64, load: Load, all: u64, before: u64) -> Result<(), Refusal> {
        let ask = Ask {
            deadline: due * MILLIS,
            own: 5 * MILLIS,
            on_trial: false,
        };
        admit(ask, load, all * MILLIS, || before * MILLIS)
    }

    fn short(retry: Option<u64>) -> Result<(), Refusal> {
        let retry = retry.map(|ms| ms * MILLIS);
        Err(Refusal::CannotMeet { retry })
    }

    #[test]
    fn a_request_is_let_in_exactly_as_long_as_its_deadline_can_be_met() {
        assert_eq!(verdict(107, load(2, 1), 0, 0), Ok(()));
        assert_eq!(verdict(106, load(2, 1), 0, 0), short(Some(1)));
        assert_eq!(verdict(117, load(2, 1), 10, 10), Ok(()));
        assert_eq!(verdict(116, load(2, 1), 10, 10), short(Some(1)));
    }

    #[test]
    fn work_that_is_due_later_does_not_count_against_an_urgent_request() {
        assert_eq!(verdict(106, load(0, 1), 40, 0), Ok(()));
        assert_eq!(verdict(106, load(0, 1), 40, 2), short(Some(1)));
    }

    #[test]
    fn what_not_even_an_idle_server_could_answer_is_not_to_be_tried_again() {
        assert_eq!(verdict(104, load(0, 1), 0, 0), short(None));
        assert_eq!(verdict(100, load(0, 1), 0, 0), short(None));
        assert_eq!(verdict(99, load(0, 1), 0, 0), short(None));
    }

    #[test]
    fn lanes_share_the_work_that_is_queued() {
        assert_eq!(verdict(116, load(0, 1), 20, 20), short(Some(9)));
        assert_eq!(verdict(116, load(0, 2), 20, 20), Ok(()));
    }

    #[test]
    fn a_table_that_refuses_everything_is_put_to_the_test() {
        let ask = Ask {
            deadline: 101 * MILLIS,
            own: 5 * MILLIS,
            on_trial: true,
        };
        assert_eq!(admit(ask, load(0, 1), 0, || 0), Ok(()));
    }

    #[test]
    fn the_queue_is_counted_only_when_all_of_it_does_not_fit() {
        let counted = std::cell::Cell::new(false);
        let ask = Ask {
            deadline: 120 * MILLIS,
            own: MILLIS,
            on_trial: false,
        };
        let count = || {
            counted.set(true);
            0
        };
        assert_eq!(admit(ask, load(0, 1), 10 * MILLIS, count), Ok(()));
        assert!(!counted.get());
    }
}
