//! The processes kept running beside the server, and the socket through which they ask: one exports
//! telemetry, one governs or follows another's governance. Nothing that speaks to the outside or
//! writes a ledger runs in the serving process. If one dies, serving goes on and it is started again.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

use super::log::event;
use super::{Server, http};
use crate::config::{Config, GovernanceSettings};

/// How long the process may take to send what it has when the server ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Of all of them; the programs themselves go no lower.
const NICE: libc::c_int = 8;

/// How the processes beside the server are started: program and arguments, those apart that the
/// settings decide.
#[derive(Debug, Default)]
pub struct Commands {
    pub telemetry: Vec<String>,
    pub governance: Vec<String>,
    pub follower: Vec<String>,
}

/// One process beside the server, as the status page tells it.
#[derive(Debug, Clone)]
struct Process {
    name: &'static str,
    running: bool,
    /// How often it was started.
    starts: u64,
    /// Why it does not run, or how it ended last.
    note: Option<String>,
}

/// The processes beside the server. Only status pages and minders look here, never a request.
#[derive(Debug, Default)]
pub struct Beside(Mutex<Vec<Process>>);

impl Beside {
    fn tell(&self, name: &'static str, running: bool, note: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|p| p.name == name) {
            Some(process) => {
                process.running = running;
                process.starts += u64::from(running);
                process.note = note.or_else(|| process.note.take());
            }
            None => all.push(Process {
                name,
                running,
                starts: u64::from(running),
                note,
            }),
        }
    }

    /// Of each process by its name whether it runs, how often it was started, how it ended last.
    pub fn told(&self) -> Value {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = all.iter().map(|p| {
            let told = json!({"running": p.running, "starts": p.starts, "note": p.note});
            (p.name.to_owned(), told)
        });
        Value::Object(told.collect())
    }

    /// A sentence for each process that does not run.
    pub fn down(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let down = all.iter().filter(|p| !p.running).map(|p| {
            let why = p.note.as_deref().unwrap_or("not started yet");
            format!("the {} process is down: {why}", p.name)
        });
        down.collect()
    }
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
        control
            .minders
            .push(Minder::of("telemetry", start, server)?);
    }
    // Without certificates it is started by somebody else, or not at all.
    let governance = config.governance.as_ref();
    if let Some(governance) = governance.filter(|g| !g.tls.as_os_str().is_empty()) {
        let (name, start) = if governance.follow.is_empty() {
            (
                "governance",
                governs(&commands.governance, governance, config),
            )
        } else {
            ("follower", follows(&commands.follower, governance))
        };
        if let Some(mut start) = start {
            start
                .arg("--socket")
                .arg(socket)
                .arg("--home")
                .arg(&governance.home)
                .arg("--models")
                .arg(&config.models)
                // It ends when it is not this process's child any more.
                .args(["--beside", &std::process::id().to_string()]);
            control.minders.push(Minder::of(name, start, server)?);
        }
    }
    Ok(control)
}

fn governs(words: &[String], settings: &GovernanceSettings, config: &Config) -> Option<Command> {
    let mut start = command(words)?;
    start
        .args(["--admin", &config.admin])
        .arg("--tls")
        .arg(&settings.tls);
    if !config.telemetry.otlp.is_empty() {
        exports(&mut start, config);
    }
    Some(start)
}

fn follows(words: &[String], settings: &GovernanceSettings) -> Option<Command> {
    let mut start = command(words)?;
    start.args(["--leader", &settings.follow]);
    for (flag, file) in [
        ("--cert", "client.pem"),
        ("--key", "client.key"),
        ("--ca", "ca.pem"),
    ] {
        start.arg(flag).arg(settings.tls.join(file));
    }
    Some(start)
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
    fn of(what: &'static str, command: Command, server: &Arc<Server>) -> Result<Self, String> {
        let server = Arc::clone(server);
        server.beside.tell(what, false, None);
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("minder".into())
            .spawn(move || mind(what, command, &stopped, &server.beside))
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
fn mind(what: &'static str, mut command: Command, stopped: &Receiver<()>, beside: &Beside) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        match command.spawn() {
            Ok(child) => {
                gives_way(&child);
                beside.tell(what, true, None);
                let Some(how) = watch(child, stopped) else {
                    return;
                };
                beside.tell(what, false, Some(how));
                event(
                    "control_ended",
                    &[
                        ("process", what.into()),
                        ("after_s", begun.elapsed().as_secs().into()),
                    ],
                );
            }
            Err(error) => {
                beside.tell(what, false, Some(format!("it cannot be started: {error}")));
                event(
                    "control_not_started",
                    &[
                        ("process", what.into()),
                        ("error", error.to_string().into()),
                    ],
                );
            }
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

/// Gives callers the core from the process's first instruction: what it loads takes a second, and one
/// that fails is started again and again.
fn gives_way(child: &Child) {
    // SAFETY: sets a number of our own child, which has not been waited for. Without the right to, it
    // runs as we do.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, child.id(), NICE) };
}

/// Waits for the process's end, and says how it ended; `None` after the word to stop.
fn watch(mut child: Child, stopped: &Receiver<()>) -> Option<String> {
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Some(format!("it ended with {status}")),
            Err(error) => return Some(format!("it was lost: {error}")),
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
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It had its time; if it is gone meanwhile there is nothing to end.
        let _ = child.kill();
        let _ = child.wait();
        return None;
    }
}
