//! Custom metrics over the API.

use super::*;

impl Served {
    fn report(&self, body: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = Request::builder().method("POST").uri("/api/v1/metrics/custom");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status.as_u16(), serde_json::from_slice(&body).unwrap_or(Value::Null))
        })
    }

    #[track_caller]
    fn takes(&self, body: &Value, accepted: u64) {
        let (status, answer) = self.report(&body.to_string(), &[]);
        assert_eq!((status, &answer), (202, &json!({"accepted": accepted})));
        let document = json(document());
        let place = "/paths/~1api~1v1~1metrics~1custom/post/responses/202/content/application~1json/schema";
        schema::assert_valid(&document, document.pointer(place).unwrap(), &answer, "202");
    }

    #[track_caller]
    fn refuses_report(&self, body: &str, status: u16, detail: &str) {
        let (got, answer) = self.report(body, &[]);
        assert_eq!((got, answer["detail"].as_str()), (status, Some(detail)), "{body}");
        let (document, schema) = (json(document()), json!({"$ref": "#/components/schemas/Problem"}));
        schema::assert_valid(&document, &schema, &answer, body);
    }
}

#[test]
fn what_programs_report_is_listed() {
    let served = served(&Traffic::default(), true);
    served.takes(
        &json!({"name": "cart.value", "value": 12.5, "unit": "EUR", "attributes": {"shop": "eu"}}),
        1,
    );
    served.takes(
        &json!([
            {"name": "cart.value", "value": 7.5, "attributes": {"shop": "eu"}, "kind": null},
            {"name": "queue", "value": 3, "kind": "gauge"},
            {"name": "queue", "value": -1.5, "kind": "gauge", "unit": null},
            {"name": "paid", "value": 2, "kind": "counter", "attributes": {}},
        ]),
        4,
    );
    served.takes(&json!([]), 0);
    let answer = served.get("/api/v1/metrics/custom?window=start");
    let mut metrics = answer["metrics"].as_array().unwrap().clone();
    assert_eq!(
        (&answer["window"], &answer["series"], &answer["dropped"]),
        (&json!("start"), &json!(3), &json!(0))
    );
    // They depend on when this is asked.
    for metric in &mut metrics {
        assert!(metric["rate"].as_f64().is_some(), "{metric}");
        metric["rate"] = json!("?");
    }
    assert_eq!(
        json!(metrics),
        json!([
            {"name": "cart.value", "unit": "EUR", "kind": "value", "attributes": {"shop": "eu"}, "count": 2, "sum": 20.0,
             "min": 7.5, "max": 12.5, "mean": 10.0, "last": 7.5, "rate": "?"},
            {"name": "paid", "unit": null, "kind": "counter", "attributes": {}, "count": 1, "sum": 2.0,
             "min": 2.0, "max": 2.0, "mean": 2.0, "last": 2.0, "rate": "?"},
            {"name": "queue", "unit": null, "kind": "gauge", "attributes": {}, "count": 2, "sum": 1.5,
             "min": -1.5, "max": 3.0, "mean": 0.75, "last": -1.5, "rate": "?"},
        ])
    );
    let of_name = served.get("/api/v1/metrics/custom?name=paid");
    assert_eq!(
        (of_name["metrics"].as_array().unwrap().len(), &of_name["window"]),
        (1, &json!("5m"))
    );
    assert_eq!(served.get("/api/v1/metrics/custom?name=none")["metrics"], json!([]));
    let document = json(document());
    let schema = json!({"$ref": "#/components/schemas/CustomMetrics"});
    schema::assert_valid(&document, &schema, &answer, "custom metrics");
}

#[test]
fn what_is_wrong_with_a_report_is_said_and_nothing_of_it_taken() {
    let served = served(&Traffic::default(), true);
    let name = "a name is 1 to 128 letters, digits, _ : . - and begins with a letter, _ or :";
    for (body, detail) in [
        (r#"{"value": 1}"#, "name is missing".to_owned()),
        (
            r#"[{"name": "a", "value": 1}, {"name": "a"}]"#,
            "[1].value is missing".to_owned(),
        ),
        (
            r#"{"name": "a b", "value": 1}"#,
            format!("name is \"a b\", expected another one: {name}"),
        ),
        (r#"{"name": 1, "value": 1}"#, "name is 1, expected a text".to_owned()),
        (
            r#"{"name": "a", "value": "1"}"#,
            "value is \"1\", expected a finite number".to_owned(),
        ),
        (
            r#"{"name": "a", "value": 1, "valeu": 2}"#,
            "unknown field \"valeu\": a figure has name, value, unit, attributes, kind".to_owned(),
        ),
        (
            r#"[{"name": "a", "value": 1, "kind": "set"}]"#,
            "[0].kind is \"set\", expected one of value, gauge, counter".to_owned(),
        ),
        (
            r#"{"name": "a", "value": 1, "attributes": []}"#,
            "attributes is [], expected an object of texts".to_owned(),
        ),
        (
            r#"{"name": "a", "value": 1, "attributes": {"k": 1}}"#,
            "attributes.\"k\" is 1, expected a text".to_owned(),
        ),
        (
            r#"{"name": "a", "value": 1, "unit": ""}"#,
            "unit is \"\", expected another one: a unit is 1 to 32 printable characters".to_owned(),
        ),
        ("[1]", "[0] is no object, expected {\"name\", \"value\", …}".to_owned()),
        (
            "1",
            "the body is neither an object {\"name\", \"value\", …} nor an array of them".to_owned(),
        ),
        (
            r#"[{"name": "a", "value": 1}, {"name": "a", "value": 1e999}]"#,
            "the body is no JSON that can be read: number out of range at line 1 column 56".to_owned(),
        ),
    ] {
        served.refuses_report(body, 400, &detail);
    }
    let many = json!(vec![json!({"name": "a", "value": 1}); 1001]).to_string();
    served.refuses_report(&many, 400, "1001 figures are too many: at most 1000 at once");
    served.refuses_report(
        &format!("[{}]", " ".repeat(600_000)),
        413,
        "the body was cut, or it is longer than 524288 bytes: send fewer figures at once",
    );
    assert_eq!(served.get("/api/v1/metrics/custom")["metrics"], json!([]));
    served.takes(&json!({"name": "a", "value": 1, "kind": "gauge"}), 1);
    let both = json!([{"name": "b", "value": 1}, {"name": "a", "value": 1, "kind": "counter"}]).to_string();
    served.refuses_report(&both, 400, "[1].kind: a is a gauge, not a counter");
    assert_eq!(served.get("/api/v1/metrics/custom")["series"], json!(1));
}

#[test]
fn what_finds_no_place_is_counted() {
    let served = served(&Traffic::default(), true);
    let numbered = |from: u32, to: u32| {
        let reports = (from..to).map(|number| json!({"name": format!("m{number}"), "value": 1}));
        json!(reports.collect::<Vec<_>>())
    };
    served.takes(&numbered(0, 999), 999);
    served.takes(&numbered(990, 1010), 10);
    let answer = served.get("/api/v1/metrics/custom?name=m0");
    assert_eq!((&answer["series"], &answer["dropped"]), (&json!(1000), &json!(10)));
}
