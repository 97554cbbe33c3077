//! Services: the observed programs.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::snapshot::Snapshot;

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
    /// Whether and how its TLS traffic is seen; null: this version does not look for TLS.
    pub tls: Option<String>,
}

/// The services seen.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Services {
    /// In order of their names.
    pub services: Vec<ObservedService>,
}

impl From<&Snapshot> for Services {
    fn from(snapshot: &Snapshot) -> Self {
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
                    tls: None,
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
        }
        Self { services }
    }
}
