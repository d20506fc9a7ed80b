//! The threads that turn texts into tokens, so that no I/O thread does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::executor::Tokens;
use crate::model::text::TextStage;
use crate::priority::{Computes, serve_promptly};

/// Requests that may wait to be tokenised: some tens of milliseconds of one thread's work.
const WAITING: usize = 1_024;

type Tokenised = Result<Vec<Tokens>, String>;

struct Task {
    stage: Arc<TextStage>,
    texts: Vec<Bytes>,
    done: oneshot::Sender<Tokenised>,
}

/// Threads end when this is dropped.
pub struct Tokenisers {
    tasks: SyncSender<Task>,
}

impl Tokenisers {
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let (tasks, waiting) = sync_channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for index in 0..threads {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new().name(format!("tokens-{index}"));
            thread.spawn(move || {
                serve_promptly();
                work(&waiting, &Computes::begin());
            })?;
        }
        Ok(Self { tasks })
    }

    /// Takes texts of valid UTF-8; what is returned becomes their tokens, one a text. `None` if
    /// more waits than can be.
    pub fn send(
        &self,
        stage: &Arc<TextStage>,
        texts: Vec<Bytes>,
    ) -> Option<oneshot::Receiver<Tokenised>> {
        let (done, tokenised) = oneshot::channel();
        let task = Task {
            stage: Arc::clone(stage),
            texts,
            done,
        };
        self.tasks.try_send(task).is_ok().then_some(tokenised)
    }
}

fn work(waiting: &Mutex<Receiver<Task>>, computes: &Computes) {
    loop {
        let task = computes.asleep(|| {
            waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv()
        });
        let Ok(task) = task else { return };
        if task.done.is_closed() {
            continue;
        }
        let all = || {
            task.texts
                .iter()
                .map(|text| one(&task.stage, text))
                .collect()
        };
        let tokens = catch_unwind(AssertUnwindSafe(all));
        let tokens = tokens.unwrap_or_else(|_| Err("the tokenizer panicked".into()));
        // Nobody waits any more: the caller went away.
        let _ = task.done.send(tokens);
    }
}

fn one(stage: &TextStage, text: &[u8]) -> Result<Tokens, String> {
    let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
    stage.tokens(text)
}
