//! A connection and its socket: connecting, reading and writing without blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::connection::Connection;
use crate::messages::Requests;
use crate::outcome::Finished;

/// Why a connection ended, in a few words that many requests may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended(pub Rc<str>);

impl Ended {
    fn because(reason: &str) -> Self {
        Self(reason.into())
    }

    fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset => Self::because("connection reset"),
            ErrorKind::BrokenPipe => Self::because("connection closed"),
            ErrorKind::ConnectionRefused => Self::because("connection refused"),
            _ => Self(error.to_string().into()),
        }
    }
}

enum State {
    Connecting,
    Open,
}

pub struct Link {
    socket: TcpStream,
    state: State,
    /// The socket's buffer was full at the last write.
    blocked: bool,
    pub connection: Connection,
}

impl Link {
    /// Begins to connect; `writable` tells when that has ended.
    pub fn connect(
        to: SocketAddr,
        requests: Rc<Requests>,
        cap: usize,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, Ended> {
        let mut socket = TcpStream::connect(to).map_err(|error| Ended::from_io(&error))?;
        registry
            .register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| Ended::from_io(&error))?;
        let connection = Connection::new(requests, cap);
        Ok(Self {
            socket,
            state: State::Connecting,
            blocked: true,
            connection,
        })
    }

    /// The peer has answered the preface: requests may follow.
    pub fn ready(&self) -> bool {
        matches!(self.state, State::Open) && self.connection.greeted()
    }

    pub fn has_room(&self) -> bool {
        !self.blocked && self.connection.has_room()
    }

    /// The socket can be written again, or the attempt to connect has ended.
    pub fn writable(&mut self) -> Result<(), Ended> {
        if let State::Connecting = self.state {
            if let Some(error) = self.socket.take_error().map_err(|e| Ended::from_io(&e))? {
                return Err(Ended::from_io(&error));
            }
            match self.socket.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(Ended::from_io(&error)),
            }
            self.socket
                .set_nodelay(true)
                .map_err(|error| Ended::from_io(&error))?;
            self.state = State::Open;
        }
        self.blocked = false;
        self.flush()
    }

    /// Writes what waits, in one call if the socket takes it.
    pub fn flush(&mut self) -> Result<(), Ended> {
        while !self.blocked && !self.connection.to_write().is_empty() {
            match self.socket.write(self.connection.to_write()) {
                Ok(0) => return Err(Ended::because("connection closed")),
                Ok(bytes) => self.connection.written(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Ended::from_io(&error)),
            }
        }
        Ok(())
    }

    /// Reads once; the number of bytes is 0 when there are none now.
    pub fn read(&mut self) -> Result<usize, Ended> {
        loop {
            match self.socket.read(self.connection.read_space()) {
                Ok(0) => return Err(Ended::because("connection closed")),
                Ok(bytes) => return Ok(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Ended::from_io(&error)),
            }
        }
    }

    /// Handles the bytes just read and appends the requests that they finish.
    pub fn handle(&mut self, bytes: usize, done: &mut Vec<Finished>) -> Result<(), Ended> {
        self.connection.received(bytes, done).map_err(|violation| {
            // Best effort: the peer learns the reason if its buffer has room.
            let _ = self.flush();
            Ended(format!("protocol error: {}", violation.what).into())
        })
    }
}
