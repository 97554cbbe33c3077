//! Thresholds and silences through the API: what is taken, what is refused, and how.

use serde_json::{Value, json};

use super::{Reply, Served, served};
use crate::synthetic::Traffic;

#[track_caller]
fn send(served: &Served, method: &str, path: &str, body: &Value, status: u16) -> Reply {
    let reply = served.send(method, path, &body.to_string());
    assert_eq!(reply.status.as_u16(), status, "{method} {path}: {}", reply.body);
    reply
}

fn ids(served: &Served) -> Vec<String> {
    let listed = served.get("/api/v1/thresholds");
    let listed = listed["thresholds"].as_array().unwrap().iter();
    listed
        .map(|threshold| threshold["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_threshold_is_made_read_changed_and_removed() {
    let served = served(&Traffic::example(), true);
    let defaults = ids(&served);
    let body = json!({
        "id": "slow", "metric": "response_time_p95", "scope": "*", "comparison": "gt", "value": 200.0, "window": "1m",
        "for": "30s", "min_count": 20, "severity": "warning", "message": "{{ subject }} is slow",
        "runbook": "https://runbooks.example/slow",
    });
    let made = send(&served, "POST", "/api/v1/thresholds", &body, 201).body;
    let mut expected = body.clone();
    expected["source"] = "api".into();
    expected["unit"] = "ms".into();
    expected["clear"] = 190.0.into();
    assert_eq!(made, expected);
    assert_eq!(served.get("/api/v1/thresholds/slow"), expected);
    assert_eq!(ids(&served).len(), defaults.len() + 1);
    send(&served, "POST", "/api/v1/thresholds", &body, 409);
    // What was read can be written again.
    expected["value"] = 300.0.into();
    expected["clear"] = 250.0.into();
    let changed = send(&served, "PUT", "/api/v1/thresholds/slow", &expected, 200).body;
    assert_eq!(changed, expected);
    assert_eq!(
        send(&served, "DELETE", "/api/v1/thresholds/slow", &Value::Null, 204).body,
        Value::Null
    );
    send(&served, "DELETE", "/api/v1/thresholds/slow", &Value::Null, 404);
    served.refuses("/api/v1/thresholds/slow", 404, "there is nothing of the id \"slow\"");
    assert_eq!(ids(&served), defaults);
}

#[test]
fn one_that_comes_with_the_agent_is_replaced_and_comes_back() {
    let served = served(&Traffic::example(), true);
    let before = served.get("/api/v1/thresholds/error-rate-error");
    assert_eq!((&before["source"], &before["value"]), (&"default".into(), &0.05.into()));
    let body = json!({"metric": "error_rate", "value": 0.2, "severity": "error"});
    let put = send(&served, "PUT", "/api/v1/thresholds/error-rate-error", &body, 200).body;
    assert_eq!((&put["source"], &put["value"]), (&"api".into(), &0.2.into()));
    assert_eq!(ids(&served).iter().filter(|id| *id == "error-rate-error").count(), 1);
    send(
        &served,
        "DELETE",
        "/api/v1/thresholds/error-rate-error",
        &Value::Null,
        204,
    );
    assert_eq!(served.get("/api/v1/thresholds/error-rate-error"), before);
    let refused = send(
        &served,
        "DELETE",
        "/api/v1/thresholds/error-rate-error",
        &Value::Null,
        409,
    )
    .body;
    assert!(
        refused["detail"].as_str().unwrap().contains("comes with the agent"),
        "{refused}"
    );
}

#[test]
fn what_is_wrong_is_said_by_field_with_what_is_allowed() {
    let served = served(&Traffic::default(), true);
    let body = json!({"metric": "respons_time_p95", "value": 1, "severity": "bad", "for": "never"});
    let refused = send(&served, "POST", "/api/v1/thresholds", &body, 400).body;
    let errors: Vec<_> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].clone())
        .collect();
    assert_eq!(errors, ["metric", "severity", "for"]);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("did you mean `response_time_p95`?"), "{detail}");
    let unknown = send(&served, "POST", "/api/v1/thresholds", &json!({"metrik": "x"}), 400).body;
    assert!(
        unknown["detail"].as_str().unwrap().contains("unknown field `metrik`"),
        "{unknown}"
    );
    for (body, status) in [("", 400), ("{", 400), ("[]", 400), ("null", 400)] {
        assert_eq!(
            served.send("POST", "/api/v1/thresholds", body).status.as_u16(),
            status,
            "{body}"
        );
    }
    let long = format!("{{\"message\": \"{}\"}}", "x".repeat(70_000));
    let refused = served.send("POST", "/api/v1/thresholds", &long);
    assert_eq!(
        (refused.status.as_u16(), refused.body["status"].clone()),
        (413, 413.into())
    );
    let refused = send(&served, "PUT", "/api/v1/thresholds/a", &json!({"id": "b"}), 400).body;
    assert_eq!(refused["errors"][0]["field"], "id");
}

#[test]
fn a_silence_is_made_listed_and_ended() {
    let served = served(&Traffic::default(), true);
    let body = json!({
        "matchers": [{"field": "service", "value": "shop*"}], "duration": "2h", "created_by": "ops", "comment": "deploy",
    });
    let made = send(&served, "POST", "/api/v1/silences", &body, 201).body;
    assert_eq!(
        (&made["matchers"], &made["comment"]),
        (&body["matchers"], &"deploy".into())
    );
    assert_eq!(served.get("/api/v1/silences")["silences"], json!([made]));
    let id = made["id"].as_str().unwrap();
    let ended = send(&served, "DELETE", &format!("/api/v1/silences/{id}"), &Value::Null, 200).body;
    assert!(ended["ends_at"].as_str() < made["ends_at"].as_str(), "{ended}");
    send(&served, "DELETE", "/api/v1/silences/none", &Value::Null, 404);
    for (wrong, field) in [
        (json!({"matchers": [], "duration": "2h"}), "matchers"),
        (json!({"matchers": body["matchers"]}), "ends"),
        (json!({"matchers": body["matchers"], "ends_at": "tomorrow"}), "ends_at"),
        (json!({"matchers": body["matchers"], "duration": "long"}), "duration"),
        (
            json!({"matchers": body["matchers"], "ends_at": "2020-01-01T00:00:00Z"}),
            "ends",
        ),
        (
            json!({"matchers": [{"field": "colour", "value": "x"}], "duration": "2h"}),
            "matchers",
        ),
    ] {
        let refused = send(&served, "POST", "/api/v1/silences", &wrong, 400).body;
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
}

#[test]
fn nobody_is_told_where_there_is_no_receiver() {
    let served = served(&Traffic::default(), true);
    assert_eq!(
        served.get("/api/v1/receivers"),
        json!({"receivers": [], "degraded": null})
    );
    let tried = send(&served, "POST", "/api/v1/alerts/test", &Value::Null, 200).body;
    assert_eq!(tried, json!({"receivers": []}));
    assert_eq!(
        served.get("/api/v1/alerts?state=firing&severity=critical"),
        json!({"alerts": [], "beyond": 0})
    );
}
