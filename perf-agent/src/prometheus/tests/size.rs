//! What a thousand endpoints come to.

use std::sync::Arc;

use super::{Format, of, snapshot};
use crate::aggregate::{Aggregate, ErrorRule};
use crate::endpoint::{EndpointKey, Operation};
use crate::exchange::{Ended, Outcome, Protocol, Role, Tally, Times};
use crate::process::{Service, ServiceKey};
use crate::snapshot::EndpointSnapshot;
use crate::statistics::codes::CodeNames;
use crate::synthetic::Traffic;

const SECOND_NS: u64 = 1_000_000_000;
/// A moment before the end of two hours: what is to be added up then is most.
const UNTIL_NS: u64 = 26 * 3600 * SECOND_NS - 2 * SECOND_NS;

/// An endpoint's figures after more than a day: every slot of every window in use, times from 1 to 30 ms.
fn busy() -> Aggregate {
    let mut aggregate = Aggregate::new(Role::Server, 0);
    let mut state = 1u64;
    for number in 0..UNTIL_NS / SECOND_NS / 2 {
        let at_ns = SECOND_NS + number * 2 * SECOND_NS;
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = (state >> 33) as f64 / f64::from(1u32 << 31);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some milliseconds"
        )]
        let time_ns = (1e6 * 30f64.powf(random)) as u64;
        let ended = Ended {
            outcome: Outcome::Answered,
            status: Some(200),
            error: None,
            tally: Tally::default(),
            tid: 0,
            times: Times {
                arrival_ns: Some(at_ns - time_ns / 100),
                request_first_ns: at_ns,
                request_last_ns: at_ns,
                response_first_ns: Some(at_ns + time_ns * 9 / 10),
                response_last_ns: at_ns + time_ns,
            },
            request_bytes: 200,
            response_bytes: 1000,
            stream: None,
        };
        aggregate.opened(at_ns);
        aggregate.ended(&ended, &ErrorRule::default());
    }
    aggregate
}

#[test]
fn a_thousand_endpoints_stay_within_some_megabytes() {
    let mut snapshot = (*snapshot(&Traffic::default())).clone();
    let service = Arc::new(Service {
        key: Arc::new(ServiceKey {
            name: "shop".into(),
            exe: Some("/usr/bin/shop".into()),
            container: None,
            unit: Some("shop.service".into()),
            port: Some(8080),
            socket: None,
        }),
        pids: vec![1],
    });
    let aggregate = Arc::new(busy());
    snapshot.at_ns = UNTIL_NS;
    snapshot.endpoints = (0..1000)
        .map(|number| {
            let key = EndpointKey {
                service: Arc::clone(&service.key),
                role: Role::Server,
                peer: None,
                tls: false,
                protocol: Protocol::Http11,
                operation: Operation {
                    method: "GET".into(),
                    route: format!("/api/v1/customers/{{id}}/orders/{number}").into(),
                },
            };
            Arc::new(EndpointSnapshot {
                id: key.id().into(),
                key: Arc::new(key),
                peer_seen: crate::snapshot::PeerSeen::default(),
                service: Arc::clone(&service),
                reason: crate::endpoint::RouteReason::default(),
                codes: CodeNames::default(),
                aggregate: Arc::clone(&aggregate),
            })
        })
        .collect();
    for (format, most) in [
        (Format::Text, 11_000),
        (Format::OpenMetrics, 11_000),
        (Format::Protobuf, 3_500),
    ] {
        let begin = crate::clock::monotonic_ns();
        let bytes = of(&snapshot).render(format).len() / 1000;
        eprintln!(
            "{format:?}: {bytes} bytes per endpoint, {} ms",
            (crate::clock::monotonic_ns() - begin) / 1_000_000
        );
        assert!(bytes <= most, "{format:?}: {bytes} bytes per endpoint");
    }
}
