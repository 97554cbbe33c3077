//! Snapshots as tests need them: services, their endpoints, and what happened to these.

use std::sync::Arc;

use super::{Advisor, Evidence, MemoryTrend, Observed, Recommendation};
use crate::aggregate::network::Sample;
use crate::aggregate::{Aggregate, ErrorRule};
use crate::attribution::{Share, Shares};
use crate::endpoint::{EndpointKey, Operation, Peer, RouteReason};
use crate::exchange::{Class, Ended, Outcome, Protocol, Role, Tally, Times};
use crate::ledger::Accounting;
use crate::process::{Service, ServiceKey};
use crate::resources::{HostUse, Resources, ServiceUse};
use crate::snapshot::{EndpointSnapshot, PeerSeen, Pool, Snapshot};
use crate::statistics::codes::CodeNames;

/// When observation begins; the beginning of a slot of every size.
pub(super) const START_NS: u64 = 7200 * SECOND_NS;
pub(super) const SECOND_NS: u64 = 1_000_000_000;
pub(super) const MS: u64 = 1_000_000;
/// The wall clock's lead.
pub(super) const EPOCH_NS: u64 = 1_700_000_000 * SECOND_NS;

/// What is to be told of a request.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Response time.
    pub(super) ns: u64,
    /// Wait before.
    pub(super) queue_ns: u64,
    /// Of the response time, that before the request's last byte, and that after the answer's first one.
    pub(super) transfer_ns: [u64; 2],
    pub(super) status: u16,
    pub(super) tally: Tally,
}

/// A request of so many nanoseconds, answered with 200.
pub(super) fn asked(ns: u64) -> Asked {
    Asked {
        ns,
        queue_ns: 0,
        transfer_ns: [0, 0],
        status: 200,
        tally: Tally::default(),
    }
}

/// Everything at one moment.
pub(super) struct Scene {
    pub(super) at_ns: u64,
    endpoints: Vec<(Arc<EndpointKey>, Aggregate)>,
    pub(super) pools: Vec<Pool>,
    /// Services without processes.
    pub(super) gone: Vec<Arc<ServiceKey>>,
}

/// The key of a program at a port.
pub(super) fn service(name: &str, port: Option<u16>) -> Arc<ServiceKey> {
    Arc::new(ServiceKey {
        name: name.into(),
        exe: Some(format!("/usr/bin/{name}").into()),
        container: None,
        unit: None,
        port,
        socket: None,
    })
}

pub(super) fn peer(host: &str, port: u16) -> Peer {
    Peer::Name {
        host: host.into(),
        port,
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        Self {
            at_ns: START_NS,
            endpoints: Vec::new(),
            pools: Vec::new(),
            gone: Vec::new(),
        }
    }

    fn add(&mut self, key: EndpointKey) -> usize {
        let aggregate = Aggregate::new(key.role, START_NS);
        self.endpoints.push((Arc::new(key), aggregate));
        self.endpoints.len() - 1
    }

    /// An HTTP endpoint of a server.
    pub(super) fn server(&mut self, service: &Arc<ServiceKey>, route: &str) -> usize {
        self.add(EndpointKey {
            service: Arc::clone(service),
            role: Role::Server,
            peer: None,
            tls: false,
            protocol: Protocol::Http11,
            operation: Operation {
                method: "GET".into(),
                route: route.into(),
            },
        })
    }

    /// What a client asks `db:1` (or the like) for.
    pub(super) fn client(
        &mut self,
        service: &Arc<ServiceKey>,
        (host, protocol): (&str, Protocol),
        route: &str,
    ) -> usize {
        self.add(EndpointKey {
            service: Arc::clone(service),
            role: Role::Client,
            peer: Some(peer(host, 1)),
            tls: false,
            protocol,
            operation: Operation {
                method: if protocol.has_routes() { "GET".into() } else { "".into() },
                route: route.into(),
            },
        })
    }

    /// Its id.
    pub(super) fn id(&self, endpoint: usize) -> Arc<str> {
        self.endpoints[endpoint].0.id().into()
    }

    /// Requests begin.
    pub(super) fn open(&mut self, endpoint: usize, requests: u32) {
        for _ in 0..requests {
            self.endpoints[endpoint].1.opened(self.at_ns);
        }
    }

    /// Requests end now.
    pub(super) fn ask(&mut self, endpoint: usize, requests: u32, asked: Asked) {
        let first_ns = self.at_ns - asked.ns;
        let [receiving_ns, sending_ns] = asked.transfer_ns;
        let (key, aggregate) = &mut self.endpoints[endpoint];
        let is_server = key.role == Role::Server;
        for _ in 0..requests {
            aggregate.opened(self.at_ns);
            let ended = Ended {
                outcome: Outcome::Answered,
                status: Some(asked.status),
                error: None,
                tally: asked.tally,
                times: Times {
                    arrival_ns: is_server.then_some(first_ns - asked.queue_ns),
                    request_first_ns: first_ns,
                    request_last_ns: first_ns + receiving_ns,
                    response_first_ns: Some(self.at_ns - sending_ns),
                    response_last_ns: self.at_ns,
                },
                request_bytes: 1,
                response_bytes: 1,
                tid: 0,
                stream: None,
            };
            aggregate.ended(&ended, &ErrorRule::default());
        }
    }

    /// What one request was spent on: its own time, and calls to endpoints with the sum of their times.
    pub(super) fn spend(&mut self, endpoint: usize, requests: u32, own_ns: u64, calls: &[(usize, u32, u64)]) {
        let mut shares = Shares {
            own_ns,
            class_ns: [0; Class::ALL.len()],
            calls: [0; Class::ALL.len()],
            endpoints: Vec::new(),
        };
        for &(called, calls, time_ns) in calls {
            let key = &self.endpoints[called].0;
            let class = key.protocol.class() as usize;
            shares.class_ns[class] += time_ns;
            shares.calls[class] += calls;
            shares.endpoints.push(Share {
                endpoint: key.id_number(),
                calls,
                time_ns,
            });
        }
        self.spend_shares(endpoint, requests, &shares);
    }

    pub(super) fn spend_shares(&mut self, endpoint: usize, requests: u32, shares: &Shares) {
        for _ in 0..requests {
            self.endpoints[endpoint].1.spent(shares, 0);
        }
    }

    /// Calls that may have been of an endpoint's requests; of one that took no time.
    pub(super) fn ambiguous(&mut self, endpoint: usize, calls: u32) {
        let nothing = Shares {
            own_ns: 0,
            class_ns: [0; Class::ALL.len()],
            calls: [0; Class::ALL.len()],
            endpoints: Vec::new(),
        };
        self.endpoints[endpoint].1.spent(&nothing, calls);
    }

    pub(super) fn packets(&mut self, endpoint: usize, times: u32, sample: &Sample) {
        for _ in 0..times {
            self.endpoints[endpoint].1.network(sample, self.at_ns);
        }
    }

    pub(super) fn pool(&mut self, service: &Arc<ServiceKey>, host: &str, [open, in_use, opened]: [u32; 3]) {
        self.pools.push(Pool {
            service: self.service(service),
            tls: false,
            peer: peer(host, 1),
            open,
            in_use,
            max_in_use: in_use,
            opened: opened.into(),
        });
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.at_ns += seconds * SECOND_NS;
    }

    fn service(&self, key: &Arc<ServiceKey>) -> Arc<Service> {
        Arc::new(Service {
            key: Arc::clone(key),
            pids: if self.gone.contains(key) { vec![] } else { vec![1] },
        })
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut services: Vec<Arc<ServiceKey>> = Vec::new();
        for (key, _) in &self.endpoints {
            if !services.contains(&key.service) {
                services.push(Arc::clone(&key.service));
            }
        }
        let endpoint = |(key, aggregate): &(Arc<EndpointKey>, Aggregate)| {
            Arc::new(EndpointSnapshot {
                id: key.id().into(),
                key: Arc::clone(key),
                peer_seen: PeerSeen::default(),
                service: self.service(&key.service),
                reason: RouteReason::default(),
                codes: CodeNames::default(),
                aggregate: Arc::new(aggregate.clone()),
            })
        };
        Snapshot {
            renamed: Arc::default(),
            at_ns: self.at_ns,
            wall_ns: EPOCH_NS + self.at_ns,
            started_ns: START_NS,
            agent_started_ns: START_NS,
            endpoints: self.endpoints.iter().map(endpoint).collect(),
            total: Arc::new(Aggregate::new(Role::Server, START_NS)),
            pools: self.pools.clone(),
            unread: Vec::new(),
            services: services.iter().map(|key| self.service(key)).collect(),
            streams: Arc::default(),
            recent: Arc::default(),
            functions: Vec::new(),
            accounting: Accounting::default(),
        }
    }

    /// What one rule of an advisor says.
    pub(super) fn said(
        &self,
        advisor: &mut Advisor,
        rule: &str,
        resources: Option<&Resources>,
        memory_trends: &[MemoryTrend],
    ) -> Vec<Recommendation> {
        let snapshot = self.snapshot();
        let mut all = advisor.advise(Observed {
            snapshot: &snapshot,
            resources,
            memory_trends,
            at_ns: self.at_ns,
            wall_ns: EPOCH_NS + self.at_ns,
        });
        all.retain(|one| one.rule == rule);
        all
    }

    /// What one rule of a new advisor says.
    pub(super) fn first(&self, rule: &str) -> Vec<Recommendation> {
        self.said(&mut Advisor::default(), rule, None, &[])
    }
}

/// The only one.
#[track_caller]
pub(super) fn only(mut said: Vec<Recommendation>) -> Recommendation {
    assert_eq!(said.len(), 1, "{said:#?}");
    said.remove(0)
}

/// Its figures that are numbers.
pub(super) fn numbers(one: &Recommendation) -> Vec<(&'static str, f64)> {
    let number = |(name, evidence): &(&'static str, Evidence)| match evidence {
        Evidence::Number(number) => Some((*name, *number)),
        _ => None,
    };
    one.evidence.iter().filter_map(number).collect()
}

/// Its figures that are names.
pub(super) fn words(one: &Recommendation) -> Vec<(&'static str, String)> {
    let word = |(name, evidence): &(&'static str, Evidence)| match evidence {
        Evidence::Text(text) => Some((*name, text.clone())),
        _ => None,
    };
    one.evidence.iter().filter_map(word).collect()
}

/// A reading of these services.
pub(super) fn reading(wall_ns: u64, services: Vec<ServiceUse>) -> Resources {
    Resources {
        wall_ns,
        over_ns: 10 * SECOND_NS,
        host: HostUse::default(),
        services,
    }
}

/// A service of which nothing could be read.
pub(super) fn service_use(service: &Arc<ServiceKey>) -> ServiceUse {
    ServiceUse {
        service: Arc::clone(service),
        processes: 1,
        cpu_cores: None,
        cpu_usage: None,
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
    }
}
