//! Whom services asked, as it is told of every target.

use crate::aggregate::{STATUSES, Window};
use crate::exchange::{Class, Role};
use crate::pipeline::{Pipeline, Settings};
use crate::statistics;
use crate::synthetic::{End, Traffic};
use crate::targets::Targets;

#[test]
fn every_request_is_in_the_statuses_of_its_target() {
    let mut traffic = Traffic::default();
    traffic.process(7, "/usr/bin/app", "/");
    for status in 200..300 {
        let end = End {
            connection: status,
            tgid: 7,
            role: Role::Client,
            port: 80,
        };
        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
        traffic.open(end, status);
        traffic.exchange(
            end,
            "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            &answer,
            [status, status + 1],
        );
    }
    traffic.tick(1_000_000_000);
    let mut pipeline = Pipeline::new(Settings {
        connections: 200,
        statistics: statistics::Settings::default(),
    })
    .expect("no routes");
    traffic.records.iter().for_each(|record| pipeline.apply(record));
    let targets = Targets::of(&pipeline.snapshot(), Window::Start, Class::External);
    let statuses = &targets.all[0].sum.statuses;
    assert_eq!(statuses.values().sum::<u64>(), 100);
    assert_eq!((statuses["200"], statuses["other"]), (1, 100 - STATUSES as u64));
}
