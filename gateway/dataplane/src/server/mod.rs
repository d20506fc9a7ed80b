//! The server: loads the repository, opens the doors, serves until told to stop, drains.

mod call;
mod coalesced;
mod connection;
mod health;
mod http;
mod infer;
mod metadata;
pub mod table;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, IoModel};
use crate::executor::{Executor, NewModel, Port};
use crate::metrics::Metrics;
use crate::model::load::load;
use crate::model::repository::{Version, latest, scan};
use crate::sched::admission::Limits;
use crate::wire::response::Template;
use table::{Entry, Model, Table};

/// Everything that calls share.
pub struct Server {
    pub config: Config,
    pub table: ArcSwap<Table>,
    pub executor: Arc<Executor>,
    pub metrics: Metrics,
    pub ports: Vec<Arc<Port>>,
    draining: watch::Sender<bool>,
}

impl Server {
    /// Every model of the repository is loaded and the server is not draining.
    pub fn ready(&self) -> bool {
        let table = self.table.load();
        !self.is_draining() && table.live().next().is_some() && table.failures().next().is_none()
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Changes when the server begins to drain.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
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
    /// One message for each signal to stop.
    stop: mpsc::Receiver<()>,
}

struct IoThread {
    handle: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Loads the models and opens the doors.
pub fn start(config: Config) -> Result<Running, StartError> {
    config.check().map_err(StartError::Usage)?;
    let versions = scan(&config.models).map_err(StartError::Usage)?;
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
    let server = Arc::new(Server {
        table: ArcSwap::default(),
        executor: Executor::start(config.lanes, ports.clone()).map_err(StartError::Door)?,
        metrics: Metrics::default(),
        ports,
        draining: watch::Sender::new(false),
        config,
    });
    let mut accept = Builder::new_multi_thread();
    accept.worker_threads(1).thread_name("accept").enable_all();
    let accept = accept.build().map_err(door)?;
    let stop = catch_signals(&accept).map_err(door)?;
    let (http, http_address) = listen(&accept, http).map_err(door)?;
    accept.spawn(http::serve(Arc::clone(&server), http));

    server
        .table
        .store(Arc::new(load_all(&server, latest(versions))?));

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
        stop,
    })
}

/// Sends a message for each SIGTERM and SIGINT from here on.
fn catch_signals(runtime: &Runtime) -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let _guard = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        runtime.spawn(
            async move { while signal.recv().await.is_some() && sender.send(()).is_ok() {} },
        );
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

fn load_all(server: &Server, versions: Vec<Version>) -> Result<Table, StartError> {
    let Server {
        config,
        executor,
        metrics,
        ..
    } = server;
    let mut table = Table::default();
    for version in versions {
        let entry = match load_one(config, &version, executor, metrics) {
            Ok(model) => Entry::Live(Arc::new(model)),
            Err(error) => Entry::Failed {
                version: version.version.to_string(),
                error,
            },
        };
        table.entries.insert(version.name, entry);
    }
    if table.live().next().is_none() {
        let failures: Vec<String> = table.failures().map(|(n, e)| format!("{n}: {e}")).collect();
        let models = config.models.display();
        return Err(StartError::Models(match failures.is_empty() {
            true => format!(
                "{models} holds no model (expected NAME/N/{})",
                crate::model::directory::MANIFEST
            ),
            false => format!(
                "no model of {models} could be loaded: {}",
                failures.join("; ")
            ),
        }));
    }
    Ok(table)
}

fn load_one(
    config: &Config,
    version: &Version,
    executor: &Executor,
    metrics: &Metrics,
) -> Result<Model, String> {
    let settings = config.settings(&version.name);
    let loaded = load(&version.path, config.lanes, settings.max_batch)?;
    let number = version.version.to_string();
    let contract = loaded.verified.contract;
    let template = Template::new(
        &version.name,
        &number,
        &loaded.report.digest,
        &contract.outputs,
    );
    let model_metrics = metrics.model(&version.name, &number, settings.max_batch);
    let id = executor.add(NewModel {
        contract: contract.clone(),
        lanes: loaded.lanes,
        cost: loaded.cost,
        limits: Limits {
            max_batch: loaded.max_batch,
            queue_rows: settings.queue_rows,
        },
        wait: settings.wait(),
        metrics: Arc::clone(&model_metrics),
    });
    Ok(Model {
        id,
        name: version.name.clone(),
        version: number,
        contract,
        template,
        max_batch: loaded.max_batch,
        objective: settings.objective(),
        metrics: model_metrics,
        report: loaded.report,
    })
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
        let runtime = builder
            .thread_name(format!("io-{index}"))
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

/// No delay for small answers; a peer that is gone without a word is noticed within a minute.
fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30));
    socket.set_tcp_keepalive(&keepalive.with_interval(Duration::from_secs(10)))
}

/// Ready once the server drains.
async fn drained(draining: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is the same.
    let _ = draining.wait_for(|d| *d).await;
}

/// Deals connections out to the I/O runtimes in turn.
async fn accept_loop(server: Arc<Server>, listener: TcpListener, io: Vec<Handle>) {
    let mut draining = server.changes();
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // New connections are refused from here on.
            () = drained(&mut draining) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: give others time to close.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let (server, port) = (Arc::clone(&server), turn % io.len());
        turn += 1;
        let draining = server.changes();
        io[port].spawn(async move {
            let Ok(stream) = TcpStream::from_std(stream) else {
                return;
            };
            if set_options(&stream).is_ok() {
                connection::serve(server, coalesced::Coalesced(stream), port, draining).await;
            }
        });
    }
}

impl Running {
    /// What the ready line says.
    pub fn describe(&self) -> Value {
        let mut status = http::status(&self.server);
        status["grpc"] = self.grpc.to_string().into();
        status["http"] = self.http.to_string().into();
        status
    }

    /// Blocks until SIGTERM or SIGINT, also one that came before this call.
    pub fn wait_for_signal(&self) {
        // An error would mean that every sender is gone: time to stop as well.
        let _ = self.stop.recv();
    }

    /// Stops accepting, lets calls in flight end (at most `drain_seconds`), ends the threads.
    /// Returns the number of calls that were cut off.
    pub fn drain(mut self) -> i64 {
        let server = &self.server;
        server.draining.send_replace(true);
        let limit = crate::clock::now() + server.config.drain_seconds * crate::clock::SECONDS;
        let left = || -> i64 {
            let table = server.table.load();
            let pending: i64 = table.live().map(|m| m.metrics.pending.get()).sum();
            pending + server.metrics.connections.get()
        };
        while left() > 0 && crate::clock::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        let cut = server
            .table
            .load()
            .live()
            .map(|m| m.metrics.pending.get())
            .sum();
        server.executor.close();
        for thread in &mut self.io {
            drop(thread.stop.take());
        }
        for thread in &mut self.io {
            if let Some(thread) = thread.thread.take() {
                let _ = thread.join();
            }
        }
        self.accept.shutdown_timeout(Duration::from_millis(200));
        cut
    }
}
