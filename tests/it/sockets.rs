//! Sockets: whatever family, system call, thread or process moves the bytes, the same exchanges are counted.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::whole;
use perf_agent_tests::child::Workdir;
use perf_agent_tests::client::Connection;
use perf_agent_tests::clock::{Truth, between, close};
use perf_agent_tests::python::Server;
use perf_agent_tests::rows::{self, Bytes, Picture, Role, answered};
use perf_agent_tests::server::{ANSWER, Threads, TimedServer, response_times};
use perf_agent_tests::socket::{Family, Listener};
use perf_agent_tests::ways::{self, Way};
use perf_agent_tests::wire::{Step, Wire};
use perf_agent_tests::{need, uring, wait};

use crate::cases::{self, Played};

/// Every way of moving bytes that leaves them readable.
pub(crate) const WAYS: [Way; 10] = [
    ways::SEND,
    ways::WRITE,
    ways::BYTEWISE,
    ways::PEEK,
    ways::VECTORED,
    ways::MESSAGE,
    ways::MANY_MESSAGES,
    ways::SENDFILE,
    ways::SPLICE,
    ways::WAIT_ALL,
];

const REQUEST: &[u8] = b"GET /plain HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// The same bytes in the same order, by every pair of system calls, over every family.
#[test]
fn every_way_and_family_gives_the_same_exchanges() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let expected = answered("POST /way", 201).times(3);
    let mut played = vec![];
    for family in [Family::V4, Family::V6, Family::Mapped, Family::Unix] {
        for way in WAYS {
            let listener = Listener::new(family, directory.path());
            let moved = Wire::new(listener.pair()).ways(way, way).play(&cases::bodies().steps);
            played.push((format!("{} over {family:?}", way.name), listener, moved));
        }
    }
    wait::settle(wait::SETTLE, "every way is counted alike", || {
        let endpoints = agent.api().endpoints();
        let mut wrong = vec![];
        for (name, listener, moved) in &played {
            for (role, bytes) in [(Role::Server, moved.server), (Role::Client, moved.client)] {
                let seen = Picture::seen(&endpoints, &listener.at(), role);
                if let Err(why) = Picture::expected(&expected, Some(bytes)).matches(&seen) {
                    wrong.push(format!("{name} in the {} role:{why}", role.name()));
                }
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{}\n{}", wrong.join("\n"), agent.api().accounting()["records"]))
        }
    });
    agent.stop();
}

#[test]
fn the_basic_cases_are_counted_over_every_family() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let mut played = vec![];
    for family in [Family::V6, Family::Mapped, Family::Unix] {
        for case in cases::basic() {
            played.push(Played::play(&case, family, ways::WRITE, directory.path()));
        }
    }
    cases::check_all(agent.api(), &played);
    agent.stop();
}

/// The times too: 1, 10 and 100 ms in the handler, by both kinds of servers, against the server's own log.
#[test]
fn response_times_are_those_of_the_server() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    for threads in [Threads::PerConnection, Threads::AcceptReadWrite] {
        for family in [Family::V4, Family::Unix] {
            let server = TimedServer::start(family, threads, directory.path());
            let at = server.at();
            let mut connection = match &at {
                rows::At::Port(port) => Connection::port(*port),
                rows::At::Unix(path) => Connection::unix(path),
            }
            .expect("the server listens");
            let counts = [("/one", 100), ("/ten", 50), ("/hundred", 10)];
            let mut replies = vec![];
            for (path, count) in counts {
                for _ in 0..count {
                    replies.push((path, connection.get(path).expect("the server answers")));
                }
            }
            let total: usize = counts.iter().map(|(_, count)| count).sum();
            let log = wait::wait_until(wait::START, "the server's log", || {
                Some(server.served()).filter(|log| log.len() == total)
            });
            for (path, count) in counts {
                let operation = format!("GET {path}");
                let (least, most) = response_times(log.iter().filter(|served| served.path == path));
                let mine = replies.iter().filter(|(asked, _)| *asked == path);
                let outside = Truth::of_ns(mine.map(|(_, reply)| reply.last_ns - reply.sent_ns));
                wait::settle(wait::SETTLE, &format!("{path} by {threads:?} over {family:?}"), || {
                    for role in Role::BOTH {
                        let endpoints = at.endpoints(agent.api(), role);
                        let endpoint = endpoints
                            .iter()
                            .find(|endpoint| endpoint["operation"] == operation.as_str());
                        let endpoint = endpoint.ok_or_else(|| format!("no {operation} in the {} role", role.name()))?;
                        let measured = |name: &str, part: &str| {
                            endpoint[name][part]
                                .as_f64()
                                .ok_or_else(|| format!("no {name}.{part}: {endpoint}"))
                        };
                        if whole(&endpoint["requests"]) != count as u64 {
                            return Err(format!("{} requests of {count}", endpoint["requests"]));
                        }
                        let (least, most) = if role == Role::Server {
                            (&least, &most)
                        } else {
                            (&outside, &outside)
                        };
                        let mean = measured("response_time_ms", "mean")?;
                        between("mean response time", mean, (least.mean(), most.mean()))?;
                        // A percentile is within 1 % of the sample's value.
                        let median = measured("response_time_ms", "median")?;
                        between("median", median, (least.quantile(0.5), most.quantile(0.5)))?;
                        // The answer is one write: its first byte moves with its last.
                        let first = measured("time_to_first_byte_ms", "mean")?;
                        between("first byte", first, (least.mean(), most.mean()))?;
                    }
                    Ok(())
                });
            }
        }
    }
    agent.stop();
}

/// Accepted here, served there.
#[test]
fn connections_that_change_hands_are_counted() {
    need!(Agent, Root, Python);
    let agent = Agent::start();
    for scenario in ["fork", "exec", "pass"] {
        let server = Server::handover(scenario);
        let mut bytes = Bytes::default();
        for _ in 0..10 {
            let mut connection = Connection::port(server.port()).expect("the server listens");
            for _ in 0..2 {
                let reply = connection.get("/handed").expect("the server answers");
                bytes.received += reply.request_bytes;
                bytes.sent += reply.response_bytes;
            }
        }
        rows::expect_both(
            agent.api(),
            &server.at(),
            &answered("GET /handed", 200).times(20),
            Some(bytes),
        );
    }
    agent.stop();
}

#[test]
fn two_hundred_short_connections_are_all_seen() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let listener = Listener::new(Family::V4, directory.path());
    for _ in 0..200 {
        // The descriptors' numbers are the same each time: both ends are closed before the next connection.
        let steps = [
            Step::Client(REQUEST.to_vec()),
            Step::Server(ANSWER.to_vec()),
            Step::ServerClose,
        ];
        Wire::new(listener.pair()).play(&steps);
    }
    let bytes = Bytes {
        received: 200 * REQUEST.len() as u64,
        sent: 200 * ANSWER.len() as u64,
    };
    rows::expect_both(
        agent.api(),
        &listener.at(),
        &answered("GET /plain", 200).times(200),
        Some(bytes),
    );
    agent.stop();
}

/// A response without a length, most of it folded when the connection ends.
#[test]
fn a_response_that_ends_with_the_connection_is_counted_whole() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    for family in [Family::V4, Family::Unix] {
        let listener = Listener::new(family, directory.path());
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        let mut steps = vec![Step::Client(REQUEST.to_vec()), Step::Server(head.to_vec())];
        steps.extend((0..300).map(|_| Step::Server(vec![b'q'; 1000])));
        steps.push(Step::ServerClose);
        Wire::new(listener.pair()).play(&steps);
        let bytes = Bytes {
            received: REQUEST.len() as u64,
            sent: (head.len() + 300 * 1000) as u64,
        };
        rows::expect_both(
            agent.api(),
            &listener.at(),
            &answered("GET /plain", 200).times(1),
            Some(bytes),
        );
    }
    agent.stop();
}

/// A new listener at the old one's port, and clients that come from the port of the last client.
#[test]
fn ports_that_are_used_again_at_once_are_counted() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let mut listener = Listener::new(Family::V4, directory.path());
    let at = listener.at();
    let rows::At::Port(port) = at else {
        panic!("a TCP listener has a port")
    };
    for round in 0..10 {
        if round > 0 {
            drop(listener);
            listener = Listener::on_port(port);
        }
        for end in [Step::ServerReset, Step::ClientReset] {
            // A RST leaves no TIME_WAIT, so the kernel may give the same ports again at once.
            let steps = [Step::Client(REQUEST.to_vec()), Step::Server(ANSWER.to_vec()), end];
            Wire::new(listener.pair()).play(&steps);
        }
    }
    rows::expect_both(agent.api(), &at, &answered("GET /plain", 200).times(20), None);
    agent.stop();
}

/// Connections made before the agent, of every family, with and without bytes moved by then.
#[test]
fn connections_that_were_there_before_are_counted() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let mut made = vec![];
    for family in [Family::V4, Family::V6, Family::Mapped, Family::Unix] {
        for used in [false, true] {
            let listener = Listener::new(family, directory.path());
            let pair = listener.pair();
            if used {
                (ways::SEND.send)(pair.0.as_fd(), REQUEST).expect("a request can be sent");
                (ways::SEND.receive)(pair.1.as_fd(), REQUEST.len()).expect("and received");
                (ways::SEND.send)(pair.1.as_fd(), ANSWER).expect("an answer can be sent");
                (ways::SEND.receive)(pair.0.as_fd(), ANSWER.len()).expect("and received");
            }
            made.push((listener, pair));
        }
    }
    let agent = Agent::start();
    for (listener, pair) in made {
        let steps = [
            Step::Client(REQUEST.to_vec()),
            Step::Server(ANSWER.to_vec()),
            Step::Client(REQUEST.to_vec()),
            Step::Server(ANSWER.to_vec()),
        ];
        let moved = Wire::new(pair).play(&steps);
        rows::expect_both(
            agent.api(),
            &listener.at(),
            &answered("GET /plain", 200).times(2),
            Some(moved.server),
        );
    }
    agent.stop();
}

/// A reader that splices takes bytes past every hook of some backends; the stream's positions tell of them later. So the
/// exchanges are counted once and with their statuses; how the last one ended may stay open, but nothing is added.
#[test]
fn bytes_read_by_splice_are_not_seen_and_nothing_is_invented() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let mut played = vec![];
    for (client, server) in [(ways::SPLICED, ways::SEND), (ways::SEND, ways::SPLICED)] {
        let listener = Listener::new(Family::V4, directory.path());
        let moved = Wire::new(listener.pair())
            .ways(client, server)
            .play(&cases::bodies().steps);
        played.push((listener, moved));
    }
    let operation = ["POST /way"];
    wait::settle(wait::SETTLE, "three exchanges at each end", || {
        let endpoints = agent.api().endpoints();
        for (listener, moved) in &played {
            for (role, most) in [(Role::Server, moved.server), (Role::Client, moved.client)] {
                let seen = Picture::seen(&endpoints, &listener.at(), role);
                let bytes = seen.bytes().unwrap_or_default();
                let fits = bytes.received <= most.received && bytes.sent == most.sent;
                let honest = seen.outcome("answered") + seen.outcome("unknown");
                if seen.requests() != 3 || seen.operations() != operation || !fits || honest < 2 {
                    return Err(format!("in the {} role of {most:?}:\n{seen}", role.name()));
                }
            }
        }
        Ok(())
    });
    agent.stop();
}

/// A non-blocking server whose 8 MB answer the reader takes slowly: many partial writes and EAGAINs in between.
#[test]
fn a_big_answer_to_a_slow_reader_is_counted_in_full() {
    const BODY: usize = 8_000_000;
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let listener = Listener::new(Family::V4, directory.path());
    let (client, server) = listener.pair();
    let sender = thread::spawn(move || {
        let first_read =
            (ways::WRITE.receive)(server.as_fd(), REQUEST.len()).map(|_| perf_agent_tests::clock::now_ns());
        rustix::net::sockopt::set_socket_send_buffer_size(server.as_fd(), 64 * 1024).expect("a buffer can be small");
        rustix::io::ioctl_fionbio(server.as_fd(), true).expect("a socket can be non-blocking");
        let answer = [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes(),
            &vec![b'x'; BODY],
        ]
        .concat();
        let (mut rest, mut refused) = (&answer[..], 0);
        while !rest.is_empty() {
            match rustix::io::write(server.as_fd(), rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(rustix::io::Errno::AGAIN) => {
                    refused += 1;
                    let mut poll = [rustix::event::PollFd::new(&server, rustix::event::PollFlags::OUT)];
                    rustix::event::poll(&mut poll, None).expect("a socket can be waited for");
                }
                Err(error) => panic!("the server cannot write: {error}"),
            }
        }
        let took_ns = perf_agent_tests::clock::now_ns() - first_read.expect("the request arrives");
        (refused, took_ns)
    });
    let mut connection = Connection::over(client).slow(256 * 1024, Duration::from_millis(10));
    let reply = connection.exchange(REQUEST, false).expect("the server answers");
    let (refused, took_ns) = sender.join().expect("the server ends");
    assert!(refused > 3, "the reader was not slow enough: {refused} refused writes");
    let bytes = Bytes {
        received: reply.request_bytes,
        sent: reply.response_bytes,
    };
    let at = listener.at();
    rows::expect_both(agent.api(), &at, &answered("GET /plain", 200).times(1), Some(bytes));
    for (role, truth_ns) in [(Role::Server, took_ns), (Role::Client, reply.last_ns - reply.sent_ns)] {
        let endpoints = at.endpoints(agent.api(), role);
        let measured = endpoints[0]["response_time_ms"]["max"]
            .as_f64()
            .expect("an exchange was timed");
        close(role.name(), measured, perf_agent_tests::clock::ms(truth_ns), 0.0).unwrap_or_else(|why| panic!("{why}"));
    }
    agent.stop();
}

/// Bytes moved by `io_uring` are in no system call's arguments: they are counted as unseen and never misread. The
/// server's side, which reads as usual, sees everything.
#[test]
fn bytes_moved_by_io_uring_are_unseen_and_not_misread() {
    need!(Agent, Root);
    if let Some(why) = uring::missing() {
        need::note(&format!("io_uring: {why}"));
        return;
    }
    let directory = Workdir::new();
    let agent = Agent::start();
    let unseen = || whole(&agent.api().accounting()["records"]["unseen"]);
    let before = unseen();
    let listener = Listener::new(Family::V4, directory.path());
    let steps: Vec<Step> = cases::bodies().steps;
    let moved = Wire::new(listener.pair()).ways(uring::URING, ways::SEND).play(&steps);
    let at = listener.at();
    let expected = Picture::expected(&answered("POST /way", 201).times(3), Some(moved.server));
    rows::expect(agent.api(), &at, Role::Server, &expected);
    wait::settle(wait::SETTLE, "what was not seen is counted", || {
        let now = unseen();
        if now > before {
            Ok(())
        } else {
            Err(format!("{now} unseen, {before} before"))
        }
    });
    let client = Picture::seen(&agent.api().endpoints(), &at, Role::Client);
    assert_eq!(
        client.outcome("answered"),
        0,
        "read from where nothing was to be read:\n{client}"
    );
    agent.stop();
}
