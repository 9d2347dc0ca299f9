//! The animals: what each tries, and by what it is to be stopped.

use serde_json::{Value, json};

use crate::modules;

/// One bad plugin.
#[derive(Clone, Copy, Debug)]
pub struct Animal {
    /// The name of its file, and so its own.
    pub name: &'static str,
    /// What it tries, for people.
    pub tries: &'static str,
    /// Its component.
    pub module: fn() -> Vec<u8>,
    /// What the operator sets for it, beside grants: a JSON object. Limits are small where it would take long
    /// otherwise.
    pub settings: &'static str,
    /// How many Beasts behave how; none where it never comes to serve.
    pub beasts: Option<(u32, &'static str)>,
    /// Everything of it must be seen before it counts as stopped.
    pub stops: &'static [Stop],
    /// Who comes with it.
    pub with: Option<&'static Animal>,
}

/// How the host says that it stopped an animal.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// It does not load the module. One line says so, with these parts.
    Refused(&'static [&'static str]),
    /// It ends or refuses a call, which fails. A line says so, with these parts.
    Failed(&'static [&'static str]),
    /// Another line of the host's own about the plugin has these parts.
    Said(&'static [&'static str]),
    /// The same, among the lines of the plugin's log, where the host says what concerns its author.
    Noted(&'static [&'static str]),
    /// It counts: a metric of the plugin with these labels is no longer 0.
    Counted(&'static str, &'static [(&'static str, &'static str)]),
    /// The plugin reports what each import answered: these were denied.
    Denied(&'static [&'static str]),
    /// It is not stopped for good: calls of it go on to end.
    GoesOn,
    /// It was loaded, and describes itself by the same version when it is loaded again.
    SaysTheSame,
}

impl Animal {
    /// What the operator sets.
    ///
    /// # Panics
    /// If it is no JSON.
    pub(crate) fn set(&self) -> Value {
        serde_json::from_str(self.settings).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// What the operator sets for the host.
    pub(crate) fn host(&self) -> Value {
        match self.name {
            "slow-to-compile" => json!({"compile": {"cpuSeconds": 1}}),
            _ => json!({}),
        }
    }
}

/// The animal of this name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> &'static Animal {
    let found = ANIMALS.iter().find(|animal| animal.name == name);
    found.unwrap_or_else(|| panic!("{name}: no such animal"))
}

/// A module that is refused.
const fn refused(name: &'static str, tries: &'static str, module: fn() -> Vec<u8>, stops: &'static [Stop]) -> Animal {
    Animal {
        name,
        tries,
        module,
        settings: "{}",
        beasts: None,
        stops,
        with: None,
    }
}

/// A plugin with one Beast that behaves so.
const fn beast(
    name: &'static str,
    tries: &'static str,
    behaviour: &'static str,
    settings: &'static str,
    stops: &'static [Stop],
) -> Animal {
    Animal {
        name,
        tries,
        module: modules::beasts,
        settings,
        beasts: Some((1, behaviour)),
        stops,
        with: None,
    }
}

/// All of them.
pub const ANIMALS: &[Animal] = &[
    // In a call.
    beast(
        "endless-loop",
        "computes without an end",
        "loop",
        r#"{"limits": {"cpuMs": 300}}"#,
        &[Stop::Failed(&[
            "used up its CPU time of 300ms",
            "limits.cpuMs (300 now)",
        ])],
    ),
    beast(
        "loop-of-host-calls",
        "asks for the attempt's number without an end, which no limit on host calls counts",
        "cheap-loop",
        r#"{"limits": {"cpuMs": 300}}"#,
        &[Stop::Failed(&["used up its CPU time of 300ms"])],
    ),
    beast(
        "thousand-host-calls",
        "reads 1,001 times in one call",
        "thousand-reads",
        "{}",
        &[Stop::Failed(&[
            "made more than 1000 reads, writes and events",
            "limits.hostCalls (1000 now)",
        ])],
    ),
    beast(
        "sleeper",
        "sleeps for an hour and holds its permit",
        "sleep",
        r#"{"limits": {"wallMs": 500}}"#,
        &[Stop::Failed(&[
            "took longer than its wall time of 500ms",
            "limits.wallMs (500 now)",
        ])],
    ),
    beast(
        "memory-bomb",
        "takes memory without an end",
        "eat",
        r#"{"limits": {"memoryMiB": 16}}"#,
        &[Stop::Failed(&[
            "bytes of memory and may have 16777216",
            "limits.memoryMiB (16 now)",
        ])],
    ),
    beast(
        "stack-bomb",
        "calls itself without an end",
        "stack",
        "{}",
        &[Stop::Failed(&["the plugin trapped: ", "stack"])],
    ),
    Animal {
        beasts: Some((8, "trap-third")),
        ..beast(
            "trap-every-third-call",
            "traps at each third call",
            "",
            r#"{"breaker": {"minCalls": 6, "minKeys": 2, "failurePercent": 30}, "controllers": {"beast": {"concurrency": 1}}}"#,
            &[
                Stop::Failed(&["the plugin trapped: ", "unreachable"]),
                Stop::Said(&["breaker open: "]),
            ],
        )
    },
    Animal {
        module: modules::rubbish,
        ..beast(
            "rubbish-output",
            "answers bytes that are no text",
            "rubbish",
            "{}",
            &[Stop::Failed(&["the plugin trapped: ", "utf-8"])],
        )
    },
    beast(
        "huge-result",
        "answers 100 MB",
        "huge",
        r#"{"limits": {"memoryMiB": 256, "cpuMs": 20000}}"#,
        &[Stop::Failed(&["passed more than", "bytes to the host in one piece"])],
    ),
    beast(
        "deep-json",
        "writes an object of 100,000 levels",
        "deep",
        r#"{"limits": {"cpuMs": 20000}}"#,
        &[Stop::Failed(&["BadRequest: "])],
    ),
    beast(
        "log-flood",
        "logs 2,000 lines with orders to the terminal and forged lines",
        "flood",
        r#"{"budget": {"logLinesPerSecond": 10}}"#,
        &[Stop::Said(&["the plugin logs more than budget.logLinesPerSecond (10)"])],
    ),
    beast(
        "write-storm",
        "writes without an end, something else each time",
        "write-storm",
        "{}",
        &[Stop::Failed(&["made more than 200 writes", "limits.writes (200 now)"])],
    ),
    beast(
        "event-storm",
        "emits 500 Events in a call, ten times a second",
        "event-storm",
        "{}",
        &[
            Stop::Noted(&["the plugin emitted more than 20 events in one call", "limits.events"]),
            Stop::Counted("pilothouse_events_total", &[("result", "limited")]),
        ],
    ),
    beast(
        "reads-outside-its-view",
        "reads and writes in another namespace by every import, in each of its forms",
        "spy",
        "{}",
        &[
            Stop::Denied(&[
                "get",
                "get-at-least",
                "get-live",
                "select",
                "select-live",
                "select-all-live",
                "digest",
                "digest-secret",
                "create",
                "patch-merge",
                "patch-json",
                "patch-strategic",
                "apply",
                "replace",
                "remove",
            ]),
            Stop::Counted("pilothouse_denied_total", &[]),
        ],
    ),
    beast(
        "hot-loop",
        "writes to the object that wakes it, each time what it wrote two calls before",
        "flap",
        "{}",
        &[
            Stop::Said(&[
                "a key loops: ",
                "spec.turn of Beast",
                "nobody else writes there, it wakes itself",
                "it runs no sooner than after",
            ]),
            Stop::GoesOn,
        ],
    ),
    Animal {
        with: Some(&Animal {
            // The object is the other's.
            beasts: Some((0, "")),
            ..beast(
                "rival",
                "sets the same field to its own word",
                "",
                r#"{"config": {"word": "right"}}"#,
                &[
                    Stop::Said(&[
                        "a key loops: ",
                        "spec.turn of Beast",
                        "on the other side is the field manager pilothouse/hot-loop-with-another",
                        "it runs no sooner than after",
                    ]),
                    Stop::GoesOn,
                ],
            )
        }),
        ..beast(
            "hot-loop-with-another",
            "sets a field to its own word whenever another plugin has set it to another one",
            "fight",
            r#"{"config": {"word": "left"}}"#,
            &[
                Stop::Said(&[
                    "a key loops: ",
                    "spec.turn of Beast",
                    "on the other side is the field manager pilothouse/rival",
                    "it runs no sooner than after",
                ]),
                Stop::GoesOn,
            ],
        )
    },
    // Before it serves.
    refused(
        "trap-at-start",
        "traps as its instance is started",
        modules::traps_at_start,
        &[Stop::Refused(&["describe: ", "the plugin trapped: ", "unreachable"])],
    ),
    refused(
        "table-bomb",
        "lets its function table grow without an end",
        modules::table_bomb,
        &[Stop::Refused(&["describe: ", "table elements and may have 50000"])],
    ),
    refused(
        "trap-in-describe",
        "panics instead of describing itself",
        modules::panics_in_describe,
        &[Stop::Refused(&[
            "describe: ",
            "the plugin panicked",
            "no manifest today",
        ])],
    ),
    refused(
        "loop-in-describe",
        "describes itself without an end",
        modules::loops_in_describe,
        // Of CPU time, or of wall time where the machine is so busy that it gets none to use up.
        &[Stop::Refused(&["describe: it may take ", " and took more"])],
    ),
    refused(
        "rubbish-in-describe",
        "describes itself in rubbish",
        modules::describes_rubbish,
        &[Stop::Refused(&["no JSON"])],
    ),
    Animal {
        beasts: Some((0, "")),
        stops: &[Stop::SaysTheSame],
        ..refused(
            "changes-its-mind",
            "describes itself by another version at each call, as its clocks and random numbers have it",
            modules::changes_its_mind,
            &[],
        )
    },
    refused(
        "two-faced",
        "is packed with one manifest and describes itself by another",
        modules::two_faced,
        &[Stop::Refused(&[
            "its `describe` says something else than the manifest that is embedded in it",
        ])],
    ),
    Animal {
        // All that it asks for, as far as a plain grant goes: what is left is what is dangerous.
        settings: r#"{"grants": "asked"}"#,
        ..refused(
            "asks-for-everything",
            "asks for Secrets, Pods, role bindings and webhooks in every namespace, and `grants:` gives it all of that",
            modules::asks_for_everything,
            &[Stop::Refused(&[
                "it asks for what it was not granted: get Secret (dangerous: ",
                "create/patch/replace/delete Secret (dangerous: ",
                "), create/patch/replace/delete Pod (dangerous: ",
                "), create/patch/replace/delete ServiceAccount (dangerous: ",
                "), create/patch/replace/delete Deployment.apps (dangerous: ",
                "), create/patch/replace/delete ClusterRoleBinding.rbac.authorization.k8s.io (dangerous: ",
                "), create/patch/replace/delete MutatingWebhookConfiguration.admissionregistration.k8s.io (dangerous: ",
            ])],
        )
    },
    refused(
        "claims-anothers-name",
        "calls itself `greeting` to get what that one is granted",
        modules::claims_the_neighbours_name,
        &[Stop::Refused(&["it asks for what it was not granted", "Greeting"])],
    ),
    refused(
        "slow-to-compile",
        "keeps the compiler busy for minutes",
        modules::slow_to_compile,
        &[Stop::Refused(&[
            "compile: compiling the module took more than its CPU time of 1s and was ended",
        ])],
    ),
];
