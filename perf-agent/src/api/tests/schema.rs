//! Checks a JSON value against a schema of an `OpenAPI` 3.1 document: the part of JSON Schema that the document uses, and
//! stricter in one thing: a field that the schema does not name is an error, so that the document stays complete.

use std::collections::BTreeMap;

use serde_json::Value;

/// Panics with the place of the first difference.
#[track_caller]
pub(super) fn assert_valid(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Err(difference) = check(document, schema, value, place) {
        panic!("{difference}");
    }
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, resolve(document, reference), value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices
            .iter()
            .filter(|choice| check(document, choice, value, place).is_ok())
            .count();
        return match fitting {
            1 => Ok(()),
            _ => Err(format!("{place}: fits {fitting} of {}: {value}", schema["oneOf"])),
        };
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Err(format!("{place}: {value} is none of {words:?}"));
    }
    let types: Vec<_> = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ if schema["allOf"].is_array() => vec!["object"],
        _ => return Err(format!("{place}: the schema says nothing: {schema}")),
    };
    if !types.iter().any(|name| has_type(name, value)) {
        return Err(format!("{place}: {value} is none of {types:?}"));
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        return Err(format!("{place}: {number} is below {least}"));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check(document, &schema["items"], item, &format!("{place}[{index}]"))),
        Value::Object(fields) => {
            let (mut known, mut required) = (BTreeMap::new(), Vec::new());
            collect(document, schema, &mut known, &mut required);
            if let Some(missing) = required.iter().find(|name| !fields.contains_key(**name)) {
                return Err(format!("{place}: {missing} is missing"));
            }
            let open = &schema["additionalProperties"];
            if known.is_empty() && open.is_null() {
                return Ok(()); // an object of which nothing is said
            }
            fields.iter().try_for_each(|(name, field)| {
                let place = format!("{place}.{name}");
                match known.get(name.as_str()) {
                    Some(schema) => check(document, schema, field, &place),
                    None if open.is_object() => check(document, open, field, &place),
                    None => Err(format!("{place} is not in the document")),
                }
            })
        }
        _ => Ok(()),
    }
}

/// The fields of a schema and of all that it is made of.
fn collect<'a>(
    document: &'a Value,
    schema: &'a Value,
    known: &mut BTreeMap<&'a str, &'a Value>,
    required: &mut Vec<&'a str>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        return collect(document, resolve(document, reference), known, required);
    }
    known.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.as_str(), schema)),
    );
    required.extend(
        schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str),
    );
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(document, part, known, required);
    }
}

fn resolve<'a>(document: &'a Value, reference: &str) -> &'a Value {
    let pointer = reference
        .strip_prefix('#')
        .expect("references stay within the document");
    document
        .pointer(pointer)
        .unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    }
}

#[test]
fn the_checker_itself_finds_what_is_wrong() {
    let document = serde_json::json!({"components": {"schemas": {
        "Part": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 0}}},
        "Whole": {"allOf": [{"$ref": "#/components/schemas/Part"}, {"type": "object", "required": ["b"],
            "properties": {"b": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Part"}]}}}]},
    }}});
    let schema = serde_json::json!({"type": "array", "items": {"$ref": "#/components/schemas/Whole"}});
    let fits = |value: Value| check(&document, &schema, &value, "$");
    assert_eq!(
        fits(serde_json::json!([{"a": 1, "b": null}, {"a": 2, "b": {"a": 3}}])),
        Ok(())
    );
    for (wrong, expected) in [
        (serde_json::json!({}), "$: {} is none of [\"array\"]"),
        (serde_json::json!([{"a": 1}]), "$[0]: b is missing"),
        (
            serde_json::json!([{"a": "1", "b": null}]),
            "$[0].a: \"1\" is none of [\"integer\"]",
        ),
        (serde_json::json!([{"a": -1, "b": null}]), "$[0].a: -1 is below 0"),
        (
            serde_json::json!([{"a": 1, "b": null, "c": 1}]),
            "$[0].c is not in the document",
        ),
        (serde_json::json!([{"a": 1, "b": {}}]), "$[0].b: fits 0"),
    ] {
        let difference = fits(wrong).unwrap_err();
        assert!(difference.starts_with(expected), "{difference}");
    }
}
