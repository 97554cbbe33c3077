//! A server whose handlers take a known time, and a client that asks at a fixed rate whatever the answers do.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use crate::host::free_port;

/// What a handler does with its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handler {
    /// Path that asks for it.
    pub(crate) path: &'static str,
    /// Its time.
    pub(crate) time: Duration,
    /// It computes; else it waits, as for a disk or another service.
    busy: bool,
    /// Requests per second that it is asked for: far from what the machine can do.
    pub(crate) rate: u32,
}

/// The handlers of the benchmark.
pub(crate) const HANDLERS: [Handler; 3] = [
    Handler {
        path: "/50us",
        time: Duration::from_micros(50),
        busy: true,
        rate: 2000,
    },
    Handler {
        path: "/1ms",
        time: Duration::from_millis(1),
        busy: false,
        rate: 2000,
    },
    Handler {
        path: "/10ms",
        time: Duration::from_millis(10),
        busy: false,
        rate: 1000,
    },
];

/// Connections of the client.
const CONNECTIONS: u32 = 16;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// Serves for ever: a thread for each connection.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).context("cannot listen")?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || answer(stream));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    exact_sleep()?;
    let mut request = [0; 4096];
    loop {
        let length = stream.read(&mut request)?;
        if length == 0 {
            return Ok(());
        }
        let text = std::str::from_utf8(&request[..length])?;
        let handler = HANDLERS
            .iter()
            .find(|handler| text.split(' ').nth(1) == Some(handler.path));
        match handler {
            Some(Handler { time, busy: true, .. }) => {
                let begin = Instant::now();
                while begin.elapsed() < *time {
                    std::hint::spin_loop();
                }
            }
            Some(Handler { time, .. }) => thread::sleep(*time),
            None => {}
        }
        stream.write_all(ANSWER)?;
    }
}

/// Timers are otherwise late by 50 us on purpose.
fn exact_sleep() -> Result<()> {
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).context("cannot set the timer slack")
}

/// The server as a process of its own; ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) fn start() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--port", &port.to_string()]);
        Self::running(command, port)
    }

    /// Starts one of another kind, which listens on this port.
    pub(crate) fn running(mut command: Command, port: u16) -> Result<Self> {
        command.stdin(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let server = Self { child, port };
        wait_for(port)?;
        Ok(server)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is ours; that it may have ended before is no error.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Waits until somebody listens.
pub(crate) fn wait_for(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(Instant::now() < deadline, "nobody listens on port {port}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Asks at the handler's rate for so long. Latencies, in nanoseconds, count from the moment at which a request was meant
/// to be sent: one that had to wait for the answer before it has waited.
pub(crate) fn ask(port: u16, handler: Handler, time: Duration) -> Result<Histogram<u64>> {
    let interval = Duration::from_secs(u64::from(CONNECTIONS)) / handler.rate;
    let begin = Instant::now() + Duration::from_millis(50);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            // Spread evenly, so that no two ask at once.
            let first = begin + interval * number / CONNECTIONS;
            thread::spawn(move || client(port, handler, first, interval, begin + time))
        })
        .collect();
    let mut all = histogram()?;
    for client in clients {
        all.add(client.join().map_err(|_panic| anyhow::anyhow!("a client panicked"))??)?;
    }
    Ok(all)
}

fn client(port: u16, handler: Handler, first: Instant, interval: Duration, end: Instant) -> Result<Histogram<u64>> {
    exact_sleep()?;
    let mut latencies = histogram()?;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench/1.0\r\n\r\n",
        handler.path
    );
    let mut answer = [0; 1024];
    let mut due = first;
    while due < end {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(request.as_bytes())?;
        let length = stream.read(&mut answer)?;
        ensure!(length == ANSWER.len(), "an answer of {length} bytes");
        latencies.record(u64::try_from(due.elapsed().as_nanos())?)?;
        due += interval;
    }
    Ok(latencies)
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
