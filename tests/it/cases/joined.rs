//! The agent starts in the middle of these.

use perf_agent_tests::rows::{Picture, Role, answered};
use perf_agent_tests::wire::Step;

use super::{Case, OK, Played, client, get, server};

/// The agent starts at [`Step::Mark`]; what came before is not known, what comes after is counted as ever.
pub(crate) fn joined() -> Vec<Case> {
    let after = [client(get("/after")), server(OK), client(get("/after")), server(OK)];
    let counted = answered("GET /after", 200).times(2);
    let join = |name: &'static str, before: Vec<Step>, rest: Vec<Step>| {
        let steps = [before, vec![Step::Mark], rest, after.to_vec()].concat();
        Case::new(name, steps, counted.clone()).any_bytes()
    };
    vec![
        join(
            "started between two exchanges",
            vec![client(get("/before")), server(OK)],
            vec![],
        ),
        join(
            "started in the middle of a request's head",
            vec![client("GET /before HTTP/1.1\r\nHost: 127.")],
            vec![client("0.0.1\r\nAccept: */*\r\n\r\n"), server(OK)],
        ),
        join(
            "started in the middle of a request's body",
            vec![client(
                "POST /before HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhello",
            )],
            vec![client("world"), server(OK)],
        ),
        join(
            "started before the answer",
            vec![client(get("/before"))],
            vec![server(OK)],
        ),
        join(
            "started in the middle of an answer's head",
            vec![client(get("/before")), server(&OK[..20])],
            vec![server(&OK[20..])],
        ),
        join(
            "started in the middle of an answer's body",
            vec![client(get("/before")), server(&OK[..OK.len() - 2])],
            vec![server("lo")],
        ),
    ]
}

/// Only these operations, and nothing of what came before the agent but as cut or unknown.
pub(crate) fn check_joined(played: &Played, endpoints: &[serde_json::Value]) -> Result<(), String> {
    for role in Role::BOTH {
        let mut rest = endpoints.to_vec();
        // An exchange joined in the middle may be shown, as what it is; it has no route that was not seen.
        rest.retain(|endpoint| endpoint["operation"] == "GET /after");
        let expected = Picture::expected(&played.case.server[0], None);
        let context = |why: String| format!("{} in the {} role:{why}", played.name(), role.name());
        expected.matches(&played.seen(&rest, role)).map_err(context)?;
        let all = played.seen(endpoints, role);
        let known = all.outcome("answered");
        let honest = all.outcome("cut") + all.outcome("unknown");
        if known != 2 || all.requests() != known + honest || honest > 1 {
            return Err(context(format!("\n{all}")));
        }
    }
    Ok(())
}
