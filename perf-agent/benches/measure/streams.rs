//! nginx under h2load with the agent and without, in turns: HTTP/2 without TLS, many requests at once on each connection.

use anyhow::Result;

use crate::agent::Agent;
use crate::host;
use crate::nginx::{Nginx, Plan, Run, STREAMS, Speaks, counts};
use crate::report::Report;

/// The bar.
const MOST_LOSS_PERCENT: f64 = 10.0;

/// The throughput lost, and whether everything was counted.
pub(crate) fn run(plan: &Plan) -> Result<Report> {
    host::pin(&[0, 1])?;
    let [connections, streams] = STREAMS;
    let mut report = Report::new("streams");
    report.how(format!(
        "h2load ({connections} connections, {streams} requests in flight on each) against nginx (1 worker, `return 200`, \
         HTTP/2 without TLS), some {} s per run, {} pairs of a run with the agent and one without, in alternating order. \
         Client, server and agent share two processors. The agent observes both ends of each connection.",
        plan.seconds, plan.pairs
    ));
    let nginx = Nginx::start(Speaks::Http2)?;
    nginx.load(1)?;
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for pair in 0..plan.pairs {
        for with_agent in if pair % 2 == 0 { [false, true] } else { [true, false] } {
            let agent = with_agent
                .then(|| Agent::start(&plan.agent, plan.backend.as_deref()))
                .transpose()?;
            let run = nginx.observed(plan.seconds, agent.as_ref())?;
            if with_agent { &mut on } else { &mut off }.push(run);
        }
    }
    report.at_most(MOST_LOSS_PERCENT, "throughput lost", "%", &lost(&off, &on));
    rates(&mut report, "without agent", &off);
    rates(&mut report, "with agent", &on);
    let own: Vec<f64> = on.iter().map(Run::agent_us).collect();
    report.row("agent's own processor time per request", "us", &own);
    counts(&mut report, &on);
    Ok(report)
}

/// Throughput lost within each pair, percent.
pub(crate) fn lost(off: &[Run], on: &[Run]) -> Vec<f64> {
    let pairs = off.iter().zip(on);
    pairs.map(|(off, on)| (1.0 - on.rate / off.rate) * 100.0).collect()
}

/// Throughput, and what a request cost nginx.
pub(crate) fn rates(report: &mut Report, what: &str, runs: &[Run]) {
    let all = |pick: fn(&Run) -> f64| runs.iter().map(pick).collect::<Vec<f64>>();
    report.row(format!("requests per second {what}"), "1/s", &all(|run| run.rate));
    let server = format!("nginx's processor time per request {what}");
    report.row(server, "us", &all(|run| run.server_us));
}
