//! Overload: the ring buffer is too small on purpose. What is lost is said, and the books close all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use perf_agent_tests::agent::Agent;
use perf_agent_tests::api::whole;
use perf_agent_tests::client::Connection;
use perf_agent_tests::need;
use perf_agent_tests::nginx::Nginx;
use perf_agent_tests::rows::{self, Expect, Picture, Role, answered};
use perf_agent_tests::wait;
use perf_agent_tests::wrk::Load;

/// Between the requests after the load: the ring holds those of ten such pauses.
const PAUSE: Duration = Duration::from_millis(40);

#[test]
fn lost_records_are_said_and_the_books_close() {
    need!(Agent, Root, Nginx, Wrk);
    let nginx = Nginx::start(None);
    // Four pages: a few dozen records.
    let agent = Agent::start_with(["--ring-bytes", "16384"]);
    let load = Load {
        connections: 64,
        seconds: 4,
        url: format!("http://127.0.0.1:{}/hello", nginx.port()),
        pipelined: 1,
    };
    let running = AtomicBool::new(true);
    let (report, looks) = thread::scope(|scope| {
        let books = scope.spawn(|| {
            let mut looks = 0;
            while running.load(Ordering::Relaxed) {
                rows::accounting_closes(&agent.api().accounting()).unwrap_or_else(|why| panic!("under load: {why}"));
                looks += 1;
            }
            looks
        });
        let report = load.run();
        running.store(false, Ordering::Relaxed);
        (report, books.join().expect("the books close under load"))
    });
    assert!(looks > 3, "looked {looks} times only");

    let accounting = agent.api().accounting();
    assert!(
        whole(&accounting["records"]["lost"]) > 0,
        "nothing lost with a tiny ring: {accounting}"
    );
    rows::accounting_closes(&accounting).unwrap_or_else(|why| panic!("after the load: {why}"));
    let endpoints = agent.api().endpoints();
    for role in Role::BOTH {
        // Less than there was, never more, and nothing that was not there.
        let seen = Picture::seen(&endpoints, &nginx.at(), role);
        let most = report.requests + u64::from(load.connections);
        assert!(
            seen.requests() <= most,
            "{} requests of {most}:\n{seen}",
            seen.requests()
        );
        assert!(seen.outcome("answered") > 0, "nothing at all was counted:\n{seen}");
        for endpoint in endpoints.iter().filter(|endpoint| nginx.at().is(endpoint, role)) {
            let statuses = endpoint["statuses"].as_object().cloned().unwrap_or_default();
            assert!(
                statuses.keys().all(|status| status == "200"),
                "a status that nobody sent: {endpoint}"
            );
            let operation = endpoint["operation"].as_str().unwrap_or_default();
            assert!(
                ["GET /hello", "GET (unseen)", "(unseen)"].contains(&operation),
                "{endpoint}"
            );
        }
    }

    // The ends of some connections were lost as well; nothing stays in flight for that.
    wait::settle(wait::SETTLE, "nothing stays in flight", || {
        let exchanges = agent.api().accounting()["exchanges"].clone();
        if whole(&exchanges["in_flight"]) == 0 {
            Ok(())
        } else {
            Err(exchanges.to_string())
        }
    });

    // Afterwards everything is counted again, on connections that are new; slowly, as twenty requests at once, seen at
    // both ends, are more than the ring holds.
    let before = Picture::seen(&endpoints, &nginx.at(), Role::Server);
    assert!(!before.operations().contains(&"GET /gone"));
    let mut connection = Connection::port(nginx.port()).expect("nginx listens");
    for _ in 0..20 {
        assert_eq!(connection.get("/gone").expect("nginx answers").status, 410);
        thread::sleep(PAUSE);
    }
    let expected: Vec<Expect> = answered("GET /gone", 410).times(20);
    wait::settle(wait::SETTLE, "new connections are counted in full", || {
        let mut endpoints = agent.api().endpoints();
        endpoints.retain(|endpoint| endpoint["operation"] == "GET /gone");
        Picture::expected(&expected, None).matches(&Picture::seen(&endpoints, &nginx.at(), Role::Server))
    });
    agent.stop();
}
