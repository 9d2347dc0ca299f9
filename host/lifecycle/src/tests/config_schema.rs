use serde_json::{Value, json};

use crate::config_schema::ConfigSchema;

fn refusal(schema: Value) -> String {
    match ConfigSchema::compile(&schema) {
        Ok(_) => panic!("taken: {schema}"),
        Err(problem) => problem.to_string(),
    }
}

#[test]
fn a_configuration_is_held_against_the_schema_with_paths_and_without_values() {
    let schema = ConfigSchema::compile(&json!({
        "type": "object", "additionalProperties": false, "required": ["greeting"],
        "properties": {"greeting": {"$ref": "#/$defs/word"}, "list": {"type": "array", "items": {"$ref": "#/$defs/word"}}},
        "$defs": {"word": {"type": "string", "pattern": "^[a-z]+$"}}
    }))
    .unwrap();
    let check = |config: Value| -> Vec<String> {
        schema
            .check(&config, "plugins.greeting.config")
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert!(check(json!({"greeting": "hello", "list": ["a", "b"]})).is_empty());
    let wrong = check(json!({"greeting": "hello", "list": ["a", "hunter2 "]}));
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].starts_with("plugins.greeting.config.list[1]: "), "{wrong:?}");
    assert!(!wrong[0].contains("hunter2"), "{wrong:?}");
    let wrong = check(json!({}));
    assert!(wrong[0].contains("greeting"), "{wrong:?}");
    let wrong = check(json!({"greeting": "hello", "greetng": 1}));
    assert_eq!(
        wrong,
        ["plugins.greeting.config: holds a field that the schema does not know; did you mean `greeting`?"]
    );
    let wrong = check(json!({"greeting": "hello", "hunter2": 1, "7": 1}));
    assert_eq!(
        wrong,
        ["plugins.greeting.config: holds 2 fields that the schema does not know; it knows greeting, list"]
    );
}

#[test]
fn names_that_the_schema_does_not_know_are_not_quoted_wherever_they_stand() {
    let schema = ConfigSchema::compile(&json!({
        "properties": {"known": {"type": "array", "items": {"type": "integer"}}},
        "propertyNames": {"maxLength": 12},
        "patternProperties": {"^h": {"unevaluatedProperties": false}},
        "additionalProperties": {"type": "string"}
    }))
    .unwrap();
    for (config, expected) in [
        (json!({"hunter2": {"hunter3": 1}}), "config.*: holds a field"),
        (json!({"4711": 5}), "config.*: value is not of type \"string\""),
        (
            json!({"known": [1, "hunter2"]}),
            "config.known[1]: value is not of type \"integer\"",
        ),
        (
            json!({"a-long-hunter2": "x"}),
            "the name of a field in it: value is longer than 12 characters",
        ),
    ] {
        let wrong = schema.check(&config, "config");
        let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        assert!(told[0].contains(expected), "{config}: {told:?}");
        let told = told.concat();
        assert!(!told.contains("hunter") && !told.contains("4711"), "{config}: {told}");
    }
}

#[test]
fn a_schema_that_is_none_is_refused_with_its_place() {
    let error = refusal(json!({"properties": {"a": {"type": "objekt"}}}));
    assert!(
        error.starts_with("configSchema.properties.a.type: is no JSON schema"),
        "{error}"
    );
    let error = refusal(json!({"properties": {"a": {"pattern": "("}}}));
    assert!(error.starts_with("configSchema"), "{error}");
    // Matched in linear time, so without look-around.
    refusal(json!({"pattern": "(?=a)b"}));
    refusal(json!("object"));
}

#[test]
fn a_schema_fetches_nothing() {
    for reference in [
        "https://example.com/a.json",
        "file:///etc/passwd",
        "other.json#/a",
        "#name",
    ] {
        let error = refusal(json!({"properties": {"a": {"$ref": reference}}}));
        assert!(error.starts_with("configSchema.properties.a.$ref: "), "{error}");
    }
    refusal(json!({"$schema": "https://example.com/dialect", "type": "object"}));
    refusal(json!({"properties": {"a": {"$id": "https://example.com/a"}}}));
    refusal(json!({"$dynamicRef": "#a"}));
}

#[test]
fn a_schema_that_leads_back_to_itself_is_refused() {
    refusal(json!({"$ref": "#"}));
    refusal(json!({"$defs": {"a": {"$ref": "#/$defs/a"}}}));
    refusal(json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}));
    refusal(json!({"properties": {"child": {"items": {"$ref": "#/properties/child"}}}}));
    refusal(json!({"$ref": "#/$defs/nowhere"}));
    // Twice the same is no circle.
    let twice = json!({"properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}}, "$defs": {"x": {}}});
    assert!(ConfigSchema::compile(&twice).is_ok());
}

#[test]
fn a_schema_that_doubles_with_each_reference_is_refused_at_once() {
    let mut definitions = serde_json::Map::new();
    for i in 0..60 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        definitions.insert(format!("d{i}"), json!({"allOf": [next, next]}));
    }
    definitions.insert("d60".into(), json!({}));
    let error = refusal(json!({"$ref": "#/$defs/d0", "$defs": definitions}));
    assert!(error.contains("more than 10000 parts"), "{error}");
}

#[test]
fn a_schema_of_many_or_large_patterns_is_refused() {
    let many: Value = Value::from_iter((0..100).map(|i| (format!("p{i}"), json!({"pattern": "a"}))));
    let error = refusal(json!({"properties": many}));
    assert!(error.contains("more than 64 regular expressions"), "{error}");
    refusal(json!({"pattern": "\\pL{1000}{1000}"}));
}

#[test]
fn a_schema_that_nests_too_deep_is_refused() {
    let mut definitions = serde_json::Map::new();
    for i in 0..1000 {
        definitions.insert(format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)}));
    }
    definitions.insert("d1000".into(), json!({}));
    let error = refusal(json!({"$defs": definitions, "$ref": "#/$defs/d0"}));
    assert!(error.contains("nests deeper than 128"), "{error}");
}
