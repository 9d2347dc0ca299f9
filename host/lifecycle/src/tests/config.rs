use std::path::Path;
use std::time::Duration;

use pilothouse_runtime::{CompileLimits, EngineConfig, Warm};
use serde_json::json;

use crate::config::{Concurrency, Config, ConfigError, MAX_CONFIG_BYTES, PluginConfig};
use crate::grant::{GrantedVerb, Grants};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("pilothouse.yaml")).map_err(|error| error.to_string())
}

/// The error that `rest` makes behind a good first line. Lines count from 2, then.
#[track_caller]
fn error_of(rest: &str) -> String {
    parse(&format!("apiVersion: pilothouse.dev/v1\n{rest}")).unwrap_err()
}

#[test]
fn a_whole_file_is_read_as_it_was_written() {
    let config = parse(
        "
apiVersion: pilothouse.dev/v1
host:
  poolSize: 8
  metricsAddress: 0.0.0.0:9999
  gracePeriodSeconds: 5
  maxModuleMiB: 16
  compile: {seconds: 30, cpuSeconds: 20, memoryMiB: 512, codeMiB: 64}
  stateDirectory: /var/lib/pilothouse
  apiRequestsPerSecond: 50
  apiRequestBurst: 60
  apiTimeouts: {answerSeconds: 7, listTotalSeconds: 900}
plugins:
  greeting:
    enabled: true
    config: {greeting: hello, times: 3, nested: {on: [1, 2.5, yes, 'no', null]}}
    grants:
      - {group: '', kind: ConfigMap, verbs: [watch, create], namespaces: [team-a], names: ['*']}
      - {group: demo.pilothouse.dev, kind: '*', verbs: ['*'], subresources: [status]}
    limits: {wallMs: 1000, cpuMs: 100, memoryMiB: 512, hostCalls: 10, writes: 5, outputKiB: 1, objectKiB: 2, logLines: 0, logKiB: 3, events: 4}
    instances: {warm: 2, calls: 50, growthMiB: 4}
    budget: {writesPerSecond: 0, writeBurst: 7, inFlightMiB: 8, logLinesPerSecond: 9, logKiBPerSecond: 10, eventsPerObject: 11, eventRefillSeconds: 12, cacheMiB: 13}
    apiRequestsPerSecond: 0
    apiRequestBurst: 5
    controllers: {greeting: {concurrency: 4}}
  other:
    enabled: false
    grants: asked
",
    )
    .unwrap();
    assert_eq!(config.host.pool_size, 8);
    assert_eq!(config.host.metrics_address.unwrap().port(), 9999);
    assert_eq!(config.host.grace_period().as_secs(), 5);
    assert_eq!(config.host.max_module_bytes(), 16 << 20);
    assert_eq!(
        config.host.state_directory.as_deref(),
        Some(Path::new("/var/lib/pilothouse"))
    );
    assert_eq!(
        (config.host.api_requests_per_second, config.host.api_request_burst),
        (50, 60)
    );
    let times = config.host.api_timeouts;
    assert_eq!(
        (times.answer_seconds, times.list_total_seconds, times.connect_seconds),
        (7, 900, 10)
    );
    let greeting = config.plugin("greeting");
    assert_eq!((greeting.api_requests_per_second, greeting.api_request_burst), (0, 5));
    assert_eq!(greeting.config["nested"]["on"], json!([1, 2.5, "yes", "no", null]));
    let Some(Grants::Only(grants)) = &greeting.grants else {
        panic!("{greeting:?}")
    };
    assert_eq!(grants[0].verbs, [GrantedVerb::Watch, GrantedVerb::Create]);
    assert_eq!(grants[1].kind, "*");
    assert_eq!(greeting.limits.memory_mib, Some(512));
    let limits = greeting.limits;
    assert_eq!(
        [
            limits.writes,
            limits.output_kib,
            limits.object_kib,
            limits.log_lines,
            limits.log_kib,
            limits.events
        ],
        [5, 1, 2, 0, 3, 4].map(Some)
    );
    let warm = Warm {
        instances: 2,
        calls: 50,
        growth: 4 << 20,
    };
    assert_eq!(greeting.instances.warm(), warm);
    assert_eq!(config.plugin("other").instances.warm().instances, 0, "by default");
    let budget = greeting.budget;
    assert_eq!(
        (budget.writes_per_second, budget.write_burst, budget.in_flight_mib),
        (0, 7, 8)
    );
    assert_eq!((budget.log_lines_per_second, budget.log_kib_per_second), (9, 10));
    assert_eq!((budget.events_per_object, budget.event_refill_seconds), (11, 12));
    assert_eq!(budget.cache_mib, 13);
    assert_eq!(config.plugin("other").budget.writes_per_second, 100, "by default");
    assert_eq!(
        greeting.controllers["greeting"].concurrency,
        Some(Concurrency::Fixed(4))
    );
    assert!(!config.plugin("other").enabled);
    assert_eq!(config.plugin("other").grants, Some(Grants::Asked));
    assert_eq!(config.most_memory(), 512 << 20);
}

#[test]
fn what_compiling_may_take_is_in_the_runtimes_units_and_by_default_what_the_runtime_has() {
    let limits = |rest: &str| {
        let config = parse(&format!("apiVersion: pilothouse.dev/v1\n{rest}")).unwrap();
        config.host.compile.limits()
    };
    assert_eq!(limits(""), CompileLimits::default());
    let set = limits("host: {compile: {seconds: 30, cpuSeconds: 20, memoryMiB: 512, codeMiB: 64}}");
    let expected = CompileLimits {
        wall: Duration::from_secs(30),
        cpu: Duration::from_secs(20),
        memory: 512 << 20,
        code: 64 << 20,
    };
    assert_eq!(set, expected);
    let usual = parse("apiVersion: pilothouse.dev/v1").unwrap().host.compile;
    let engine = EngineConfig::default();
    assert_eq!(
        (usual.functions, usual.nesting),
        (engine.max_functions, engine.max_nesting)
    );
    let told = error_of("host: {compile: {memoryMiB: 1}}");
    assert!(
        told.contains("host.compile.memoryMiB") && told.contains("must be from 64 to 65536"),
        "{told}"
    );
}

#[test]
fn what_is_not_said_or_left_empty_has_its_default() {
    let least = parse("apiVersion: pilothouse.dev/v1").unwrap();
    assert_eq!(least, Config::default());
    assert_eq!(least.host.pool_size, 64);
    assert_eq!(least.host.metrics_address.unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(
        parse("apiVersion: pilothouse.dev/v1\nhost:\nplugins:\n").unwrap(),
        least
    );
    let empty = parse(
        "apiVersion: pilothouse.dev/v1\nplugins:\n  a:\n  b:\n    config:\n    grants:\n    limits:\n    controllers:\n",
    )
    .unwrap();
    assert_eq!(empty.plugins["a"], PluginConfig::default());
    assert_eq!(empty.plugins["b"], PluginConfig::default());
    assert_eq!(empty.plugin("a").config, json!({}));
    let off = parse("apiVersion: pilothouse.dev/v1\nhost: {metricsAddress: null}").unwrap();
    assert_eq!(off.host.metrics_address, None);
}

#[test]
fn a_plugin_that_the_file_does_not_name_is_granted_nothing_unless_dev_says_so() {
    let config = parse("apiVersion: pilothouse.dev/v1\nplugins: {none: {grants: []}}").unwrap();
    assert_eq!(config.plugin("unnamed").grants, Some(Grants::Only(Vec::new())));
    let dev = config.clone().granting_what_is_asked(false);
    assert_eq!(dev.plugin("unnamed").grants, Some(Grants::Asked));
    let in_memory = config.granting_what_is_asked(true);
    assert_eq!(in_memory.plugin("unnamed").grants, Some(Grants::Everything));
    assert_eq!(dev.plugin("none").grants, Some(Grants::Only(Vec::new())));
}

#[test]
fn an_unknown_field_is_named_with_file_line_column_path_and_mend() {
    assert_eq!(
        error_of("host:\n  poolsize: 3\n"),
        "pilothouse.yaml:3:3: host: an unknown field; known are poolSize, metricsAddress, \
         gracePeriodSeconds, maxModuleMiB, compile, stateDirectory, apiRequestsPerSecond, apiRequestBurst, apiTimeouts, apiCompression, \
         pluginPollSeconds, probationSeconds, probationTraps, adminSocket, adminAddress, \
         adminTokenFile, namespace, keepVersions; did you mean `poolSize`?"
    );
    let error = error_of("plugins:\n  greeting:\n    limit: {}\n");
    assert!(
        error.starts_with("pilothouse.yaml:4:5: plugins.*: an unknown field; known are "),
        "{error}"
    );
    assert!(error.ends_with("did you mean `limits`?"), "{error}");
    // A name that is known elsewhere is none of the path, either.
    let error = error_of("plugins:\n  greeting:\n    limits: {queue: 1}\n");
    assert!(
        error.starts_with("pilothouse.yaml:4:14: plugins.*.limits: an unknown field; known are wallMs, "),
        "{error}"
    );
}

#[test]
fn a_wrong_value_is_named_without_being_quoted() {
    assert_eq!(
        error_of("host:\n  poolSize: 0\n"),
        "pilothouse.yaml:3:13: host.poolSize: must be from 1 to 1000"
    );
    assert_eq!(
        error_of("host:\n  apiTimeouts: {answerSeconds: 0}\n"),
        "pilothouse.yaml:3:32: host.apiTimeouts.answerSeconds: must be from 1 to 600"
    );
    let error = error_of("host:\n  poolSize: hunter2\n");
    assert_eq!(
        error,
        "pilothouse.yaml:3:13: host.poolSize: a whole number, 0 or greater and not too large, is needed here"
    );
    let error = error_of("plugins:\n  greeting:\n    enabled: hunter2\n");
    assert!(
        error.starts_with("pilothouse.yaml:4:14: plugins.*.enabled: true or false is needed here")
            && !error.contains("hunter2"),
        "{error}"
    );
    let error = error_of("plugins:\n  greeting: hunter2\n");
    assert!(
        error.starts_with("pilothouse.yaml:3:13: plugins.*: a mapping (fields with values) is needed here")
            && !error.contains("hunter2"),
        "{error}"
    );
    let error = error_of("plugins:\n  greeting:\n    grants: hunter2\n");
    assert!(
        error.contains("a list of grants, or the word `asked`") && !error.contains("hunter2"),
        "{error}"
    );
    let error = error_of("host: {metricsAddress: hunter2}\n");
    assert!(
        error.contains("host.metricsAddress: ") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn a_wrong_grant_is_named_with_its_place_in_the_list() {
    let error = error_of("plugins:\n  greeting:\n    grants:\n    - {group: '', kind: ConfigMap, verbs: [wach]}\n");
    assert!(
        error.starts_with(
            "pilothouse.yaml:5:44: plugins.*.grants[0].verbs[0]: is none of the words that may stand here: get, "
        ),
        "{error}"
    );
    assert!(error.ends_with("did you mean `watch`?"), "{error}");
    let error = error_of("plugins:\n  greeting:\n    grants:\n    - {kind: ConfigMap, verbs: [watch]}\n");
    assert!(error.contains("plugins.*.grants[0]: missing field `group`"), "{error}");
    let error = error_of("plugins:\n  greeting:\n    grants:\n      group: ''\n");
    assert!(error.contains("each beginning with `-`"), "{error}");
    let error = error_of("plugins:\n  greeting:\n    grants: [{group: '', kind: ConfigMap, verbs: []}]\n");
    assert!(error.contains("`verbs` is empty"), "{error}");
}

#[test]
fn a_file_of_another_api_version_is_not_half_understood() {
    let error = parse("apiVersion: pilothouse.dev/v2\nhost: {}\n").unwrap_err();
    assert!(
        error.starts_with("pilothouse.yaml:1:13: apiVersion: ") && error.contains("reads pilothouse.dev/v1"),
        "{error}"
    );
    let error = parse("host: {}\n").unwrap_err();
    assert!(error.contains("missing field `apiVersion`"), "{error}");
    assert!(parse("").is_err());
}

#[test]
fn what_yaml_would_hide_is_refused_with_the_mend() {
    let error = error_of("plugins:\n  greeting: {}\n  greeting: {}\n");
    assert_eq!(
        error,
        "pilothouse.yaml:4:3: plugins: one name stands here twice; keep one of the two"
    );
    let error = error_of("host:\n  poolSize: 1\n  poolSize: 2\n");
    assert!(error.contains("`poolSize` stands here twice"), "{error}");
    let error = error_of("plugins:\n  a: &x {}\n  b: *x\n");
    assert!(
        error.contains("anchors and aliases (& and *) are not allowed"),
        "{error}"
    );
    let error = error_of("plugins:\n  a:\n    config:\n      <<: {b: 1}\n");
    assert!(error.contains("merge keys (<<) are not allowed"), "{error}");
    let error = error_of("---\napiVersion: pilothouse.dev/v1\n");
    assert!(error.contains("a second document (---) is not allowed"), "{error}");
    let error = error_of("plugins:\n  a:\n    config: !secret x\n");
    assert!(
        error.contains("tags (!) are not allowed") && !error.contains("secret"),
        "{error}"
    );
}

#[test]
fn what_is_no_yaml_is_named_with_its_place() {
    let error = error_of("plugins:\n  a:\n    config: {b: 1\n");
    assert!(
        error.starts_with("pilothouse.yaml:4:13: plugins.*.config: is no YAML: "),
        "{error}"
    );
    assert!(!error.contains('?'), "{error}");
}

#[test]
fn a_file_without_its_first_line_is_told_what_it_is() {
    for (text, expected) in [
        (
            "",
            "c.yaml: there is nothing in the file; begin it with apiVersion: pilothouse.dev/v1",
        ),
        (
            "# later\n---\n",
            "c.yaml: there is nothing in the file; begin it with apiVersion: pilothouse.dev/v1",
        ),
        (
            "host: {poolSize: 4}\n",
            "c.yaml:1:1: missing field `apiVersion`; begin the file with apiVersion: pilothouse.dev/v1",
        ),
    ] {
        let error = Config::parse(text, Path::new("c.yaml")).unwrap_err().to_string();
        assert_eq!(error, expected);
    }
}

#[test]
fn reading_is_bounded() {
    let bomb = "plugins:\n  a: {config: [&a [x,x], *a]}\n";
    assert!(error_of(bomb).contains("anchors"), "{bomb}");
    let indented: String = (0..70).map(|depth| format!("{}a:\n", "  ".repeat(depth + 3))).collect();
    for deep in [
        format!("plugins: {{a: {{config: {}{}}}}}\n", "[".repeat(500), "]".repeat(500)),
        format!("plugins: {{a: {{config: {}{}}}}}\n", "[".repeat(70), "]".repeat(70)),
        format!("plugins:\n  a:\n    config:\n{indented}"),
    ] {
        let error = error_of(&deep);
        assert!(error.len() < 500, "{error}");
        assert!(
            error.contains("nest deeper than 64 in each other") && error.contains("an indent too many"),
            "{error}"
        );
    }
    let many = format!("plugins: {{a: {{config: [{}]}}}}\n", "1,".repeat(200_000));
    assert!(
        error_of(&many).contains("more than 100000 values"),
        "{}",
        error_of(&many)
    );
    let long = "#".repeat(MAX_CONFIG_BYTES);
    let error = error_of(&long);
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
}

#[test]
fn a_plugin_name_that_no_file_can_have_is_refused() {
    let error = error_of("plugins:\n  greeting.wasm: {}\n");
    assert!(
        error.starts_with("pilothouse.yaml:3:3: plugins.*: a name stands here that is no name: 1 to 63 of"),
        "{error}"
    );
}

#[test]
fn a_plugin_without_a_module_is_a_warning_with_the_one_that_was_meant() {
    let config = parse("apiVersion: pilothouse.dev/v1\nplugins: {greting: {}, elsewhere: {}, present: {}}").unwrap();
    let warnings: Vec<String> = config
        .without_module(["greeting", "present"])
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        warnings,
        [
            "plugins.elsewhere: there is no elsewhere.wasm in the plugin directory; a plugin is named like its file, \
             without .wasm",
            "plugins.greting: there is no greting.wasm in the plugin directory; did you mean `greeting`?",
        ]
    );
}

#[test]
fn a_file_that_is_not_there_or_too_long_or_no_text_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pilothouse.yaml");
    assert!(matches!(Config::read(&file), Err(ConfigError::Unreadable { .. })));
    assert!(
        Config::read(&file)
            .unwrap_err()
            .to_string()
            .contains("pilothouse.yaml: can't be read")
    );
    std::fs::write(&file, "#".repeat(MAX_CONFIG_BYTES + 1)).unwrap();
    assert!(matches!(Config::read(&file), Err(ConfigError::TooLong { .. })));
    std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert!(Config::read(&file).unwrap_err().to_string().contains("no UTF-8"));
    std::fs::write(&file, "apiVersion: pilothouse.dev/v1\n").unwrap();
    assert_eq!(Config::read(&file).unwrap(), Config::default());
}

#[test]
fn nothing_is_kept_over_a_restart_unless_a_directory_is_named() {
    for file in ["", "host: {stateDirectory: null}\n", "host: {stateDirectory: }\n"] {
        let config = parse(&format!("apiVersion: pilothouse.dev/v1\n{file}")).unwrap();
        assert_eq!(config.host.state_directory, None, "{file:?}");
    }
    let error = error_of("host:\n  stateDirectory: ''\n");
    assert!(
        error.contains("host.stateDirectory") && error.contains("name a directory"),
        "{error}"
    );
}

#[test]
fn the_hash_of_a_plugins_entry_tells_whether_it_says_something_else() {
    let hash = |entry: &str| {
        let config = parse(&format!("apiVersion: pilothouse.dev/v1\nplugins:\n  p: {entry}\n")).unwrap();
        config.plugin("p").hash()
    };
    let plain = "{config: {a: 1, b: {c: x}}, grants: [{group: '', kind: ConfigMap, verbs: [watch]}]}";
    let same = "{grants: [{kind: ConfigMap, verbs: [watch], group: ''}], limits: {}, queue: {backoff: }, config: {b: {c: x}, a: 1}}";
    assert_eq!(
        hash(plain),
        hash(same),
        "the order of fields, and defaults, make no difference"
    );
    let others = [
        "{config: {a: 2, b: {c: x}}, grants: [{group: '', kind: ConfigMap, verbs: [watch]}]}",
        "{config: {a: 1, b: {c: x}}, grants: [{group: '', kind: ConfigMap, verbs: [watch, get]}]}",
        "{config: {a: 1, b: {c: x}}, grants: asked}",
        "{config: {a: 1, b: {c: x}}, grants: [{group: '', kind: ConfigMap, verbs: [watch]}], limits: {cpuMs: 5}}",
        "{config: {a: 1, b: {c: x}}, grants: [{group: '', kind: ConfigMap, verbs: [watch]}], queue: {maxAttempts: 0}}",
        "{config: {a: 1, b: {c: x}}, grants: [{group: '', kind: ConfigMap, verbs: [watch]}], controllers: {p: {queue: {maxAttempts: 0}}}}",
    ];
    for other in others {
        assert_ne!(hash(plain), hash(other), "{other}");
    }
    let concurrency = "{config: {a: 1, b: {c: x}}, grants: [{group: '', kind: ConfigMap, verbs: [watch]}], controllers: {p: {concurrency: 2}}}";
    assert_eq!(hash(plain), hash(concurrency), "it makes no key go well that failed");
}

#[test]
fn concurrency_is_a_number_or_auto_with_bounds_or_without() {
    let read = |text: &str| {
        let config = parse(&format!(
            "apiVersion: pilothouse.dev/v1\nplugins: {{p: {{controllers: {{c: {{concurrency: {text}}}}}}}}}\n"
        ));
        config.map(|config| config.plugin("p").controllers["c"].concurrency)
    };
    let auto = |min, max| Some(Concurrency::Auto { min, max });
    for (text, expected) in [
        ("7", Some(Concurrency::Fixed(7))),
        ("null", None),
        ("auto", auto(1, 16)),
        ("{auto: }", auto(1, 16)),
        ("{auto: {}}", auto(1, 16)),
        ("{auto: {max: 40}}", auto(1, 40)),
        ("{auto: {min: 3, max: 3}}", auto(3, 3)),
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
    for (text, part) in [
        ("0", "must be from 1 to 1000"),
        ("-1", "must be from 1 to 1000"),
        ("1001", "must be from 1 to 1000"),
        ("automatic", "neither a number from 1 to 1000 nor `auto`"),
        ("{}", "there is nothing in it"),
        ("{otto: {}}", "only `auto` may stand here"),
        ("{auto: {min: 5, max: 4}}", "auto.min is above auto.max"),
        ("{auto: {min: 0}}", "must be from 1 to 1000"),
        ("{auto: {least: 1}}", "an unknown field; known are min, max"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains("plugins.*.controllers.*.concurrency"),
            "{text}: {error}"
        );
    }
}
