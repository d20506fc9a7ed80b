//! The server: loads the repository, opens the doors, serves until told to stop, drains.

mod accepting;
mod answer;
mod budget;
mod call;
mod callers;
mod canary;
mod coalesced;
mod command;
mod connection;
pub mod control;
mod feedback;
mod health;
mod http;
mod infer;
mod lifecycle;
mod loading;
pub(crate) mod log;
mod logging;
mod metadata;
mod parts;
mod reflection;
mod repository;
mod shadowing;
mod statistics;
mod stream;
mod succession;
pub mod table;
mod tls;
mod tokenise;

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, IoModel};
use crate::decisions::{self, Log};
use crate::executor::{Executor, Port};
use crate::metrics::Metrics;
use crate::model::gate::MaybeGate;
use crate::model::repository::scan;
use crate::priority::{falls_asleep, serve_promptly, serve_with, wakes_up};
use crate::trace::Tracer;
use crate::wire::status::Status;
use accepting::{Peer, accept_loop};
use budget::Budget;
use call::Call;
use callers::{Callers, Rights};
use lifecycle::{Command, Lifecycle};
use table::Table;
use tokenise::Tokenisers;

/// Everything that calls share.
pub struct Server {
    pub config: Config,
    /// Who permits models; nobody where unsigned ones are served.
    pub gate: MaybeGate,
    pub table: ArcSwap<Table>,
    pub executor: Arc<Executor>,
    pub metrics: Metrics,
    pub tracer: Tracer,
    /// Where a sample of what is answered is written down; most servers have none.
    pub decisions: Option<Arc<Log>>,
    pub ports: Vec<Arc<Port>>,
    pub lifecycle: Lifecycle,
    pub tokenisers: Tokenisers,
    /// How the processes beside it fare.
    pub beside: control::Beside,
    /// Memory for unfinished messages.
    pub unread: Arc<Budget>,
    callers: ArcSwap<Callers>,
    /// How to speak TLS; without it the gRPC door speaks in the clear.
    tls: ArcSwapOption<rustls::ServerConfig>,
    /// Grows with every change that health might depend on.
    pub health: watch::Sender<u64>,
    stage: watch::Sender<Stage>,
}

/// How far the server is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Serving,
    /// It serves, and tells load balancers to go elsewhere.
    LameDuck,
    /// It finishes what it has begun.
    Draining,
}

impl Server {
    /// Every model of the repository is loaded and the server is not draining.
    pub fn ready(&self) -> bool {
        let table = self.table.load();
        !self.is_leaving() && table.live().next().is_some() && table.failures().next().is_none()
    }

    /// On its way out: lame duck or draining.
    pub fn is_leaving(&self) -> bool {
        *self.stage.borrow() > Stage::Serving
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Who makes this call.
    fn rights(&self, call: &Call, peer: &Peer) -> Result<Arc<Rights>, Status> {
        let callers = self.callers.load();
        callers.find(call.authorization(), &peer.names).cloned()
    }

    /// Takes callers and certificates from a configuration, for connections from now on.
    ///
    /// # Errors
    /// A sentence; then everything stays as it was.
    fn admit_by(&self, config: &Config) -> Result<(), String> {
        let tls = config.tls.as_ref().map(tls::server_config).transpose()?;
        if self.config.tls.is_some() && tls.is_none() {
            return Err("[tls] cannot be taken away while the server runs".into());
        }
        let expires = config.tls.as_ref().and_then(tls::expires_at);
        self.metrics.certificate_expires.set(expires.unwrap_or(0));
        self.tls.store(tls);
        self.callers.store(Arc::new(Callers::new(&config.caller)));
        Ok(())
    }

    fn enter(&self, stage: Stage) {
        self.stage.send_replace(stage);
        self.health.send_modify(|changes| *changes += 1);
    }

    /// Changes when the server begins to drain.
    pub fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}

/// Why a server did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartError {
    /// The command line or the configuration is wrong.
    Usage(String),
    /// A door could not be opened.
    Door(String),
    /// No model could be loaded.
    Models(String),
}

/// A server that runs.
pub struct Running {
    pub server: Arc<Server>,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    io: Vec<IoThread>,
    accept: Runtime,
    control: control::Control,
    steward: JoinHandle<()>,
    decisions: Option<decisions::Running>,
    signals: mpsc::Receiver<Signal>,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Stop,
    Reload,
}

struct IoThread {
    handle: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Loads the models and opens the doors.
///
/// `commands` start the processes beside it, which are kept running if there is something for them
/// to do. A `gate` decides which models are loaded.
pub fn start(
    config: Config,
    commands: control::Commands,
    gate: MaybeGate,
) -> Result<Running, StartError> {
    config.check().map_err(StartError::Usage)?;
    keep_memory();
    // A repository that cannot be read is said before anything else.
    scan(&config.models).map_err(StartError::Usage)?;
    // Both doors are taken first: a port in use is said before time is spent on models. HTTP
    // answers while they load; gRPC refuses connections until there is something to call.
    let grpc = bind(&config.grpc)?;
    let http = bind(&config.http)?;
    let door = |e: std::io::Error| StartError::Door(e.to_string());
    let ports = match config.io_model {
        IoModel::PerThread => config.io_threads,
        IoModel::WorkStealing => 1,
    };
    let ports: Vec<Arc<Port>> = (0..ports).map(|_| Arc::default()).collect();
    // Spans that nobody fetches are not worth keeping.
    let traced = (!config.telemetry.otlp.is_empty()).then_some(config.telemetry.trace_ratio);
    let tracer = Tracer::new(traced);
    let counters = decisions::Counters::default();
    let log = config.decision_log.as_ref();
    let log = log.map(|log| decisions::start(log, ports.len(), &counters));
    let (log, log_thread) = log.transpose().map_err(StartError::Usage)?.unzip();
    let server = Arc::new(Server {
        table: ArcSwap::default(),
        executor: Executor::start(config.lanes, ports.clone()).map_err(StartError::Door)?,
        metrics: Metrics::new(config.telemetry.metrics, tracer.dropped.clone(), &counters),
        tracer,
        decisions: log,
        ports,
        lifecycle: Lifecycle::default(),
        tokenisers: Tokenisers::start(config.tokenizer_threads).map_err(door)?,
        beside: control::Beside::default(),
        unread: Budget::new(config.max_unread_bytes),
        callers: ArcSwap::from_pointee(Callers::new(&BTreeMap::new())),
        tls: ArcSwapOption::empty(),
        health: watch::Sender::new(0),
        stage: watch::Sender::new(Stage::Serving),
        config,
        gate,
    });
    server.admit_by(&server.config).map_err(StartError::Usage)?;
    let mut accept = Builder::new_multi_thread();
    accept.worker_threads(1).thread_name("accept").enable_all();
    let accept = accept.build().map_err(door)?;
    let signals = catch_signals(&accept).map_err(door)?;
    let (http, http_address) = listen(&accept, http).map_err(door)?;
    accept.spawn(http::serve(Arc::clone(&server), http));
    let control = control::start(&server, &accept, commands).map_err(StartError::Door)?;

    let table = loading::load_all(&server).map_err(StartError::Usage)?;
    // Under governance the first model comes by promotion.
    if server.gate.is_none() {
        is_useful(&server.config, &table)?;
    }
    server.table.store(Arc::new(table));
    let steward = lifecycle::start(&server).map_err(door)?;

    let io = start_io(&server).map_err(door)?;
    let (grpc, grpc_address) = listen(&accept, grpc).map_err(door)?;
    let handles: Vec<Handle> = io.iter().map(|t| t.handle.clone()).collect();
    accept.spawn(accept_loop(Arc::clone(&server), grpc, handles));
    Ok(Running {
        server,
        grpc: grpc_address,
        http: http_address,
        io,
        accept,
        control,
        steward,
        decisions: log_thread,
        signals,
    })
}

/// Tells the allocator to keep what it has. Giving memory back to the system and taking it again
/// locks the process's map, and a thread of low priority that loads a model may be taken off its
/// core while it holds that lock.
fn keep_memory() {
    const KEPT: libc::c_int = 64 << 20;
    // SAFETY: sets two numbers of the allocator, before any thread of ours runs.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Sends a message for each SIGTERM, SIGINT and SIGHUP from here on.
fn catch_signals(runtime: &Runtime) -> std::io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel();
    let _guard = runtime.enter();
    for (kind, asks) in [
        (SignalKind::terminate(), Signal::Stop),
        (SignalKind::interrupt(), Signal::Stop),
        (SignalKind::hangup(), Signal::Reload),
    ] {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        runtime.spawn(async move {
            while signal.recv().await.is_some() && sender.send(asks).is_ok() {}
        });
    }
    Ok(receiver)
}

/// Takes a door without opening it.
fn bind(door: &str) -> Result<Socket, StartError> {
    let usage = || StartError::Usage(format!("'{door}' is not HOST:PORT"));
    let address = door
        .to_socket_addrs()
        .map_err(|_| usage())?
        .next()
        .ok_or_else(usage)?;
    let take = || -> std::io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    take().map_err(|e| StartError::Door(format!("cannot listen on {door}: {e}")))
}

/// Opens it.
fn listen(runtime: &Runtime, socket: Socket) -> std::io::Result<(TcpListener, SocketAddr)> {
    socket.listen(1024)?;
    let _guard = runtime.enter();
    let listener = TcpListener::from_std(socket.into())?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Whether there is anything to serve.
fn is_useful(config: &Config, table: &Table) -> Result<(), StartError> {
    if table.live().next().is_some() {
        return Ok(());
    }
    let failures: Vec<String> = table.failures().map(|(n, e)| format!("{n}: {e}")).collect();
    let models = config.models.display();
    Err(StartError::Models(match failures.is_empty() {
        true => format!(
            "{models} holds no model (expected NAME/N/{})",
            crate::model::directory::MANIFEST
        ),
        false => format!(
            "no model of {models} could be loaded: {}",
            failures.join("; ")
        ),
    }))
}

/// Starts the runtimes that speak gRPC, each with the pump of its port.
fn start_io(server: &Arc<Server>) -> std::io::Result<Vec<IoThread>> {
    let mut threads = Vec::new();
    for index in 0..server.ports.len() {
        let mut builder = match server.config.io_model {
            IoModel::PerThread => Builder::new_current_thread(),
            IoModel::WorkStealing => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(server.config.io_threads);
                builder
            }
        };
        serve_with(match server.config.io_model {
            IoModel::PerThread => 1,
            IoModel::WorkStealing => server.config.io_threads,
        });
        let runtime = builder
            .thread_name(format!("io-{index}"))
            .on_thread_start(serve_promptly)
            .on_thread_park(falls_asleep)
            .on_thread_unpark(wakes_up)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let spin = server.config.io_spin();
        handle.spawn(Arc::clone(&server.ports[index]).pump(Arc::clone(&server.executor), spin));
        if index == 0 {
            handle.spawn(Arc::clone(&server.executor).reap());
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("io-{index}"));
        let thread = thread.spawn(move || {
            serve_promptly();
            // A dropped sender stops the thread too.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(Duration::from_millis(200));
        })?;
        threads.push(IoThread {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        });
    }
    Ok(threads)
}

/// Ready once the server drains.
async fn drained(stage: &mut watch::Receiver<Stage>) {
    // An error means that the server is gone, which is the same.
    let _ = stage.wait_for(|s| *s == Stage::Draining).await;
}

impl Running {
    /// What the ready line says.
    pub fn describe(&self) -> Value {
        let mut status = http::status(&self.server);
        status["grpc"] = self.grpc.to_string().into();
        status["http"] = self.http.to_string().into();
        status
    }

    /// Blocks until SIGTERM or SIGINT, also one that came before this call. At SIGHUP settings are
    /// read anew, and the repository is looked at.
    pub fn wait_for_signal(&self, reread: impl Fn() -> Result<Config, String>) {
        // An error would mean that every sender is gone: time to stop as well.
        while let Ok(Signal::Reload) = self.signals.recv() {
            match reread() {
                Ok(config) => {
                    let lifecycle = &self.server.lifecycle;
                    lifecycle.send(Command::Configure(Box::new(config)));
                }
                Err(error) => log::event("configuration_refused", &[("error", error.into())]),
            }
        }
    }

    /// Says not-ready for `lame_duck_seconds` while it still serves; then stops accepting, lets
    /// calls in flight end (at most `drain_seconds`), ends the threads. A second signal cuts the
    /// lame-duck time short. Returns the number of calls that were cut off.
    pub fn drain(mut self) -> i64 {
        let server = &self.server;
        server.enter(Stage::LameDuck);
        let lame_duck = Duration::from_secs(server.config.lame_duck_seconds);
        let begun = std::time::Instant::now();
        while let Some(left) = lame_duck.checked_sub(begun.elapsed()) {
            if let Ok(Signal::Stop) = self.signals.recv_timeout(left) {
                break;
            }
        }
        server.enter(Stage::Draining);
        server.lifecycle.send(Command::Stop);
        let limit = crate::clock::now() + server.config.drain_seconds * crate::clock::SECONDS;
        let pending = || -> i64 {
            let table = server.table.load();
            table.live().map(|m| m.metrics.pending.get()).sum()
        };
        while pending() + server.metrics.connections.get() > 0 && crate::clock::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        let cut = pending();
        server.executor.close();
        for thread in &mut self.io {
            drop(thread.stop.take());
        }
        for thread in &mut self.io {
            if let Some(thread) = thread.thread.take() {
                let _ = thread.join();
            }
        }
        if let (Some(thread), Some(log)) = (self.decisions.take(), &server.decisions) {
            thread.stop(log);
        }
        // The last spans are fetched before the socket is gone.
        self.control.stop();
        self.accept.shutdown_timeout(Duration::from_millis(200));
        // It may be loading something: the process ends without waiting for that.
        drop(self.steward);
        cut
    }
}
