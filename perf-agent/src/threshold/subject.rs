//! Who a figure is of.

use crate::custom::CustomView;
use crate::endpoint::{EndpointKey, Peer};
use crate::exchange::Role;
use crate::process::ServiceKey;
use crate::snapshot::EndpointSnapshot;

/// Who a figure is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// `host`, `agent`, `total`, `service:NAME`, `endpoint:ID`, `cache:PROTOCOL:PEER`, `function:FILE:NAME`,
    /// `custom:NAME{key="value"}`: stable.
    pub key: String,
    /// What people read: `GET /users/{id} of shop:8080`.
    pub name: String,
    /// Name of the service that it belongs to, if it does: what notifications are grouped by.
    pub service: Option<String>,
    /// The endpoint's id, if it is one.
    pub endpoint: Option<String>,
}

impl Subject {
    fn plain(key: &str, name: &str) -> Self {
        Self {
            key: key.to_owned(),
            name: name.to_owned(),
            service: None,
            endpoint: None,
        }
    }

    /// The host.
    pub fn host() -> Self {
        Self::plain("host", "the host")
    }

    /// The agent itself.
    pub fn agent() -> Self {
        Self::plain("agent", "the agent")
    }

    /// All servers of the host together.
    pub fn total() -> Self {
        Self::plain("total", "all services")
    }

    /// All caches together.
    pub(super) fn caches() -> Self {
        Self::plain("cache:*", "all caches")
    }

    /// A service, by name.
    pub fn service(name: &str) -> Self {
        Self {
            key: format!("service:{name}"),
            name: name.to_owned(),
            service: Some(name.to_owned()),
            endpoint: None,
        }
    }

    /// An endpoint.
    pub fn endpoint(endpoint: &EndpointSnapshot) -> Self {
        let EndpointKey {
            service,
            role,
            peer,
            operation,
            ..
        } = &*endpoint.key;
        let mut name = format!("{operation} of {}", service_label(service));
        if let (Role::Client, Some(peer)) = (role, peer) {
            name.push_str(" at ");
            name.push_str(&peer_text(peer));
        }
        Self {
            key: format!("endpoint:{}", endpoint.id),
            name,
            service: Some(service.name.to_string()),
            endpoint: Some(endpoint.id.to_string()),
        }
    }

    /// A cache that is asked; `service` asks it.
    pub(super) fn cache(key: &EndpointKey) -> Option<Self> {
        let (protocol, peer) = (key.protocol.name(), peer_text(key.peer.as_ref()?));
        let tls = if key.tls { "+tls" } else { "" };
        Some(Self {
            key: format!("cache:{protocol}{tls}:{peer}"),
            name: format!("{protocol} at {peer}"),
            service: Some(key.service.name.to_string()),
            endpoint: None,
        })
    }

    /// A function.
    pub(super) fn function(file: &str, name: &str) -> Self {
        let short = file.rsplit('/').next().unwrap_or(file);
        Self::plain(&format!("function:{file}:{name}"), &format!("{name} in {short}"))
    }

    /// A custom metric with its attributes.
    pub(super) fn custom(view: &CustomView) -> Self {
        let attributes = view.attributes.iter();
        let keys: Vec<_> = attributes
            .clone()
            .map(|(attribute, value)| format!("{attribute}={value:?}"))
            .collect();
        let names: Vec<_> = attributes
            .map(|(attribute, value)| format!("{attribute} {value}"))
            .collect();
        let name = &view.name;
        if keys.is_empty() {
            return Self::plain(&format!("custom:{name}"), name);
        }
        Self::plain(
            &format!("custom:{name}{{{}}}", keys.join(",")),
            &format!("{name} of {}", names.join(", ")),
        )
    }

    /// What notifications of it are grouped by: its service, else what sort of thing it is.
    pub fn group(&self) -> &str {
        match &self.service {
            Some(service) => service,
            None => self.key.split_once(':').map_or(self.key.as_str(), |(sort, _)| sort),
        }
    }
}

/// `shop:8080`
fn service_label(service: &ServiceKey) -> String {
    match service.port {
        Some(port) => format!("{}:{port}", service.name),
        None => service.name.to_string(),
    }
}

fn peer_text(peer: &Peer) -> String {
    match peer {
        Peer::Name { host, port: 0 } => host.to_string(),
        Peer::Name { host, port } => format!("{host}:{port}"),
        Peer::Address(address) => address.to_string(),
        Peer::Unix(path) => path.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custom::CustomKind;

    #[test]
    fn a_custom_metric_is_told_by_its_attributes() {
        let mut view = CustomView {
            name: "orders".to_owned(),
            unit: None,
            attributes: vec![
                ("shop".to_owned(), "a\"b".to_owned()),
                ("till".to_owned(), "7".to_owned()),
            ],
            kind: CustomKind::Value,
            count: 0,
            sum: 0.0,
            min: None,
            max: None,
            mean: None,
            last: None,
            per_second: None,
        };
        let subject = Subject::custom(&view);
        assert_eq!(subject.key, r#"custom:orders{shop="a\"b",till="7"}"#);
        assert_eq!(
            (subject.name.as_str(), subject.group()),
            ("orders of shop a\"b, till 7", "custom")
        );
        view.attributes.clear();
        let subject = Subject::custom(&view);
        assert_eq!(
            (subject.key.as_str(), subject.name.as_str()),
            ("custom:orders", "orders")
        );
    }

    #[test]
    fn notifications_are_grouped_by_service_or_sort() {
        assert_eq!(Subject::service("shop").group(), "shop");
        assert_eq!(Subject::host().group(), "host");
        assert_eq!(Subject::agent().group(), "agent");
        assert_eq!(Subject::function("/usr/bin/shop", "main").group(), "function");
        assert_eq!(Subject::function("/usr/bin/shop", "main").name, "main in shop");
    }
}
