use super::*;
use crate::{
    admin::api::{ControllerKeys, KeyError, LastError, ParkedKey, Past, QueueDetail, QueuedKey, Refused},
    ops::keys::{parked_list, parked_show, queue},
};

const LOOK: Look = Look {
    style: Style {
        colour: false,
        unicode: true,
    },
    columns: None,
    wide: false,
};

fn version(own: &str, digit: &str) -> Option<Version> {
    Some(Version {
        version: Some(own.to_owned()),
        hash: digit.repeat(64),
        configuration: "c".repeat(64),
    })
}

fn serving() -> PluginStatus {
    PluginStatus {
        name: "greeting".to_owned(),
        state: "serving".to_owned(),
        serving: version("0.1.0", "a"),
        serving_seconds: Some(3_700),
        breaker: Some(Breaker {
            state: "closed".to_owned(),
            ..Breaker::default()
        }),
        queue: Queue {
            running: 1,
            concurrency: 4,
            queued: 3,
            delayed: 2,
            working: 1,
            parked: 5,
            oldest_seconds: Some(0.25),
            runs: 10,
            failed: 1,
            ..Queue::default()
        },
        ..PluginStatus::default()
    }
}

#[test]
fn status_tells_at_one_look_what_each_plugin_does() {
    let refused = PluginStatus {
        name: "team".to_owned(),
        state: "refused".to_owned(),
        refusal: Some(Refused {
            step: "grants".to_owned(),
            why: "asks for more than is granted".to_owned(),
            mend: "grant it".to_owned(),
        }),
        ..PluginStatus::default()
    };
    let tripped = PluginStatus {
        name: "zoo".to_owned(),
        breaker: Some(Breaker {
            state: "open".to_owned(),
            left_seconds: Some(9),
            why: Some("20 reconciles failed in a row".to_owned()),
            ..Breaker::default()
        }),
        last_error: Some(LastError {
            seconds_ago: 4,
            key: "a/b".to_owned(),
            why: "Trap: unreachable\u{1b}[2J".to_owned(),
            ..LastError::default()
        }),
        ..serving()
    };
    let looping = PluginStatus {
        name: "zz".to_owned(),
        hot_loops: vec!["beast a/b: it sets the same again".to_owned()],
        ..serving()
    };
    let held = PluginStatus {
        name: "zzz".to_owned(),
        held: Some("user jane may not list pods".to_owned()),
        ..serving()
    };
    let all = Status {
        host: HostStatus {
            version: "0.1.0".to_owned(),
            pid: 7,
            uptime_seconds: 61,
            ready: true,
            running: 1,
            pool_size: 64,
            ..HostStatus::default()
        },
        plugins: vec![serving(), refused, tripped, looping, held],
        ..Status::default()
    };
    assert_eq!(
        status(LOOK, &all),
        "pilothouse 0.1.0, process 7, up 1m1s: ready, 1 of 64 reconciles run\n\
         \n\
         NAME      STATE    VERSION  MODULE        BREAKER  RUN  QUEUE  PARKED  OLDEST  NOTE\n\
         greeting  serving  0.1.0    aaaaaaaaaaaa  closed   1/4  3+2    5       0.2s\n\
         team      refused  -        -             -        0/0  0+0    0       -       grants: asks for more than is granted\n\
         zoo       serving  0.1.0    aaaaaaaaaaaa  open 9s  1/4  3+2    5       0.2s    20 reconciles failed in a row; 4s ago \
         a/b: Trap: unreachable\\u{1b}[2J\n\
         zz        serving  0.1.0    aaaaaaaaaaaa  closed   1/4  3+2    5       0.2s    a key loops: beast a/b: it sets the \
         same again\n\
         zzz       serving  0.1.0    aaaaaaaaaaaa  closed   1/4  3+2    5       0.2s    not called: user jane may not list \
         pods\n"
    );
    let on_terminal = Look {
        columns: Some(100),
        ..LOOK
    };
    assert!(
        status(on_terminal, &all)
            .lines()
            .all(|line| line.chars().count() <= 100)
    );
    let wide = Look { wide: true, ..LOOK };
    assert!(status(wide, &all).contains("  FAILED  CACHE  "));
}

#[test]
fn a_reason_of_several_lines_is_one_in_the_note() {
    let refused = PluginStatus {
        refusal: Some(Refused {
            step: "config".to_owned(),
            why: "config.a: value is not of type \"string\"\n  config.b: is needed".to_owned(),
            ..Refused::default()
        }),
        ..serving()
    };
    assert_eq!(
        note(&refused).text(),
        "config: config.a: value is not of type \"string\"; config.b: is needed"
    );
}

#[test]
fn no_line_of_a_table_is_wider_than_what_is_in_it() {
    let wide = Look { wide: true, ..LOOK };
    let text = plugins(wide, &[serving(), PluginStatus::default()]);
    assert!(text.lines().all(|line| line == line.trim_end()), "{text:?}");
    let heads = text.lines().next().unwrap();
    assert!(
        heads.ends_with("  OBJECTS  MAX-MEM  NOTE"),
        "the last column is padded by nothing: {heads:?}"
    );
}

#[test]
fn a_version_that_was_rolled_back_by_hand_is_told_with_who_when_and_what_ends_it() {
    let held = PluginStatus {
        held_back: Some(HeldBack {
            hash: "b".repeat(64),
            why: "an operator rolled it back".to_owned(),
            seconds_ago: Some(300),
            mend: "put another version there".to_owned(),
        }),
        rolled_back_from: Some("b".repeat(64)),
        ..serving()
    };
    assert_eq!(
        note(&held).text(),
        "bbbbbbbbbbbb waits: an operator rolled it back 5m ago; for a change of it, or `plugins promote`"
    );
    let detail = PluginDetail {
        plugin: held,
        ..PluginDetail::default()
    };
    let text = plugin(LOOK, &detail);
    let line = format!(
        "waits        module {}: an operator rolled it back 5m ago\n",
        "b".repeat(64)
    );
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("mend         put another version there\n"), "{text}");
    assert!(!text.contains("refused"), "{text}");
}

#[test]
fn a_version_that_is_on_its_way_is_told_with_its_step_and_for_how_long() {
    let mut plugin = PluginStatus {
        candidate: version("0.2.0", "b"),
        progress: Some(Progress {
            step: "compile".to_owned(),
            seconds: 42,
        }),
        ..serving()
    };
    let text = plugins(LOOK, &[plugin.clone()]);
    assert!(
        text.contains("bbbbbbbbbbbb is on its way: for 42s at the step compile"),
        "{text}"
    );
    plugin.progress.as_mut().unwrap().step = "waiting".to_owned();
    let text = plugins(LOOK, &[plugin.clone()]);
    assert!(text.contains("for 42s waiting for its turn to be loaded"), "{text}");
    plugin.candidate = None;
    let text = plugins(LOOK, &[plugin]);
    assert!(
        text.contains("  for 42s waiting"),
        "of what has no hash as well: {text}"
    );
}

#[test]
fn a_plugin_whose_module_is_gone_says_what_is_missing() {
    let plugin = PluginStatus {
        name: "greeting".to_owned(),
        state: "waiting".to_owned(),
        absent: true,
        enabled_by_person: Some(true),
        ..PluginStatus::default()
    };
    let said = "the plugin directory holds no greeting.wasm, only a person's word on it is kept: put it there\n";
    let text = plugins(LOOK, std::slice::from_ref(&plugin));
    assert!(text.ends_with(said), "{text}");
    let detail = PluginDetail {
        plugin,
        ..PluginDetail::default()
    };
    let text = super::plugin(LOOK, &detail);
    assert!(text.contains(&format!("missing      {said}")), "{text}");
}

#[test]
fn a_plugin_directory_that_can_not_be_looked_at_is_told_at_the_top() {
    let status = Status {
        host: HostStatus {
            plugin_directory: Some("the plugin directory plugins can't be read: no\u{1b}[31m".to_owned()),
            ..HostStatus::default()
        },
        ..Status::default()
    };
    let text = super::status(LOOK, &status);
    assert!(
        text.contains("changes of plugins are not seen: the plugin directory plugins can't be read: no\\u{1b}[31m"),
        "{text}"
    );
}

#[test]
fn a_host_that_is_not_ready_says_what_it_waits_for() {
    let host = HostStatus {
        waiting_for: vec!["greeting: first list\u{1b}[31m".to_owned()],
        api_server_away_seconds: Some(3),
        ..HostStatus::default()
    };
    let text = super::host(LOOK.style, &host);
    assert!(text.contains("not ready"), "{text}");
    assert!(text.contains("the API server has not answered for 3s\n"), "{text}");
    assert!(text.ends_with("waits for greeting: first list\\u{1b}[31m\n"), "{text}");
}

#[test]
fn a_plugin_is_shown_with_its_versions_reasons_and_history() {
    let detail = PluginDetail {
        plugin: PluginStatus {
            previous: vec![
                Version {
                    configuration: "d".repeat(64),
                    ..serving().serving.unwrap()
                },
                Version {
                    configuration: String::new(),
                    ..version("0.0.9", "b").unwrap()
                },
            ],
            quarantined: Some("a".repeat(64)),
            refusal: Some(Refused {
                step: "compile".to_owned(),
                why: "no component".to_owned(),
                mend: "build it\nanew".to_owned(),
            }),
            ..serving()
        },
        permissions: vec!["{group: \"\", kind: ConfigMap, verbs: [watch]}".to_owned()],
        holds: ["a", "b\u{1b}"]
            .map(|place| format!("{{group: \"\", kind: ConfigMap, verbs: [watch], namespaces: [{place}]}}"))
            .to_vec(),
        holds_more: 3,
        history: vec![Past {
            seconds_ago: 5,
            what: "breaker open: all failed".to_owned(),
        }],
        ..PluginDetail::default()
    };
    let text = plugin(LOOK, &detail);
    for line in [
        "state        serving for 1h1m\n".to_owned(),
        format!(
            "serves       0.1.0, module {}, configuration cccccccccccc\n",
            "a".repeat(64)
        ),
        format!(
            "at hand      0.1.0, module {}, configuration dddddddddddd\n",
            "a".repeat(64)
        ),
        format!("             0.0.9, module {}\n", "b".repeat(64)),
        "refused      at the step compile: no component\n".to_owned(),
        "mend         build it\n             anew\n".to_owned(),
        "asks for     {group: \"\", kind: ConfigMap, verbs: [watch]}\n\
         holds        {group: \"\", kind: ConfigMap, verbs: [watch], namespaces: [a]}\n             \
         {group: \"\", kind: ConfigMap, verbs: [watch], namespaces: [b\\u{1b}]}\n             \
         and 3 more\n"
            .to_owned(),
        "history      5s ago: breaker open: all failed\n".to_owned(),
    ] {
        assert!(text.contains(&line), "{line:?} is not in\n{text}");
    }
    assert!(
        text.contains("`pilothouse plugins reset greeting` lets it go on"),
        "{text}"
    );
}

#[test]
fn a_queue_shows_its_keys_and_says_how_many_are_not_shown() {
    let key = QueuedKey {
        key: "default/world".to_owned(),
        state: "delayed".to_owned(),
        seconds: 1.0,
        due_seconds: Some(12.0),
        attempts: 3,
        cause: Some("Greeting default/world created".to_owned()),
        ..QueuedKey::default()
    };
    let detail = QueueDetail {
        plugin: "greeting".to_owned(),
        controllers: vec![ControllerKeys {
            name: "greeting".to_owned(),
            queue: serving().queue,
            keys: vec![key],
        }],
        ..QueueDetail::default()
    };
    assert_eq!(
        queue(LOOK, &detail),
        "greeting/greeting: 1 of 4 run; 3 ready, 2 later, 5 parked\n\
         KEY            STATE    FOR   DUE     FAILURES  CAUSE\n\
         default/world  delayed  1.0s  in 12s  3         Greeting default/world created\n\
         5 more are not shown: see --limit\n"
    );
}

#[test]
fn parked_keys_are_listed_with_their_reasons_and_shown_with_their_errors() {
    let key = ParkedKey {
        plugin: "zoo".to_owned(),
        controller: "beast".to_owned(),
        key: "a/b".to_owned(),
        seconds: 200_000,
        attempts: 2,
        reason: "NoSuchBeast: \u{1b}]0;x".to_owned(),
        cause: "Beast a/b created".to_owned(),
        errors: vec![KeyError {
            seconds_ago: 3,
            attempt: 2,
            why: "NoSuchBeast".to_owned(),
        }],
    };
    let keys = [key];
    assert_eq!(
        parked_list(LOOK, &keys, true),
        "PLUGIN  CONTROLLER  KEY  FOR  FAILURES  REASON\n\
         zoo     beast       a/b  2d   2         NoSuchBeast: \\u{1b}]0;x\n\
         more are parked: see --limit\n"
    );
    assert_eq!(parked_list(LOOK, &[], false), "No key is parked.\n");
    assert_eq!(
        parked_show(LOOK, &keys),
        "key      zoo/beast a/b\n\
         parked   for 2d, after 2 failures\n\
         reason   NoSuchBeast: \\u{1b}]0;x\n\
         cause    Beast a/b created\n\
         errors   3s ago, attempt 2: NoSuchBeast\n"
    );
}

#[test]
fn ages_and_sizes_are_short() {
    assert_eq!(
        [0, 59, 61, 7_200, 172_799].map(age),
        ["0s", "59s", "1m1s", "2h", "47h59m"]
    );
    assert_eq!(age(172_800), "2d");
    assert_eq!([Some(f64::NAN), Some(-1.0), None].map(seconds), ["-", "-", "-"]);
    assert_eq!([5, 2_048, 3 << 20].map(bytes), ["5 B", "2 KiB", "3 MiB"]);
}
