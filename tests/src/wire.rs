//! Both ends of one connection, scripted byte by byte by one thread: what is on the wire, in which pieces and in which
//! order, is exactly what the script says, and the other end reads each piece as it comes.

use std::os::fd::AsFd as _;
use std::time::Duration;

use crate::clock::now_ns;
use crate::rows::Bytes;
use crate::socket::Socket;
use crate::ways::{SEND, Way};

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client sends these bytes, the server reads them.
    Client(Vec<u8>),
    /// The server sends these bytes, the client reads them.
    Server(Vec<u8>),
    /// The client sends these bytes and nobody reads them yet: the next step of the same kind that is read gets all.
    ClientUnread(Vec<u8>),
    /// The server sends these bytes and nobody reads them yet.
    ServerUnread(Vec<u8>),
    /// Nothing for a while.
    Pause(Duration),
    /// The client ends its sending side; the server sees the end.
    ClientHalfClose,
    /// The server ends its sending side; the client sees the end.
    ServerHalfClose,
    /// The client closes; the server sees the end.
    ClientClose,
    /// The server closes; the client sees the end.
    ServerClose,
    /// The client closes with a RST; the server's read fails.
    ClientReset,
    /// The server closes with a RST; the client's read fails.
    ServerReset,
    /// Calls what the test wants to happen here (the agent starts).
    Mark,
}

/// A script being played.
#[derive(Debug)]
pub struct Wire {
    client: Option<Socket>,
    server: Option<Socket>,
    client_way: Way,
    server_way: Way,
    /// Bytes sent by the client that the server has not read, and the other way round.
    unread: (usize, usize),
    moved: Moved,
}

/// What went over the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that the server read and wrote, each side as the server saw them.
    pub server: Bytes,
    /// Bytes that the client read and wrote.
    pub client: Bytes,
    /// When each step was done.
    pub done_ns: Vec<u64>,
}

impl Wire {
    /// Between the two ends of a new connection, client first.
    ///
    /// # Panics
    /// If a read limit cannot be set.
    pub fn new((client, server): (Socket, Socket)) -> Self {
        for socket in [&client, &server] {
            socket
                .set_timeout(Duration::from_secs(30))
                .expect("a socket can have a read limit");
        }
        Self {
            client: Some(client),
            server: Some(server),
            client_way: SEND,
            server_way: SEND,
            unread: (0, 0),
            moved: Moved::default(),
        }
    }

    /// The same with other system calls.
    #[must_use]
    pub fn ways(mut self, client: Way, server: Way) -> Self {
        self.client_way = client;
        self.server_way = server;
        self
    }

    /// Plays the script to its end; then the client closes if nobody has.
    ///
    /// # Panics
    /// If an end does not read what the other sent.
    #[track_caller]
    pub fn play(self, steps: &[Step]) -> Moved {
        self.play_with(steps, || ())
    }

    /// [`Self::play`] with something to do at [`Step::Mark`].
    ///
    /// # Panics
    /// If an end does not read what the other sent.
    #[track_caller]
    pub fn play_with(mut self, steps: &[Step], mut mark: impl FnMut()) -> Moved {
        for step in steps {
            match step {
                Step::Mark => mark(),
                other => self.step(other),
            }
            self.moved.done_ns.push(now_ns());
        }
        if self.client.is_some() && self.server.is_some() {
            self.step(&Step::ClientClose);
        }
        self.moved
    }

    #[track_caller]
    fn step(&mut self, step: &Step) {
        match step {
            Step::Client(bytes) => {
                self.client_sends(bytes);
                self.server_reads();
            }
            Step::Server(bytes) => {
                self.server_sends(bytes);
                self.client_reads();
            }
            Step::ClientUnread(bytes) => self.client_sends(bytes),
            Step::ServerUnread(bytes) => self.server_sends(bytes),
            Step::Pause(time) => std::thread::sleep(*time), // scripted silence on the wire
            Step::ClientHalfClose => {
                self.client()
                    .half_close()
                    .expect("an open connection can be half closed");
                sees_the_end(self.server());
            }
            Step::ServerHalfClose => {
                self.server()
                    .half_close()
                    .expect("an open connection can be half closed");
                sees_the_end(self.client());
            }
            Step::ClientClose => {
                self.client = None;
                sees_the_end(self.server());
            }
            Step::ServerClose => {
                self.server = None;
                sees_the_end(self.client());
            }
            Step::ClientReset => {
                let client = self.client.take().expect("the script closes each end once");
                client.reset().expect("a connection can be reset");
                sees_the_end(self.server());
            }
            Step::ServerReset => {
                let server = self.server.take().expect("the script closes each end once");
                server.reset().expect("a connection can be reset");
                sees_the_end(self.client());
            }
            Step::Mark => {}
        }
    }

    fn client(&self) -> &Socket {
        self.client.as_ref().expect("the script does not use a closed end")
    }

    fn server(&self) -> &Socket {
        self.server.as_ref().expect("the script does not use a closed end")
    }

    #[track_caller]
    fn client_sends(&mut self, bytes: &[u8]) {
        let sent = (self.client_way.send)(self.client().as_fd(), bytes);
        sent.unwrap_or_else(|error| panic!("the client cannot {}: {error}", self.client_way.name));
        self.moved.client.sent += bytes.len() as u64;
        self.unread.0 += bytes.len();
    }

    #[track_caller]
    fn server_sends(&mut self, bytes: &[u8]) {
        let sent = (self.server_way.send)(self.server().as_fd(), bytes);
        sent.unwrap_or_else(|error| panic!("the server cannot {}: {error}", self.server_way.name));
        self.moved.server.sent += bytes.len() as u64;
        self.unread.1 += bytes.len();
    }

    #[track_caller]
    fn server_reads(&mut self) {
        let length = std::mem::take(&mut self.unread.0);
        let read = (self.server_way.receive)(self.server().as_fd(), length);
        let read = read.unwrap_or_else(|error| panic!("the server cannot {}: {error}", self.server_way.name));
        assert_eq!(read.len(), length, "the server reads what the client sent");
        self.moved.server.received += length as u64;
    }

    #[track_caller]
    fn client_reads(&mut self) {
        let length = std::mem::take(&mut self.unread.1);
        let read = (self.client_way.receive)(self.client().as_fd(), length);
        let read = read.unwrap_or_else(|error| panic!("the client cannot {}: {error}", self.client_way.name));
        assert_eq!(read.len(), length, "the client reads what the server sent");
        self.moved.client.received += length as u64;
    }
}

/// Reads to the end of the stream, or to the error that a RST gives.
#[track_caller]
fn sees_the_end(socket: &Socket) {
    loop {
        match (SEND.receive)(socket.as_fd(), 1) {
            Ok(bytes) if bytes.is_empty() => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("no end of the stream: {error}"),
        }
    }
}
