//! Services: the observed programs.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::snapshot::Snapshot;
use crate::source::TlsCoverage;

/// An observed program with everything it listens on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ObservedService {
    /// What people call it: unit, executable or process name.
    pub name: String,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Container id.
    pub container: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// Ports it was seen to serve.
    pub ports: Vec<u16>,
    /// Unix sockets it was seen to serve.
    pub sockets: Vec<String>,
    /// Its living processes.
    pub pids: Vec<u32>,
    /// Number of its endpoints.
    pub endpoints: usize,
    /// By what its living processes speak TLS, and whether that is seen; empty if none was seen to.
    pub tls: Vec<TlsProcess>,
}

/// A process that speaks TLS by some library.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TlsProcess {
    /// The process.
    pub pid: u32,
    /// Path of its executable.
    pub exe: Option<String>,
    /// The library; null if none that is known was found.
    pub library: Option<String>,
    /// The library's version.
    pub version: Option<String>,
    /// Path of the file that it is in, as the process sees it.
    pub path: Option<String>,
    /// `covered` if its plaintext is seen, else `not_covered`.
    pub state: &'static str,
    /// How it is seen.
    pub how: Option<String>,
    /// Why it is not.
    pub reason: Option<String>,
}

impl From<&TlsCoverage> for TlsProcess {
    fn from(coverage: &TlsCoverage) -> Self {
        Self {
            pid: coverage.tgid,
            exe: coverage.exe.clone(),
            library: coverage.library.map(str::to_owned),
            version: coverage.version.clone(),
            path: coverage.path.clone(),
            state: if coverage.covered { "covered" } else { "not_covered" },
            how: coverage.how.clone(),
            reason: coverage.reason.clone(),
        }
    }
}

/// The services seen.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Services {
    /// In order of their names.
    pub services: Vec<ObservedService>,
    /// Every living process that was seen to speak TLS, also those of which nothing else is seen; by number.
    pub tls: Vec<TlsProcess>,
}

impl Services {
    /// From the newest picture, and what is known of TLS.
    pub fn new(snapshot: &Snapshot, tls: &[TlsCoverage]) -> Self {
        let mut services: BTreeMap<_, ObservedService> = BTreeMap::new();
        for service in &snapshot.services {
            let key = &service.key;
            let text = |text: &Option<_>| text.as_ref().map(ToString::to_string);
            let program = (
                key.name.to_string(),
                text(&key.exe),
                text(&key.container),
                text(&key.unit),
            );
            let observed = services.entry(program.clone()).or_insert_with(|| {
                let (name, exe, container, unit) = program;
                let (ports, sockets, pids) = (Vec::new(), Vec::new(), Vec::new());
                ObservedService {
                    name,
                    exe,
                    container,
                    unit,
                    ports,
                    sockets,
                    pids,
                    endpoints: 0,
                    tls: Vec::new(),
                }
            });
            observed.ports.extend(key.port);
            observed.sockets.extend(text(&key.socket));
            observed.pids.extend(&service.pids);
            observed.endpoints += snapshot
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.service.key == *key)
                .count();
        }
        let mut services: Vec<_> = services.into_values().collect();
        for service in &mut services {
            service.ports.sort_unstable();
            service.ports.dedup();
            service.sockets.sort_unstable();
            service.sockets.dedup();
            service.pids.sort_unstable();
            service.pids.dedup();
            let own = tls
                .iter()
                .filter(|coverage| service.pids.binary_search(&coverage.tgid).is_ok());
            service.tls = own.map(TlsProcess::from).collect();
        }
        let tls = tls.iter().map(TlsProcess::from).collect();
        Self { services, tls }
    }
}
