//! Sorts of endpoints, and the labels of each.

use crate::endpoint::{EndpointKey, Peer};
use crate::exchange::{Protocol, Role};
use crate::process::ServiceKey;
use crate::protocol::sql;

/// Endpoints that are told in the same families.
#[derive(Debug)]
pub(super) struct Sort {
    /// Families of ours begin with it.
    pub(super) prefix: &'static str,
    /// What its endpoints are of.
    pub(super) what: &'static str,
    /// Name of the durations.
    pub(super) duration: &'static str,
    /// Name of the counter.
    pub(super) requests: &'static str,
    /// The counter's label.
    pub(super) status: &'static str,
    /// The side that the service is on.
    pub(super) role: Role,
    /// Labels of all its families.
    pub(super) labels: &'static [&'static str],
}

const HTTP_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "http_request_method",
    "http_route",
    "url_scheme",
    "network_protocol_name",
    "network_protocol_version",
    "server_address",
    "server_port",
];
const RPC_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "rpc_system",
    "rpc_service",
    "rpc_method",
    "server_address",
    "server_port",
];
const DB_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "db_system_name",
    "db_operation_name",
    "db_collection_name",
    "db_query_summary",
    "server_address",
    "server_port",
];
const MESSAGING_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "messaging_system",
    "messaging_operation_name",
    "messaging_destination_name",
    "server_address",
    "server_port",
];
const DNS_LABELS: &[&str] = &[
    "service_name",
    "container_id",
    "dns_question_type",
    "dns_question_name",
    "server_address",
    "server_port",
];

/// In pairs: server, client.
pub(super) static SORTS: [Sort; 10] = [
    Sort {
        prefix: "http_server",
        what: "HTTP requests that a service answered",
        duration: "http_server_request_duration_seconds",
        requests: "http_server_requests",
        status: "http_response_status_code",
        role: Role::Server,
        labels: HTTP_LABELS,
    },
    Sort {
        prefix: "http_client",
        what: "HTTP requests that a service made",
        duration: "http_client_request_duration_seconds",
        requests: "http_client_requests",
        status: "http_response_status_code",
        role: Role::Client,
        labels: HTTP_LABELS,
    },
    Sort {
        prefix: "rpc_server",
        what: "gRPC calls that a service answered",
        duration: "rpc_server_duration_seconds",
        requests: "rpc_server_requests",
        status: "rpc_grpc_status_code",
        role: Role::Server,
        labels: RPC_LABELS,
    },
    Sort {
        prefix: "rpc_client",
        what: "gRPC calls that a service made",
        duration: "rpc_client_duration_seconds",
        requests: "rpc_client_requests",
        status: "rpc_grpc_status_code",
        role: Role::Client,
        labels: RPC_LABELS,
    },
    Sort {
        prefix: "db_server",
        what: "operations that a database or cache answered",
        duration: "db_server_operation_duration_seconds",
        requests: "db_server_operations",
        status: "db_response_status_code",
        role: Role::Server,
        labels: DB_LABELS,
    },
    Sort {
        prefix: "db_client",
        what: "operations that a service asked a database or cache for",
        duration: "db_client_operation_duration_seconds",
        requests: "db_client_operations",
        status: "db_response_status_code",
        role: Role::Client,
        labels: DB_LABELS,
    },
    Sort {
        prefix: "messaging_server",
        what: "requests that a message broker answered",
        duration: "messaging_server_operation_duration_seconds",
        requests: "messaging_server_operations",
        status: "messaging_response_status_code",
        role: Role::Server,
        labels: MESSAGING_LABELS,
    },
    Sort {
        prefix: "messaging_client",
        what: "requests that a service made of a message broker",
        duration: "messaging_client_operation_duration_seconds",
        requests: "messaging_client_operations",
        status: "messaging_response_status_code",
        role: Role::Client,
        labels: MESSAGING_LABELS,
    },
    Sort {
        prefix: "dns_server",
        what: "queries that a name server answered",
        duration: "dns_server_lookup_duration_seconds",
        requests: "dns_server_lookups",
        status: "dns_response_code",
        role: Role::Server,
        labels: DNS_LABELS,
    },
    Sort {
        prefix: "dns_client",
        what: "queries that a service made of a name server",
        duration: "dns_lookup_duration_seconds",
        requests: "dns_client_lookups",
        status: "dns_response_code",
        role: Role::Client,
        labels: DNS_LABELS,
    },
];

/// The families that endpoints of this sort are told in.
pub(super) fn sort_of(protocol: Protocol, role: Role) -> usize {
    let pair = match protocol {
        Protocol::Http10 | Protocol::Http11 | Protocol::Http2 => 0,
        Protocol::Grpc => 1,
        Protocol::Postgresql | Protocol::Mysql | Protocol::Mongodb | Protocol::Redis | Protocol::Memcached => 2,
        Protocol::Kafka => 3,
        Protocol::Dns => 4,
    };
    2 * pair + usize::from(role == Role::Client)
}

/// What tells a service: its name, and the first digits of its container's id.
pub(in crate::prometheus) fn service(key: &ServiceKey) -> Vec<(&'static str, String)> {
    let container = key.container.as_deref().unwrap_or_default();
    vec![
        ("service_name", key.name.to_string()),
        ("container_id", container.chars().take(12).collect()),
    ]
}

/// Where a peer is.
pub(in crate::prometheus) fn address(peer: &Peer) -> [(&'static str, String); 2] {
    let (address, port) = match peer {
        Peer::Name { host, port } => (host.to_string(), (*port != 0).then_some(*port)),
        Peer::Address(address) => (address.ip().to_string(), Some(address.port())),
        Peer::Unix(path) => (path.to_string(), None),
    };
    [
        ("server_address", address),
        ("server_port", port.map(|port| port.to_string()).unwrap_or_default()),
    ]
}

/// The labels of an endpoint.
pub(super) fn labels(key: &EndpointKey) -> Vec<(&'static str, String)> {
    let mut labels = service(&key.service);
    let route = key.operation.route.as_str();
    let (first, second) = route.split_once(' ').unwrap_or((route, ""));
    match key.protocol {
        Protocol::Http10 | Protocol::Http11 | Protocol::Http2 => {
            let version = match key.protocol {
                Protocol::Http10 => "1.0",
                Protocol::Http11 => "1.1",
                _ => "2",
            };
            labels.extend([
                ("http_request_method", key.operation.method.to_string()),
                ("http_route", route.to_owned()),
                ("url_scheme", if key.tls { "https" } else { "http" }.to_owned()),
                ("network_protocol_name", "http".to_owned()),
                ("network_protocol_version", version.to_owned()),
            ]);
        }
        Protocol::Grpc => {
            let name = route.strip_prefix('/').unwrap_or(route);
            let (service, method) = name.rsplit_once('/').unwrap_or(("", name));
            labels.extend([
                ("rpc_system", "grpc".to_owned()),
                ("rpc_service", service.to_owned()),
                ("rpc_method", method.to_owned()),
            ]);
        }
        Protocol::Postgresql | Protocol::Mysql => {
            let summary = sql::summary(route);
            let verb = summary.split([' ', ';']).next().unwrap_or_default().to_owned();
            labels.extend([
                ("db_system_name", key.protocol.name().to_owned()),
                ("db_operation_name", verb),
                ("db_query_summary", summary),
            ]);
        }
        Protocol::Mongodb => labels.extend([
            ("db_system_name", "mongodb".to_owned()),
            ("db_operation_name", first.to_owned()),
            ("db_collection_name", second.to_owned()),
        ]),
        Protocol::Redis | Protocol::Memcached => labels.extend([
            ("db_system_name", key.protocol.name().to_owned()),
            ("db_operation_name", route.to_owned()),
        ]),
        Protocol::Kafka => labels.extend([
            ("messaging_system", "kafka".to_owned()),
            ("messaging_operation_name", first.to_owned()),
            ("messaging_destination_name", second.to_owned()),
        ]),
        Protocol::Dns => labels.extend([
            ("dns_question_type", first.to_owned()),
            ("dns_question_name", second.to_owned()),
        ]),
    }
    match &key.peer {
        Some(peer) => labels.extend(address(peer)),
        None => labels.extend([
            (
                "server_address",
                key.service.socket.as_deref().unwrap_or_default().to_owned(),
            ),
            (
                "server_port",
                key.service.port.map(|port| port.to_string()).unwrap_or_default(),
            ),
        ]),
    }
    labels
}
