//! The processes kept running beside the server, and the socket through which they ask: one exports
//! telemetry, one governs. Nothing that speaks to the outside or writes a ledger runs in the serving
//! process. If one dies, serving goes on and it is started again.

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
use crate::config::Config;

/// How long the process may take to send what it has when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How the processes beside the server are started: program and arguments, those apart that the
/// settings decide.
#[derive(Debug, Default)]
pub struct Commands {
    pub telemetry: Vec<String>,
    pub governance: Vec<String>,
}

/// One process's minder; stopping it stops the process.
struct Minder {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// The processes' minders.
#[derive(Default)]
pub struct Control {
    minders: Vec<Minder>,
}

/// Opens the socket, if settings name one, and starts the processes that have something to do.
pub fn start(
    server: &Arc<Server>,
    runtime: &Runtime,
    commands: Commands,
) -> Result<Control, String> {
    let config = &server.config;
    let socket = &config.control_socket;
    if socket.as_os_str().is_empty() {
        return Ok(Control::default());
    }
    let listener = {
        let _guard = runtime.enter();
        listen(socket).map_err(|e| format!("control socket {}: {e}", socket.display()))?
    };
    runtime.spawn(http::serve_control(Arc::clone(server), listener));
    let mut control = Control::default();
    if let (Some(mut start), false) = (
        command(&commands.telemetry),
        config.telemetry.otlp.is_empty(),
    ) {
        start.arg("--socket").arg(socket);
        exports(&mut start, config);
        control.minders.push(Minder::of("telemetry", start)?);
    }
    // Without certificates for its door it is started by somebody else, or not at all.
    let governance = config.governance.as_ref();
    let governance = governance.filter(|g| !g.tls.as_os_str().is_empty());
    if let (Some(mut start), Some(governance)) = (command(&commands.governance), governance) {
        start
            .arg("--socket")
            .arg(socket)
            .arg("--home")
            .arg(&governance.home)
            .arg("--models")
            .arg(&config.models)
            .args(["--admin", &config.admin])
            .arg("--tls")
            .arg(&governance.tls);
        if !config.telemetry.otlp.is_empty() {
            exports(&mut start, config);
        }
        control.minders.push(Minder::of("governance", start)?);
    }
    Ok(control)
}

/// Where a process exports what it counts, and how often.
fn exports(start: &mut Command, config: &Config) {
    let every = config.telemetry.export_seconds.to_string();
    start
        .args(["--otlp", &config.telemetry.otlp])
        .args(["--every", &every]);
}

fn command(words: &[String]) -> Option<Command> {
    let (program, arguments) = words.split_first()?;
    let mut start = Command::new(program);
    start
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Some(start)
}

impl Minder {
    fn of(what: &'static str, command: Command) -> Result<Self, String> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("minder".into())
            .spawn(move || mind(what, command, &stopped))
            .map_err(|e| format!("no thread for the {what} process: {e}"))?;
        Ok(Self { stop, thread })
    }
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
    /// Ends the processes and waits for them, `LAST_WORDS` at most.
    pub fn stop(self) {
        let threads = self.minders.into_iter().map(|minder| {
            drop(minder.stop);
            minder.thread
        });
        // All are told before the first is waited for.
        for thread in threads.collect::<Vec<_>>() {
            // A minder has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// Starts the process and starts it again when it ends, later each time it fails soon.
fn mind(what: &str, mut command: Command, stopped: &Receiver<()>) {
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
                    &[
                        ("process", what.into()),
                        ("after_s", begun.elapsed().as_secs().into()),
                    ],
                );
            }
            Err(error) => event(
                "control_not_started",
                &[
                    ("process", what.into()),
                    ("error", error.to_string().into()),
                ],
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
