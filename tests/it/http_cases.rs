//! The HTTP/1 cases of [`crate::cases`], each on a TCP connection of its own, all against one agent.

use perf_agent_tests::agent::{self, Agent};
use perf_agent_tests::child::Workdir;
use perf_agent_tests::need;
use perf_agent_tests::socket::{Family, Listener};
use perf_agent_tests::tape::Tape;
use perf_agent_tests::wait;
use perf_agent_tests::ways;
use perf_agent_tests::wire::Wire;

use crate::cases::{self, Played};

#[test]
fn every_case_is_counted_once_per_role() {
    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let played: Vec<Played> = [cases::basic(), cases::more()]
        .concat()
        .iter()
        .map(|case| Played::play(case, Family::V4, ways::SEND, directory.path()))
        .collect();
    cases::check_all(agent.api(), &played);
    agent.stop();
}

/// The same from a tape: no root, no kernel side. Where this holds and the test above does not, the kernel side errs.
#[test]
fn every_case_is_counted_from_a_tape() {
    need!(Agent);
    let directory = Workdir::new();
    let mut tape = Tape::new();
    let cases = [cases::basic(), cases::more()].concat();
    let played: Vec<Played> = (20_000..)
        .zip(&cases)
        .map(|(port, case)| Played::record(case, &mut tape, port))
        .collect();
    let file = directory.join("tape");
    std::fs::write(&file, tape.finish()).expect("a file can be written");
    let mut command = agent::command(["replay"]);
    command.arg(&file);
    let agent = Agent::serving(command);
    cases::check_all(agent.api(), &played);
    agent.stop();
}

/// One agent for each case, since it starts in the middle of it.
#[test]
fn an_agent_that_starts_in_the_middle_counts_what_follows() {
    need!(Agent, Root);
    let directory = Workdir::new();
    for case in cases::joined() {
        let mut agent = None;
        let start = || agent = Some(Agent::start());
        let played = Played::play_with(&case, Family::V4, ways::SEND, directory.path(), start);
        let agent = agent.expect("the case says when the agent starts");
        wait::settle(wait::SETTLE, "what follows is counted", || {
            cases::check_joined(&played, &agent.api().endpoints())
        });
        agent.stop();
    }
}

/// What is in flight when the agent is asked is in flight, not lost.
#[test]
fn an_exchange_that_waits_is_in_flight() {
    use perf_agent_tests::api::whole;
    use perf_agent_tests::rows::accounting_closes;
    use perf_agent_tests::wire::Step;

    need!(Agent, Root);
    let directory = Workdir::new();
    let agent = Agent::start();
    let listener = Listener::new(Family::V4, directory.path());
    let request = b"GET /waiting HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec();
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let steps = [Step::Client(request), Step::Mark, Step::Server(answer)];
    Wire::new(listener.pair()).play_with(&steps, || {
        wait::settle(wait::SETTLE, "both ends are in flight", || {
            let accounting = agent.api().accounting();
            accounting_closes(&accounting)?;
            let in_flight = whole(&accounting["exchanges"]["in_flight"]);
            if in_flight >= 2 {
                Ok(())
            } else {
                Err(format!("{in_flight} in flight"))
            }
        });
    });
    agent.stop();
}
