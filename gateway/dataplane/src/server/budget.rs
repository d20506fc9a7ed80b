//! What unfinished messages and unread answers may take of memory, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::wire::status::{Code, Retry, Status};

/// A message of up to this many bytes is not counted: most are, and they arrive whole.
const SMALL: usize = 64 << 10;

#[derive(Debug)]
pub struct Budget {
    taken: AtomicUsize,
    most: usize,
}

/// A part of the budget; given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            most,
        })
    }

    pub fn share(self: &Arc<Self>) -> Share {
        Share {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Share {
    /// Counts a message that has grown to `bytes`.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if that is more than there is.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Status> {
        if bytes <= SMALL {
            return Ok(());
        }
        let more = bytes.saturating_sub(self.bytes);
        self.bytes = bytes.max(self.bytes);
        if self.budget.taken.fetch_add(more, Relaxed) + more > self.budget.most {
            let text = "the server holds too many unfinished messages";
            let status = Status::new(Code::ResourceExhausted, text);
            return Err(status.retry(Retry::After(100)));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_messages_share_a_budget_and_give_it_back() {
        let budget = Budget::new(300 << 10);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(first.grow(200 << 10).is_ok());
        assert!(second.grow(SMALL).is_ok(), "small ones are not counted");
        assert!(second.grow(150 << 10).is_err());
        drop(second);
        assert!(budget.share().grow(90 << 10).is_ok());
        assert!(first.grow(310 << 10).is_err());
        drop(first);
        assert_eq!(budget.taken.load(Relaxed), 0);
    }
}
