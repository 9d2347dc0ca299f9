use std::sync::Arc;

use pilothouse_controller::{Cause, Change, HotLoop, ITSELF, Other, Reconciled, What, WriteEnd, WriteVerb, Written};
use pilothouse_lifecycle::Hash;
use pilothouse_object::Version;
use pilothouse_runtime::{CallError, Failure, Outcome, Retry};
use serde_json::{Value, json};

use super::*;

const PLAIN: Style = Style {
    colour: false,
    unicode: true,
};

fn at(millis: u64) -> Moment {
    Moment {
        since_start: Duration::from_millis(millis),
        wall: Duration::from_millis(1_795_310_317_250 + millis),
    }
}

fn greeting() -> Gvk {
    Gvk::new("demo.pilothouse.dev", "v1", "Greeting")
}

fn hello() -> Key {
    Key::new(Some("default"), "hello")
}

fn changed(kind: Gvk, change: Change, via: &str, writer: Option<&str>) -> What {
    What::Changed {
        kind,
        key: hello(),
        change,
        version: Version::new("7"),
        via: via.into(),
        writer: writer.map(Arc::from),
    }
}

fn run() -> Reconciled {
    Reconciled {
        id: ControllerId::new("greeting", "greeting"),
        module: Hash::of(b"module"),
        configuration: Hash::of(b"configuration"),
        kind: greeting(),
        key: hello(),
        version: Some(Version::new("7")),
        causes: vec![Cause::new(changed(greeting(), Change::Created, ITSELF, None), None)],
        causes_omitted: 0,
        attempt: 1,
        result: Ok(Ok(Outcome {
            requeue_after_ms: None,
            note: None,
        })),
        again_after: None,
        parked: false,
        wall: Duration::from_micros(3_100),
        cpu: Duration::from_micros(800),
        writes: Vec::new(),
    }
}

fn write(verb: WriteVerb, kind: Gvk, end: WriteEnd) -> Written {
    Written {
        verb,
        kind,
        key: hello(),
        subresource: None,
        paths: Vec::new(),
        end,
    }
}

fn show(style: Style, run: Reconciled) -> String {
    let mut presenter = Presenter::new(LogFormat::Text, style, Level::Info);
    presenter.happened(at(1_204), &Happening::Reconciled(Box::new(run)))
}

fn log(level: Level, message: &str, fields: &[(&str, &str)]) -> Happening {
    Happening::Logged {
        id: ControllerId::new("greeting", "greeting"),
        key: hello(),
        level,
        message: message.into(),
        fields: fields
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    }
}

#[test]
fn a_run_that_went_well_is_one_block_with_why_and_what_it_wrote() {
    let created = Cause::new(changed(greeting(), Change::Created, ITSELF, None), None);
    let configmap = Gvk::new("", "v1", "ConfigMap");
    let owned = changed(
        configmap.clone(),
        Change::Updated,
        "owner (controller)",
        Some("greeting"),
    );
    let mut run = run();
    run.causes = vec![Cause::new(owned, Some(&created))];
    let status = Written {
        subresource: Some("status".into()),
        paths: vec!["status.conditions".into()],
        ..write(WriteVerb::Patch, greeting(), WriteEnd::Done(None))
    };
    run.writes = vec![
        write(WriteVerb::Create, configmap, WriteEnd::Done(Some(Version::new("8")))),
        status,
    ];
    run.result = Ok(Ok(Outcome {
        requeue_after_ms: None,
        note: Some("waits for rain".into()),
    }));
    assert_eq!(
        show(PLAIN, run),
        "    1.204s ✓ greeting Greeting default/hello (3.1ms)
             why   ConfigMap default/hello updated [owner (controller)] by greeting ← Greeting default/hello created
             wrote created ConfigMap default/hello
                   patched Greeting default/hello/status (status.conditions)
             note  waits for rain
"
    );
}

#[test]
fn a_run_that_comes_again_says_when() {
    let mut run = run();
    run.id = ControllerId::new("greeting", "other");
    run.result = Ok(Ok(Outcome {
        requeue_after_ms: Some(90_000),
        note: None,
    }));
    run.again_after = Some(Duration::from_secs(90));
    assert_eq!(
        show(PLAIN, run),
        "    1.204s ⏲ greeting/other Greeting default/hello – again in 1m30s (3.1ms)
             why   Greeting default/hello created
"
    );
}

#[test]
fn a_failure_says_why_and_what_comes_next() {
    let mut failed = run();
    failed.attempt = 3;
    failed.version = None;
    let message = "no\nrain \u{1b}[31m".to_owned();
    failed.result = Ok(Err(Failure {
        retry: Retry::Never,
        reason: "Dry".into(),
        message,
    }));
    failed.parked = true;
    let refused = WriteEnd::Refused("Invalid: spec.size".into());
    failed.writes = vec![write(WriteVerb::Patch, greeting(), refused)];
    assert_eq!(
        show(PLAIN, failed),
        "    1.204s ✗ greeting Greeting default/hello (gone) – attempt 3: Dry: no\\nrain \\u{1b}[31m – parked until something changes (3.1ms)
             why   Greeting default/hello created
             wrote patched Greeting default/hello – refused: Invalid: spec.size
"
    );
    let mut trapped = run();
    trapped.result = Err(CallError::Trap {
        message: "unreachable".into(),
    });
    trapped.again_after = Some(Duration::from_millis(5));
    let shown = show(PLAIN, trapped);
    assert!(
        shown.contains(" – the plugin trapped: unreachable – again in 5ms (3.1ms)\n"),
        "{shown}"
    );
}

#[test]
fn many_causes_are_counted_and_not_shown() {
    let mut run = run();
    run.causes = vec![Cause::new(What::Resync, None); 5];
    run.causes_omitted = 10;
    assert_eq!(
        show(PLAIN, run),
        "    1.204s ✓ greeting Greeting default/hello (3.1ms)
             why   resync
             why   resync
             why   resync
                   and 12 more
"
    );
}

#[test]
fn without_unicode_only_ascii_is_written() {
    let mut run = run();
    let first = run.causes[0].clone();
    run.causes = vec![Cause::new(
        What::Retry {
            failures: 2,
            reason: "x".repeat(200).into(),
        },
        Some(&first),
    )];
    run.result = Err(CallError::Trap { message: "t".into() });
    run.writes = vec![write(
        WriteVerb::Remove,
        greeting(),
        WriteEnd::Unknown("time-out".into()),
    )];
    let shown = show(
        Style {
            colour: false,
            unicode: false,
        },
        run,
    );
    assert!(shown.is_ascii(), "{shown}");
    assert!(
        shown.contains(" <- Greeting default/hello created\n") && shown.contains("    1.204s x greeting "),
        "{shown}"
    );
}

#[test]
fn colours_come_only_where_asked_for() {
    assert!(!show(PLAIN, run()).contains('\u{1b}'));
    let shown = show(
        Style {
            colour: true,
            unicode: true,
        },
        run(),
    );
    assert!(
        shown.starts_with("\u{1b}[2m    1.204s\u{1b}[0m \u{1b}[32m✓\u{1b}[0m greeting \u{1b}[1mGreeting"),
        "{shown:?}"
    );
}

#[test]
fn a_key_that_loops_is_shown_with_its_fields_and_who_is_on_the_other_side() {
    let found = || {
        Happening::HotLoop(HotLoop {
            id: ControllerId::new("greeting", "greeting"),
            key: Key::new(Some("default"), "hello"),
            kind: Gvk::new("", "v1", "ConfigMap"),
            object: Key::new(Some("default"), "map"),
            fields: vec!["data.message".to_owned()],
            came_back: true,
            other: Other::Manager("kubectl".to_owned()),
            rounds: 1,
            pause: Duration::from_millis(100),
        })
    };
    let mut presenter = Presenter::new(LogFormat::Text, PLAIN, Level::Info);
    assert_eq!(
        presenter.happened(at(1_204), &found()),
        "    1.204s ↻ greeting/greeting default/hello loops: it sets the same again and again: data.message of ConfigMap \
         default/map; on the other side is the field manager kubectl; it runs no sooner than after 100ms now, longer with \
         each time\n"
    );
    let mut presenter = Presenter::new(LogFormat::Json, PLAIN, Level::Info);
    let json: serde_json::Value = serde_json::from_str(&presenter.happened(at(1_204), &found())).unwrap();
    assert_eq!(
        (&json["event"], &json["otherManager"]),
        (&"hotLoop".into(), &"kubectl".into())
    );
    assert_eq!(
        (&json["fields"][0], &json["object"]["name"]),
        (&"data.message".into(), &"map".into())
    );
}

#[test]
fn log_lines_stand_in_the_block_of_their_run() {
    let mut presenter = Presenter::new(LogFormat::Text, PLAIN, Level::Info);
    assert_eq!(
        presenter.happened(at(1), &log(Level::Info, "hi\u{7}", &[("who", "a b"), ("n", "1")])),
        ""
    );
    assert_eq!(presenter.happened(at(2), &log(Level::Debug, "too fine", &[])), "");
    assert_eq!(presenter.happened(at(3), &log(Level::Warn, "hm", &[])), "");
    assert_eq!(
        presenter.happened(at(1_204), &Happening::Reconciled(Box::new(run()))),
        "    1.204s ✓ greeting Greeting default/hello (3.1ms)
             why   Greeting default/hello created
             log   info: hi\\u{7} who=\"a b\" n=1
                   warn: hm
"
    );
    assert_eq!(presenter.tick(at(60_000)), "");
}

#[test]
fn log_lines_of_a_long_run_do_not_wait_for_its_end() {
    let mut presenter = Presenter::new(LogFormat::Text, PLAIN, Level::Info);
    presenter.happened(at(0), &log(Level::Info, "one", &[]));
    assert_eq!(presenter.tick(at(999)), "");
    assert_eq!(
        presenter.tick(at(1_000)),
        "    1.000s … greeting default/hello is still running
             log   info: one
"
    );
    assert_eq!(presenter.tick(at(9_000)), "");
}

#[test]
fn the_newest_run_decides_whether_an_object_is_failing() {
    let mut presenter = Presenter::new(LogFormat::Json, PLAIN, Level::Info);
    let mut failed = run();
    failed.result = Err(CallError::Trap { message: "t".into() });
    presenter.happened(at(0), &Happening::Reconciled(Box::new(failed)));
    assert_eq!(presenter.failing().len(), 1);
    presenter.happened(at(1), &Happening::Reconciled(Box::new(run())));
    assert!(presenter.failing().is_empty());
}

fn lines(happenings: &[Happening]) -> Vec<Value> {
    let mut presenter = Presenter::new(LogFormat::Json, PLAIN, Level::Info);
    let text: String = happenings
        .iter()
        .map(|happening| presenter.happened(at(0), happening))
        .collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn machines_get_one_object_a_line() {
    let mut run = run();
    let first = run.causes[0].clone();
    run.causes = vec![Cause::new(
        What::Requeue {
            after: Duration::from_secs(5),
        },
        Some(&first),
    )];
    run.result = Ok(Err(Failure {
        retry: Retry::Backoff,
        reason: "Dry".into(),
        message: "no\nrain".into(),
    }));
    run.again_after = Some(Duration::from_millis(5));
    run.writes = vec![write(
        WriteVerb::Create,
        Gvk::new("", "v1", "ConfigMap"),
        WriteEnd::Done(Some(Version::new("8"))),
    )];
    let log = log(Level::Warn, "hm", &[("event", "mine")]);
    assert_eq!(
        lines(&[log, Happening::Reconciled(Box::new(run))]),
        [
            json!({
                "time": "2026-11-22T01:18:37.250000Z", "event": "log", "plugin": "greeting", "controller": "greeting",
                "namespace": "default", "name": "hello", "level": "warn", "message": "hm", "fields": {"event": "mine"},
            }),
            json!({
                "time": "2026-11-22T01:18:37.250000Z", "event": "reconciled",
                "plugin": "greeting", "controller": "greeting",
                "apiVersion": "demo.pilothouse.dev/v1", "kind": "Greeting", "namespace": "default", "name": "hello",
                "resourceVersion": "7", "attempt": 1,
                "result": "error", "error": {"reason": "Dry", "message": "no\nrain"},
                "againAfterMs": 5, "parked": false, "wallMs": 3.1, "cpuMs": 0.8,
                "causes": [[
                    {"what": "requeue", "afterMs": 5000},
                    {"what": "created", "apiVersion": "demo.pilothouse.dev/v1", "kind": "Greeting",
                     "namespace": "default", "name": "hello", "resourceVersion": "7", "via": "itself"},
                ]],
                "causesOmitted": 0,
                "writes": [{"what": "created", "apiVersion": "v1", "kind": "ConfigMap", "namespace": "default",
                            "name": "hello", "paths": [], "end": "done", "resourceVersion": "8"}],
            }),
        ]
    );
}

#[test]
fn json_lines_can_not_steer_a_terminal_and_keep_their_meaning() {
    let value = json!({"text": "\u{9b}31m\u{202e}\u{1b}[0m\n\u{7f}ü"});
    let line = json_line(&value);
    assert_eq!(line, "{\"text\":\"\\u009b31m\\u202e\\u001b[0m\\n\\u007fü\"}\n");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
}

#[test]
fn the_line_for_kubectl_can_be_pasted() {
    let presenter = Presenter::new(LogFormat::Text, PLAIN, Level::Info);
    let kubeconfig = Path::new("/some dir/kubeconfig");
    let shown = presenter.note(
        at(3),
        &Note::Serving {
            server: "http://127.0.0.1:1",
            kubeconfig,
        },
    );
    assert_eq!(
        shown,
        "The local API server is at http://127.0.0.1:1. In another terminal:\n\n  export KUBECONFIG='/some dir/kubeconfig'\n\n"
    );
}

#[test]
fn what_the_program_does_stands_in_the_same_stream() {
    let presenter = Presenter::new(LogFormat::Text, PLAIN, Level::Info);
    let kind = greeting();
    let note = Note::Applied {
        done: "created",
        kind: &kind,
        key: &hello(),
        file: Path::new("a.yaml"),
    };
    assert_eq!(
        presenter.note(at(3), &note),
        "    0.003s · created Greeting default/hello from a.yaml\n"
    );
    let note = Note::Loaded {
        plugin: "greeting",
        version: "0.1.0",
        asked: Some(2),
        local: true,
    };
    assert_eq!(
        presenter.note(at(3), &note),
        "    0.003s · loaded greeting 0.1.0; granted what it asks for (2 permissions), since this is a local cluster\n"
    );
}

#[test]
fn a_given_cluster_is_named_and_nothing_there_is_called_local() {
    let presenter = Presenter::new(LogFormat::Text, PLAIN, Level::Info);
    let note = Note::Using {
        server: "https://127.0.0.1:6443/",
        source: "kubeconfig, context kind",
    };
    assert_eq!(
        presenter.note(at(3), &note),
        "    0.003s · the cluster is https://127.0.0.1:6443/ (from kubeconfig, context kind); what is written there stays\n"
    );
    let note = Note::Loaded {
        plugin: "greeting",
        version: "0.1.0",
        asked: Some(2),
        local: false,
    };
    assert_eq!(
        presenter.note(at(3), &note),
        "    0.003s · loaded greeting 0.1.0; granted what it asks for (2 permissions), since no configuration grants \
         otherwise\n"
    );
}
