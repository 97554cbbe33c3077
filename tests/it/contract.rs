//! The `OpenAPI` document against what the API does, by a tool that reads the one and tries the other.

use std::process::Command;
use std::time::Duration;

use perf_agent_tests::agent::{Agent, command};
use perf_agent_tests::child::run_within;
use perf_agent_tests::need;

/// Requests of each kind for each path.
const EXAMPLES: &str = "15";

/// How long it may take.
const LONGEST: Duration = Duration::from_mins(5);

#[test]
fn schemathesis_finds_nothing_that_is_not_as_documented() {
    need!(Agent, Root, Venv);
    let agent = Agent::serving(command(["run"]));
    let base = format!("http://127.0.0.1:{}", agent.api().port());
    let check = |choice: &[&str]| {
        let mut schemathesis = Command::new(need::venv().join("bin/schemathesis"));
        schemathesis
            .current_dir(agent.directory().path())
            .args(["run", &format!("{base}/api/openapi.json")])
            .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
            .args(["--generation-deterministic", "--no-color"])
            .args(choice);
        let said = run_within(LONGEST, schemathesis);
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.error);
    };
    // What is followed does not end.
    let stream = ["--exclude-path", "/api/v1/stream"];
    // What a field may hold depends on others (a ratio, a time in the future), and an address has two forms: the document
    // cannot say all of it.
    check(
        &[
            &stream[..],
            &["--checks", "all", "--exclude-checks", "positive_data_acceptance"],
        ]
        .concat(),
    );
    let others = ["--exclude-path", "/api/v1/requests"];
    let writing = [
        "--exclude-method",
        "POST",
        "--exclude-method",
        "PUT",
        "--exclude-method",
        "DELETE",
    ];
    check(
        &[
            &stream[..],
            &others,
            &writing,
            &["--checks", "positive_data_acceptance"],
        ]
        .concat(),
    );
    agent.stop();
}
