use std::path::Path;

use super::{least_manifest, whole_manifest};
use crate::config::{Config, PluginConfig};
use crate::manifest::Manifest;
use crate::problem::Problem;
use crate::queue_settings::{BackoffSettings, FastSlow, QueueSettings, RetryRate, Retrying};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("pilothouse.yaml")).map_err(|error| error.to_string())
}

/// A plugin's entry, from its third line in the file.
fn plugin(entry: &str) -> Result<PluginConfig, String> {
    let config = parse(&format!("apiVersion: pilothouse.dev/v1\nplugins:\n  p: {entry}\n"))?;
    Ok(config.plugin("p"))
}

#[track_caller]
fn error_of(queue: &str) -> String {
    plugin(&format!("{{queue: {queue}}}")).unwrap_err()
}

#[test]
fn a_queue_is_set_for_a_plugin_and_for_one_of_its_controllers() {
    let own = plugin(
        "{queue: {backoff: {baseMs: 100, maxMs: 60000, jitter: false}, maxAttempts: 12, retries: {perSecond: 10, burst: \
         20}, fastSlow: {fastMs: 0, slowMs: 30000, quick: 3}}, controllers: {c: {queue: {maxAttempts: 0, retries: \
         {perSecond: 0}}}}}",
    )
    .unwrap();
    let expected = QueueSettings {
        backoff: BackoffSettings {
            base_ms: Some(100),
            max_ms: Some(60_000),
            jitter: Some(false),
        },
        max_attempts: Some(12),
        retries: Some(RetryRate {
            per_second: 10,
            burst: 20,
        }),
        fast_slow: Some(FastSlow {
            fast_ms: 0,
            slow_ms: 30_000,
            quick: 3,
        }),
    };
    assert_eq!(own.queue, expected);
    let expected = QueueSettings {
        max_attempts: Some(0),
        retries: Some(RetryRate {
            per_second: 0,
            burst: 100,
        }),
        ..QueueSettings::default()
    };
    assert_eq!(own.controllers["c"].queue, expected);
    for empty in [
        "{queue: }",
        "{queue: {backoff: , maxAttempts: , retries: , fastSlow: }}",
        "{}",
    ] {
        assert_eq!(plugin(empty).unwrap().queue, QueueSettings::default(), "{empty}");
    }
}

#[test]
fn a_wrong_setting_of_a_queue_is_named_with_its_field_and_bounds() {
    for (queue, at, what) in [
        ("{backoff: {baseMs: 0}}", "backoff.baseMs", "must be from 1 to 3600000"),
        (
            "{backoff: {maxMs: 86400001}}",
            "backoff.maxMs",
            "must be from 1 to 86400000",
        ),
        ("{maxAttempts: 1000001}", "maxAttempts", "must be from 0 to 1000000"),
        (
            "{retries: {perSecond: 100001}}",
            "retries.perSecond",
            "must be from 0 to 100000",
        ),
        (
            "{retries: {perSecond: 1, burst: 0}}",
            "retries.burst",
            "must be from 1 to 100000",
        ),
        ("{retries: {burst: 5}}", "retries", "missing field `perSecond`"),
        (
            "{fastSlow: {fastMs: 1, slowMs: 2}}",
            "fastSlow",
            "missing field `quick`",
        ),
        (
            "{fastSlow: {fastMs: 0, slowMs: 0, quick: 1}}",
            "fastSlow.slowMs",
            "must be from 1 to 86400000",
        ),
        (
            "{fastSlow: {fastMs: 3, slowMs: 2, quick: 1}}",
            "fastSlow",
            "fastMs is greater than slowMs; fastMs is the wait after the first failures",
        ),
        (
            "{backoff: {baseMs: 3, maxMs: 2}}",
            "backoff",
            "baseMs is greater than maxMs; baseMs is the first wait and maxMs the longest",
        ),
        (
            "{retries: 5}",
            "retries",
            "a mapping (fields with values) is needed here",
        ),
    ] {
        let error = error_of(queue);
        assert!(
            error.starts_with("pilothouse.yaml:3:") && error.contains(&format!(": plugins.*.queue.{at}: {what}")),
            "{queue}: {error}"
        );
    }
    let error = error_of("{backoff: {jiter: true}}");
    assert!(
        error.contains("plugins.*.queue.backoff: an unknown field") && error.ends_with("did you mean `jitter`?"),
        "{error}"
    );
    let error = plugin("{controllers: {c: {queue: {maxAttempt: 3}}}}").unwrap_err();
    assert!(
        error.contains("plugins.*.controllers.*.queue: an unknown field")
            && error.ends_with("did you mean `maxAttempts`?"),
        "{error}"
    );
}

/// What holds for controller `greeting`, whose manifest says maxAttempts 8 and backoff 10 to 60,000 ms.
fn retrying(entry: &str) -> Result<Retrying, Problem> {
    let own = plugin(entry).unwrap();
    let manifest = Manifest::parse(&whole_manifest().to_string()).unwrap();
    let of_one = own.controllers.get("greeting").copied().unwrap_or_default();
    Retrying::of(&manifest.controllers[0], &of_one.queue, &own.queue)
}

#[test]
fn the_controllers_setting_wins_over_the_plugins_and_this_over_the_manifests_field_by_field() {
    let manifest = Retrying {
        base_ms: 10,
        max_ms: 60_000,
        jitter: true,
        max_attempts: Some(8),
        rate: None,
        fast_slow: None,
    };
    assert_eq!(retrying("{}"), Ok(manifest));
    let rate = RetryRate {
        per_second: 3,
        burst: 100,
    };
    let plugins = Retrying {
        base_ms: 20,
        max_attempts: Some(2),
        rate: Some(rate),
        ..manifest
    };
    let all = "queue: {backoff: {baseMs: 20}, maxAttempts: 2, retries: {perSecond: 3}}";
    assert_eq!(retrying(&format!("{{{all}}}")), Ok(plugins));
    let own = Retrying {
        max_ms: 5_000,
        jitter: false,
        max_attempts: None,
        rate: None,
        ..plugins
    };
    let one = "{queue: {backoff: {maxMs: 5000, jitter: false}, maxAttempts: 0, retries: {perSecond: 0}}}";
    let entry = format!("{{{all}, controllers: {{greeting: {one}, plain: {{queue: {{maxAttempts: 7}}}}}}}}");
    assert_eq!(retrying(&entry), Ok(own));
}

#[test]
fn waits_that_contradict_each_other_only_together_are_refused_with_both() {
    let refused = retrying("{queue: {backoff: {maxMs: 9}}}").unwrap_err().to_string();
    assert_eq!(
        refused,
        "controllers.greeting.queue.backoff: the first wait would be longer than the longest; what is not set there is \
         that of the plugin's own queue.backoff, or the manifest's (baseMs 10, maxMs 60000); set both baseMs and maxMs"
    );
    assert!(
        retrying("{queue: {backoff: {maxMs: 9}}, controllers: {greeting: {queue: {backoff: {baseMs: 9}}}}}").is_ok()
    );
}

#[test]
fn where_nobody_says_anything_the_defaults_hold() {
    let manifest = Manifest::parse(&whole_manifest().to_string()).unwrap();
    let none = QueueSettings::default();
    let expected = Retrying {
        base_ms: 5,
        max_ms: 300_000,
        jitter: true,
        max_attempts: None,
        rate: None,
        fast_slow: None,
    };
    assert_eq!(Retrying::of(&manifest.controllers[1], &none, &none), Ok(expected));
}

#[test]
fn the_readmes_example_is_what_it_says() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let section = readme
        .split_once("\n## Configuration and grants\n")
        .expect("the section")
        .1;
    let example = section.split_once("```yaml\n").expect("the example").1;
    let example = example.split_once("\n```").expect("its end").0;
    let config = parse(example).unwrap();
    assert_eq!(
        config.host,
        Config::default().host,
        "the host's settings are the defaults"
    );
    let own = config.plugin("greeting");
    let of_one = own.controllers["greeting"];
    assert_eq!(of_one.queue.max_attempts, Some(20));
    assert_eq!(own.queue.max_attempts, Some(0));
    // But for what the text beside says of the controller, these are the defaults, too.
    let default = PluginConfig::default();
    assert_eq!(
        (own.api_requests_per_second, own.api_request_burst),
        (default.api_requests_per_second, default.api_request_burst)
    );
    let manifest = Manifest::parse(&least_manifest().to_string()).unwrap();
    let none = QueueSettings::default();
    let of = |all| Retrying::of(&manifest.controllers[0], &none, all).unwrap();
    assert_eq!(of(&own.queue), of(&none));
}
