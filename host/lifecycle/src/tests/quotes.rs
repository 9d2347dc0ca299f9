//! Nothing that stands in a NAME.yaml is quoted in what is said of it, whatever the file is.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::config::{Config, PluginConfig};
use crate::config_schema::ConfigSchema;

/// In every word of a file that is not ours.
const MARK: &str = "zqx";

/// In every number of a file.
const NUMBER: &str = "4711";

#[track_caller]
fn quotes_nothing(text: &str) -> Option<String> {
    let error = PluginConfig::parse(text.as_bytes(), Path::new("a.yaml")).err()?;
    let file = Config::parse(
        &format!("apiVersion: pilothouse.dev/v1\n{text}"),
        Path::new("config.yaml"),
    );
    let whole = file.err().map(|error| error.to_string()).unwrap_or_default();
    for told in [error.to_string(), format!("{error:?}"), whole] {
        let quotes = told.to_lowercase().contains(MARK) || told.contains(NUMBER);
        assert!(!quotes, "{told}\nof\n{text}");
    }
    Some(error.to_string())
}

#[test]
fn each_kind_of_error_says_what_is_allowed_and_nothing_of_the_file() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("zqx: 1", "a.yaml:1:1: an unknown field; known are enabled, config, "),
        ("limits: {zqx: 1}", "limits: an unknown field; known are wallMs, "),
        (
            "grants: [{zqx: 1}]",
            "grants[0]: an unknown field; known are group, kind, verbs",
        ),
        (
            "grants: [{group: '', kind: Pod, verbs: [zqx]}]",
            "grants[0].verbs[0]: is none of the words that may stand here: get, list, watch",
        ),
        (
            "grants: [{group: '', kind: zqx zqx, verbs: [get]}]",
            "grants[0].kind: is no kind such as ConfigMap: 1 to 63 letters and digits are needed; `*` stands for all",
        ),
        ("grants: [{group: Zqx_, kind: Pod}]", "grants[0].group: is no API group"),
        ("grants: [{names: [zqx/zqx]}]", "grants[0].names[0]: is no object name"),
        (
            "grants: [{subresources: [zqx/zqx]}]",
            "grants[0].subresources[0]: is no subresource",
        ),
        (
            "grants: [{namespaces: [zqx/zqx]}]",
            "grants[0].namespaces[0]: is no name: 1 to 63",
        ),
        (
            "grants: zqx",
            "grants: a list of grants, or the word `asked` is needed here",
        ),
        (
            "grants: [{group: '', kind: Pod, verbs: !zqx [get]}]",
            "tags (!) are not allowed",
        ),
        ("enabled: !zqx true", "tags (!) are not allowed"),
        ("enabled: zqx", "enabled: true or false is needed here"),
        (
            "weight: zqx",
            "weight: a whole number, 0 or greater and not too large, is needed here",
        ),
        ("weight: 4711", "weight: must be from 1 to 100"),
        ("weight: -4711", "weight: a whole number, 0 or greater"),
        ("weight: 47.11", "weight: a whole number, 0 or greater"),
        (
            "weight: 4711471147114711471147114711",
            "weight: a whole number, 0 or greater",
        ),
        ("enabled: 4711", "enabled: true or false is needed here"),
        (
            "grants: 4711",
            "grants: a list of grants, or the word `asked` is needed here",
        ),
        (
            "grants: [4711]",
            "grants[0]: a mapping (fields with values) is needed here",
        ),
        ("4711: 4711", "an unknown field; known are"),
        (
            "controllers: {c: {concurrency: 4711}}",
            "controllers.*.concurrency: must be from 1 to 1000",
        ),
        (
            "controllers: {c: {concurrency: -4711}}",
            "controllers.*.concurrency: must be from 1 to 1000",
        ),
        (
            "controllers: {c: {concurrency: 471.1}}",
            "controllers.*.concurrency: a number from 1 to 1000, `auto`, or",
        ),
        (
            "queue: {backoff: {baseMs: 4711, maxMs: 5}}",
            "queue.backoff: baseMs is greater than maxMs",
        ),
        ("limits: zqx", "limits: a mapping (fields with values) is needed here"),
        ("limits: [zqx]", "limits: a mapping (fields with values) is needed here"),
        ("sha256: zqx", "sha256: is no SHA-256"),
        (
            "controllers: {Zqx_: {}}",
            "controllers.*: a name stands here that is no name",
        ),
        (
            "controllers: {zqx: {concurrency: zqx}}",
            "controllers.*.concurrency: is neither a number",
        ),
        ("impersonate: {user: zqx zqx}", "impersonate: `user` is no user's name"),
        (
            "impersonate: {serviceAccount: zqx}",
            "impersonate: `serviceAccount` is to be NAMESPACE/NAME",
        ),
        ("config: {zqx: 1, zqx: 2}", "config: one name stands here twice"),
        ("weight: 1\nweight: 2", "`weight` stands here twice"),
        ("config: &zqx {}", "anchors and aliases (& and *) are not allowed"),
        ("config: *zqx", "anchors and aliases (& and *) are not allowed"),
        ("config: {<<: {zqx: 1}}", "merge keys (<<) are not allowed"),
        ("config: !zqx {}", "tags (!) are not allowed"),
        ("config: !!zqx {}", "tags (!) are not allowed"),
        ("--- {}\n--- zqx", "a second document (---) is not allowed"),
        ("zqx", "a mapping (fields with values) is needed here"),
        ("- zqx", "a mapping (fields with values) is needed here"),
        ("config: {zqx: [", "is no YAML: "),
        ("config: 'zqx", "is no YAML: "),
        ("%zqx\n---\nzqx: {}", "an unknown field; known are"),
        ("config: \"\\zqx\"", "is no YAML: "),
        ("config: @zqx", "is no YAML: "),
        ("config: |zqx", "is no YAML: "),
        ("config:\n\tzqx: 1", "is no YAML: "),
    ] {
        let told = quotes_nothing(text).unwrap_or_default();
        if !told.starts_with("a.yaml:") || !told.contains(expected) {
            wrong.push(format!("{text}\n    {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is known in a path is what an operator may set: none of its types is forgotten.
#[test]
fn a_path_names_every_field_that_there_is() {
    for (text, path) in [
        ("limits: {wallMs: x}", "limits.wallMs"),
        ("instances: {growthMiB: x}", "instances.growthMiB"),
        ("budget: {cacheMiB: x}", "budget.cacheMiB"),
        ("apiRequestBurst: x", "apiRequestBurst"),
        ("queue: {backoff: {baseMs: x}}", "queue.backoff.baseMs"),
        ("queue: {retries: {perSecond: x}}", "queue.retries.perSecond"),
        ("queue: {fastSlow: {quick: x}}", "queue.fastSlow.quick"),
        ("breaker: {minKeys: x}", "breaker.minKeys"),
        (
            "controllers: {c: {concurrency: {auto: {max: x}}}}",
            "controllers.*.concurrency.auto.max",
        ),
        (
            "controllers: {c: {queue: {maxAttempts: x}}}",
            "controllers.*.queue.maxAttempts",
        ),
        ("impersonate: {user: []}", "impersonate.user"),
        ("dangerous: [{verbs: [x]}]", "dangerous[0].verbs[0]"),
        ("grants: [{namespaces: x}]", "grants[0].namespaces"),
    ] {
        let told = PluginConfig::parse(text.as_bytes(), Path::new("a.yaml")).unwrap_err();
        assert!(told.to_string().contains(&format!(": {path}: ")), "{text}\n{told}");
    }
    for (text, path) in [
        ("compile: {codeMiB: x}", "host.compile.codeMiB"),
        ("apiTimeouts: {totalSeconds: x}", "host.apiTimeouts.totalSeconds"),
    ] {
        let text = format!("apiVersion: pilothouse.dev/v1\nhost: {{{text}}}");
        let told = Config::parse(&text, Path::new("a.yaml")).unwrap_err().to_string();
        assert!(told.contains(&format!(": {path}: ")), "{text}\n{told}");
    }
}

const FIELDS: [&str; 24] = [
    "enabled",
    "config",
    "grants",
    "dangerous",
    "impersonate",
    "limits",
    "instances",
    "budget",
    "queue",
    "breaker",
    "controllers",
    "sha256",
    "group",
    "kind",
    "verbs",
    "namespaces",
    "names",
    "subresources",
    "concurrency",
    "auto",
    "user",
    "backoff",
    "weight",
    "host",
];

/// A word of the file: ours, or one that must not come back.
fn word() -> impl Strategy<Value = String> {
    let foreign = "[ -~é]{0,6}".prop_map(|around| format!("{around}{MARK}{around}"));
    prop_oneof![
        3 => select(&FIELDS[..]).prop_map(str::to_owned),
        2 => "[a-z]{0,3}zqx[a-zA-Z0-9_./-]{0,8}",
        1 => foreign,
        1 => select(vec!["get", "watch", "*", "asked", "true", "null", "4711", "-4711", "47.11e9", "0x4711", "''"]).prop_map(str::to_owned),
    ]
}

fn dressed() -> impl Strategy<Value = String> {
    let dress = select(vec![
        "", "", "", "", "!zqx ", "!!zqx ", "&zqx ", "*", "'", "\"", "|", "# ", "%", "<<: ", "? ", "@",
    ]);
    (dress, word()).prop_map(|(dress, word)| format!("{dress}{word}"))
}

/// Trees of known and foreign names, in flow style.
fn tree() -> impl Strategy<Value = String> {
    dressed().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((word(), inner), 0..4).prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                format!("{{{}}}", fields.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn nothing_of_a_file_is_quoted_whatever_it_is(
        fields in prop::collection::vec((dressed(), tree()), 0..4),
        cut in 0..400_usize,
    ) {
        let whole: String = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        quotes_nothing(&whole);
        // Half written, or cut.
        let half: String = whole.chars().take(cut).collect();
        quotes_nothing(&half);
    }
}

/// Any configuration, of names that its schema knows and of others.
fn configuration() -> impl Strategy<Value = Value> {
    let name = || {
        prop_oneof![
            select(vec!["a", "b", "list", "map"]).prop_map(str::to_owned),
            "zqx[a-z0-9/~.]{0,4}",
            Just("4711".to_owned())
        ]
    };
    let leaf = prop_oneof![
        Just(json!(4711)),
        Just(json!(true)),
        Just(Value::Null),
        "zqx[a-z ]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_of_a_configuration_is_quoted_by_its_schema(config in configuration()) {
        let a = json!({"type": "string", "enum": ["x"], "pattern": "^x$", "maxLength": 2, "format": "uri"});
        let schemas = [
            json!({"type": "object", "properties": {"a": a}, "additionalProperties": false, "required": ["b"]}),
            json!({"properties": {"list": {"items": a, "maxItems": 1, "uniqueItems": true}, "map": {"additionalProperties": a}}}),
            json!({"propertyNames": {"maxLength": 2, "pattern": "^x"}, "maxProperties": 1, "minProperties": 5}),
            json!({"properties": {"a": {"unevaluatedProperties": false}, "list": {"prefixItems": [a], "items": false, "contains": a}}}),
            json!({"anyOf": [a, {"required": ["b"]}], "not": {"type": "object"}, "unevaluatedProperties": false}),
            json!({"oneOf": [{"type": "object"}, {"required": ["a"]}], "patternProperties": {"^z": a}, "dependentRequired": {"a": ["b"]}}),
            json!({"type": ["array", "integer"], "maximum": 3, "multipleOf": 2, "const": 1, "unevaluatedItems": false}),
        ];
        for schema in schemas {
            let compiled = ConfigSchema::compile(&schema).unwrap_or_else(|why| panic!("{why}"));
            for problem in compiled.check(&config, "config") {
                let told = problem.to_string();
                prop_assert!(!told.contains(MARK) && !told.contains(NUMBER), "{} of {} by {}", told, config, schema);
            }
        }
    }
}
