//! What an engine says of itself. It may change while the lane runs, as when a GPU takes over from
//! the CPU: the engine says so when it happens, and nobody asks it on the way of a request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

/// Name and version of what runs a model, and one sentence if that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub engine: String,
    pub note: Option<String>,
}

/// One lane's; written by its engine on any thread, read by whoever tells people.
pub struct Standing {
    said: ArcSwap<Said>,
    /// Whether the engine runs batches itself; else the data plane's ONNX Runtime does.
    ready: AtomicBool,
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Standing {
    pub fn new(engine: String) -> Arc<Self> {
        let said = Said { engine, note: None };
        Arc::new(Self {
            said: ArcSwap::from_pointee(said),
            ready: AtomicBool::new(true),
            on_change: OnceLock::new(),
        })
    }

    pub fn said(&self) -> Arc<Said> {
        self.said.load_full()
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Takes what an engine says now. Waits for nothing.
    pub fn change(&self, said: Said, ready: bool) {
        let before = self.said.swap(Arc::new(said));
        self.ready.store(ready, Ordering::Release);
        if *before != **self.said.load()
            && let Some(tell) = self.on_change.get()
        {
            tell();
        }
    }

    /// Says whom to tell of changes. Only the first call counts.
    pub fn on_change(&self, tell: Box<dyn Fn() + Send + Sync>) {
        let _ = self.on_change.set(tell);
    }
}

/// What the lanes of one model say: each thing once.
pub fn together(lanes: &[Arc<Standing>]) -> Said {
    let mut engines: Vec<String> = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    for said in lanes.iter().map(|lane| lane.said()) {
        let Said { engine, note } = &*said;
        if !engines.contains(engine) {
            engines.push(engine.clone());
        }
        notes.extend(note.clone().filter(|n| !notes.contains(n)));
    }
    Said {
        engine: engines.join(", "),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn said(engine: &str, note: &str) -> Said {
        Said {
            engine: engine.into(),
            note: (!note.is_empty()).then(|| note.into()),
        }
    }

    #[test]
    fn a_change_is_told_once_and_the_same_words_are_none() {
        let standing = Standing::new("a 1".into());
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        standing.on_change(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        standing.change(said("a 1", ""), true);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        standing.change(said("cpu", "a plan is being built"), false);
        assert!(!standing.is_ready());
        standing.change(said("a 1", ""), true);
        assert!(standing.is_ready());
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn lanes_that_agree_say_it_once() {
        let lanes = ["gpu", "cpu", "cpu"].map(|e| Standing::new(e.into()));
        lanes[1].change(said("cpu", "waits"), false);
        lanes[2].change(said("cpu", "waits"), false);
        assert_eq!(together(&lanes), said("gpu, cpu", "waits"));
    }
}
