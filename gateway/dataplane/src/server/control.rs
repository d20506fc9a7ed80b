//! The control process: kept running beside the server, and the socket through which it asks.
//!
//! It exports telemetry, so that nothing which speaks to the outside runs in the serving process.
//! If it dies, serving goes on and it is started again.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::runtime::Runtime;

use super::log::event;
use super::{Server, http};

/// How long the process may take to send what it has when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The process's minder; stopping it stops the process.
#[derive(Default)]
pub struct Control {
    stop: Option<Sender<()>>,
    minder: Option<JoinHandle<()>>,
}

/// Opens the socket, if settings name one, and starts the process, if it has something to do.
pub fn start(
    server: &Arc<Server>,
    runtime: &Runtime,
    command: Vec<String>,
) -> Result<Control, String> {
    let socket = &server.config.control_socket;
    if socket.as_os_str().is_empty() {
        return Ok(Control::default());
    }
    let listener = {
        let _guard = runtime.enter();
        listen(socket).map_err(|e| format!("control socket {}: {e}", socket.display()))?
    };
    runtime.spawn(http::serve_control(Arc::clone(server), listener));
    let Some((program, arguments)) = command.split_first() else {
        return Ok(Control::default());
    };
    if server.config.telemetry.otlp.is_empty() {
        return Ok(Control::default());
    }
    let telemetry = &server.config.telemetry;
    let mut start = Command::new(program);
    start
        .args(arguments)
        .arg("--socket")
        .arg(socket)
        .args(["--otlp", &telemetry.otlp])
        .args(["--every", &telemetry.export_seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let (stop, stopped) = channel();
    let minder = std::thread::Builder::new()
        .name("minder".into())
        .spawn(move || mind(start, &stopped))
        .map_err(|e| format!("no thread for the control process: {e}"))?;
    Ok(Control {
        stop: Some(stop),
        minder: Some(minder),
    })
}

/// Takes the socket's place; only a socket that nobody listens at is taken away.
fn listen(socket: &Path) -> std::io::Result<UnixListener> {
    if let Ok(there) = fs::symlink_metadata(socket) {
        let dead = there.file_type().is_socket()
            && std::os::unix::net::UnixStream::connect(socket).is_err();
        if dead {
            fs::remove_file(socket)?;
        }
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Control {
    /// Ends the process and waits for it, `LAST_WORDS` at most.
    pub fn stop(self) {
        drop(self.stop);
        if let Some(minder) = self.minder {
            // The minder has nothing to tell.
            let _ = minder.join();
        }
    }
}

/// Starts the process and starts it again when it ends, later each time it fails soon.
fn mind(mut command: Command, stopped: &Receiver<()>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        match command.spawn() {
            Ok(child) => {
                if !watch(child, stopped) {
                    return;
                }
                event(
                    "control_ended",
                    &[("after_s", begun.elapsed().as_secs().into())],
                );
            }
            Err(error) => event(
                "control_not_started",
                &[("error", error.to_string().into())],
            ),
        }
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits for the process's end or for the word to stop; false for the latter.
fn watch(mut child: Child, stopped: &Receiver<()>) -> bool {
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return true,
        }
        if stopped.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout) {
            continue;
        }
        if let Ok(id) = i32::try_from(child.id()) {
            // SAFETY: a signal to our own child, which has not been waited for, so the number is
            // still its own.
            unsafe { libc::kill(id, libc::SIGTERM) };
        }
        let until = Instant::now() + LAST_WORDS;
        while Instant::now() < until {
            if !matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It had its time; if it is gone meanwhile there is nothing to end.
        let _ = child.kill();
        let _ = child.wait();
        return false;
    }
}
