//! What was seen, for tests: services, their endpoints, and caches that they ask.

use std::sync::Arc;

use crate::aggregate::window::SECOND_NS;
use crate::custom::CustomSnapshot;
use crate::event::Peers;
use crate::exchange::{Ended, Outcome, Protocol, Request, Role, Sink as _, Tally, Times};
use crate::process::ServiceKey;
use crate::resources::{HostUse, Resources, ServiceUse};
use crate::snapshot::Snapshot;
use crate::statistics::{Origin, Settings, Statistics};
use crate::threshold::{Draft, Evaluator, Observed, Reading, Source, Threshold};

pub(crate) const MS: u64 = 1_000_000;
/// When observation begins.
pub(crate) const START_NS: u64 = 1_000 * SECOND_NS;
/// How far the clock on the wall is ahead of the monotonic one.
pub(crate) const EPOCH_NS: u64 = 1_700_000_000 * SECOND_NS;

/// What is seen.
pub(crate) struct Scene {
    pub(crate) statistics: Statistics,
    pub(crate) resources: Option<Resources>,
    pub(crate) evaluator: Evaluator,
}

/// One exchange.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) service: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) at_ns: u64,
    pub(crate) time_ns: u64,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let settings = Settings {
            distinct_values: 10_000,
            ..Settings::default()
        };
        let mut statistics = Statistics::new(settings).unwrap();
        statistics.tick(START_NS, EPOCH_NS + START_NS);
        Self {
            statistics,
            resources: None,
            evaluator: Evaluator::default(),
        }
    }

    /// A number of exchanges that are all the same, one after the other on one connection of port 8080.
    pub(crate) fn serve(&mut self, number: u64, seen: Seen<'_>) {
        let tgid = self.process(seen.service);
        let peers = Peers::Inet {
            local: ([127, 0, 0, 1], 8080).into(),
            remote: ([10, 0, 0, 7], 50_000).into(),
        };
        let origin = Origin::new(Role::Server, Arc::new(peers), seen.service);
        self.exchanges(number, origin, tgid, (Protocol::Http11, "GET"), Tally::default(), seen);
    }

    /// What a service asks a Redis server for: keys that it had, and had not.
    pub(crate) fn ask_cache(&mut self, service: &str, address: [u8; 4], [hits, misses]: [u32; 2], at_ns: u64) {
        let tgid = self.process(service);
        let peers = Peers::Inet {
            local: ([127, 0, 0, 1], 50_000).into(),
            remote: (address, 6379).into(),
        };
        let origin = Origin::new(Role::Client, Arc::new(peers), service);
        let tally = Tally {
            rows: None,
            hits,
            misses,
        };
        let seen = Seen {
            service,
            path: "GET",
            status: 0,
            at_ns,
            time_ns: MS,
        };
        self.exchanges(1, origin, tgid, (Protocol::Redis, ""), tally, seen);
    }

    fn process(&mut self, service: &str) -> u32 {
        let tgid = service
            .bytes()
            .fold(7, |sum: u32, byte| sum * 31 % 10_007 + u32::from(byte));
        self.statistics
            .process(tgid, &format!("/usr/bin/{service}"), "/user.slice");
        tgid
    }

    fn exchanges(
        &mut self,
        number: u64,
        mut origin: Origin,
        tgid: u32,
        (protocol, method): (Protocol, &str),
        tally: Tally,
        seen: Seen<'_>,
    ) {
        let request = Request {
            protocol,
            method,
            path: seen.path,
            query: "",
            host: None,
            request_id: None,
            first_ns: seen.at_ns - seen.time_ns,
            tgid,
            tid: tgid,
            said: crate::exchange::Said::default(),
        };
        let ended = Ended {
            outcome: Outcome::Answered,
            status: Some(seen.status).filter(|status| *status > 0),
            error: None,
            tally,
            tid: tgid,
            times: Times {
                arrival_ns: None,
                request_first_ns: request.first_ns,
                request_last_ns: request.first_ns,
                response_first_ns: Some(seen.at_ns),
                response_last_ns: seen.at_ns,
            },
            request_bytes: 100,
            response_bytes: 1_000,
            stream: None,
        };
        for _ in 0..number {
            let mut sink = self.statistics.sink(&mut origin);
            let ticket = sink.opened(&request);
            sink.ended(ticket, &ended);
        }
    }

    /// The host takes so much of processors and memory, and so do services.
    pub(crate) fn take(&mut self, wall_ns: u64, [cpu, memory]: [Option<f64>; 2], services: &[(&str, u16, f64)]) {
        let service = |&(name, port, usage): &(&str, u16, f64)| ServiceUse {
            service: Arc::new(ServiceKey {
                name: name.into(),
                exe: None,
                container: None,
                unit: None,
                port: Some(port),
                socket: None,
            }),
            processes: 1,
            cpu_cores: None,
            cpu_usage: Some(usage),
            resident_bytes: None,
            memory_usage: None,
            threads: None,
            open_files: None,
            open_files_limit: None,
            listen_queue: None,
            listen_queue_limit: None,
            listen_overflows_per_second: None,
            group: None,
            started_wall_ns: None,
            pod: None,
        };
        self.resources = Some(Resources {
            wall_ns,
            over_ns: 10 * SECOND_NS,
            host: HostUse {
                cpu_usage: cpu,
                memory_usage: memory,
                ..HostUse::default()
            },
            services: services.iter().map(service).collect(),
        });
    }

    pub(crate) fn snapshot(&mut self, at_ns: u64) -> Arc<Snapshot> {
        self.statistics.tick(at_ns, EPOCH_NS + at_ns);
        self.statistics.snapshot()
    }

    /// The figures of thresholds at a moment.
    pub(crate) fn evaluate(&mut self, thresholds: &[Threshold], at_ns: u64) -> Vec<Reading> {
        let snapshot = self.snapshot(at_ns);
        let observed = Observed {
            snapshot: &snapshot,
            resources: self.resources.as_ref(),
            custom: &CustomSnapshot::default(),
        };
        self.evaluator.evaluate(thresholds, &observed)
    }

    /// Subjects and figures of one threshold at a moment.
    pub(crate) fn figures(&mut self, metric: &str, scope: &str, at_ns: u64) -> Vec<(String, Option<f64>, u64)> {
        let readings = self.evaluate(&[threshold(metric, scope)], at_ns);
        let figure = |reading: &Reading| (reading.subject.key.clone(), reading.value, reading.count);
        readings.iter().map(figure).collect()
    }
}

/// A threshold of a metric and a scope.
pub(crate) fn threshold(metric: &str, scope: &str) -> Threshold {
    let draft = Draft {
        metric: Some(metric.to_owned()),
        scope: Some(scope.to_owned()),
        value: Some(0.5),
        ..Draft::default()
    };
    draft.check(Source::Api).unwrap()
}
