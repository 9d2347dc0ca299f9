//! A zoo of plugins in one: each `Beast` says in `spec.do` how its reconcile is to behave, and most behave badly. The
//! end-to-end tests look at what the host makes of it.
//!
//! Every run begins with the log line `begins`, so that tests can count runs.

mod excess;

use std::hint::black_box;

use pilothouse_sdk::kinds::{ConfigMap, Secret};
use pilothouse_sdk::prelude::*;
use pilothouse_sdk::serde_json::json;
use pilothouse_sdk::{Cause, Change, Freshness, Gvk, Level, ObjectRef, Permission, Propagation, WriteOptions};
use serde::{Deserialize, Serialize};

/// An object that says how its reconcile behaves. Of its spec the plugin knows one field, whatever else stands there.
#[derive(Serialize, Deserialize, Kind)]
#[kind("zoo.pilothouse.dev/v1")]
struct Beast {
    metadata: Metadata,
    spec: BeastSpec,
}

#[derive(Serialize, Deserialize)]
struct BeastSpec {
    #[serde(rename = "do")]
    behaviour: String,
    /// Another namespace, for who wants to look there.
    #[serde(default)]
    there: String,
    /// Whose word is in force where two plugins fight.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    turn: String,
}

/// What an operator can set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ZooConfig {
    #[serde(default)]
    appetite: u32,
    /// What it writes where two of them fight.
    #[serde(default)]
    word: String,
}

/// An object with this label wakes the Beast that the label names.
const BEAST: &str = "zoo.pilothouse.dev/beast";

/// What this plugin is, what wakes it, and what it asks for.
#[plugin]
pub fn plugin() -> Plugin {
    Plugin::new("zoo")
        .description("Misbehaves in the way that each Beast says")
        .controller(
            Controller::new("beast", reconcile)
                .when([Predicate::Generation])
                .watches::<ConfigMap>(Mapping::Label(BEAST.to_owned()))
                .watches::<Secret>(Mapping::Label(BEAST.to_owned()))
                .concurrency(4)
                .backoff(std::time::Duration::from_millis(100), std::time::Duration::from_secs(2)),
        )
        .may::<Beast>([Verb::Patch])
        .may::<ConfigMap>([
            Verb::Get,
            Verb::List,
            Verb::Create,
            Verb::Patch,
            Verb::Replace,
            Verb::Delete,
        ])
        .permission(Permission::of::<Secret>([Verb::Get, Verb::Patch]).named(["open"]))
        .config_checked::<ZooConfig>(|config| {
            if config.appetite > 10 {
                vec![Cause::invalid("appetite", "a zoo feeds at most 10: lower it")]
            } else {
                Vec::new()
            }
        })
}

fn reconcile(cx: &Context, mut beast: Object<Beast>) -> Result<Outcome, Failure> {
    let behaviour = beast.spec.behaviour.clone();
    cx.log(Level::Info, "begins", &[("do", &behaviour)]);
    match behaviour.as_str() {
        "nothing" => Ok(Outcome::done()),

        // Ends without an answer.
        "trap" => trap(),
        "panic" => panic!("the beast shows its teeth"),
        "loop" => forever(),
        "read-loop" => loop {
            let read = cx.get::<ConfigMap>(beast.namespace(), "nothing-there");
            black_box(read.is_ok());
        },
        "cheap-loop" => loop {
            black_box(cx.attempt());
        },
        "wait" => {
            // No cache ever gets there.
            let version = Freshness::AtLeast("999999999999".to_owned());
            cx.host().get(&beast.reference(), &version)?;
            Ok(Outcome::done())
        }
        "eat" => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(black_box(vec![1; 1 << 20]));
            }
        }

        // Writes what can't be written.
        "garbage-object" => {
            let target = config_map(&beast, "garbage");
            cx.host().create(&target, "{ no json", &WriteOptions::default())?;
            Ok(Outcome::done())
        }
        "garbage-patch" => {
            let change = Change::Merge("[1, 2".to_owned());
            cx.host().patch(&beast.reference(), &change, &WriteOptions::default())?;
            Ok(Outcome::done())
        }
        "too-large" => {
            cx.patch_merge::<Beast>(beast.namespace(), beast.name(), &json!({"spec": {"size": 99}}))?;
            Ok(Outcome::done())
        }

        // Reaches for what it may not have.
        "outside" => {
            cx.host().get(&deployment(&beast), &Freshness::Live)?;
            Ok(Outcome::done())
        }
        "unwatched" => {
            cx.host().get(&deployment(&beast), &Freshness::Cached)?;
            Ok(Outcome::done())
        }
        "spy" => {
            spy(cx, &beast);
            Ok(Outcome::done())
        }
        "secret" => secret(cx, &beast),

        // Behaves well, where the test makes it difficult.
        "label" => {
            beast.metadata.labels.insert("seen".to_owned(), "yes".to_owned());
            beast.save(cx)?;
            Ok(Outcome::done())
        }
        "gate" => {
            cx.get_live::<ConfigMap>(beast.namespace(), "gate")?;
            match cx.create(&beside(&beast, &format!("{}-passed", beast.name()))) {
                Err(error) if !error.is_already_exists() => Err(error.into()),
                _ => Ok(Outcome::done()),
            }
        }
        "create-once" => {
            if cx.get::<ConfigMap>(beast.namespace(), beast.name())?.is_some() {
                cx.info("sees what was written");
            } else {
                cx.create(&beside(&beast, beast.name()))?;
                cx.info("wrote");
            }
            Ok(Outcome::done())
        }
        "pages" => pages(cx, &beast),
        // Goes round in circles, alone and with whoever else writes to its diary.
        "count" => {
            let line = json!({"data": {"line": format!("{:?}", cx.random(8))}});
            cx.patch_merge::<ConfigMap>(beast.namespace(), "diary", &line)?;
            Ok(Outcome::done())
        }
        "insist" => {
            let diary = cx.get::<ConfigMap>(beast.namespace(), "diary")?;
            if diary.is_some_and(|diary| diary.data.get("owner").is_none_or(|owner| owner != "beast")) {
                let line = json!({"data": {"owner": "beast"}});
                cx.patch_merge::<ConfigMap>(beast.namespace(), "diary", &line)?;
            }
            Ok(Outcome::done())
        }
        "give-up" => {
            let line = json!({"data": {"line": format!("{:?}", cx.random(8))}});
            cx.patch_merge::<ConfigMap>(beast.namespace(), "diary", &line)?;
            Err(Failure::never("GivesUp", "this will never do"))
        }
        // Too much of it, or not what it should be.
        "stack" => Ok(Outcome::done().note(excess::dive(0).to_string())),
        "trap-third" => excess::trap_third(cx, &beast),
        "flood" => Ok(excess::flood(cx)),
        "huge" => Ok(Outcome::done().note("x".repeat(100 << 20))),
        "rubbish" => Ok(Outcome::done().note(excess::rubbish())),
        "deep" => excess::deep(cx, &beast),
        "thousand-reads" => excess::thousand_reads(cx, &beast),
        "write-storm" => excess::write_storm(cx, &beast),
        "event-storm" => Ok(excess::event_storm(cx, &beast)),
        "sleep" => Ok(excess::sleep()),
        "flap" => excess::flap(cx, &beast),
        "fight" => excess::fight(cx, &beast),
        other => Err(Failure::never(
            "NoSuchBeast",
            format!("spec.do is {other:?}: no beast does that"),
        )),
    }
}

/// Tries to learn of the namespace that its spec names by every import, and says what came of it.
fn spy(cx: &Context, beast: &Object<Beast>) {
    let there = |kind: &str| ObjectRef {
        kind: gvk("", "v1", kind),
        namespace: Some(beast.spec.there.clone()),
        name: "treasure".to_owned(),
    };
    let host = cx.host();
    let config_maps = gvk("", "v1", "ConfigMap");
    let select = |query: &Query| {
        let page = host.select(&config_maps, query, None);
        told(page.map(|page| page.items.join(" ")))
    };
    let one = |answer: Result<Option<String>, ApiError>| told(answer.map(|found| found.unwrap_or("none".to_owned())));

    let treasure = json!({"data": {"planted": "by the spy"}}).to_string();
    let patch = |change| told(host.patch(&there("ConfigMap"), &change, &WriteOptions::default()));
    let report = [
        ("get", one(host.get(&there("ConfigMap"), &Freshness::Cached))),
        (
            "get-at-least",
            one(host.get(&there("ConfigMap"), &Freshness::AtLeast("1".to_owned()))),
        ),
        ("get-live", one(host.get(&there("ConfigMap"), &Freshness::Live))),
        ("select", select(&Query::all().in_namespace(&beast.spec.there))),
        ("select-all", select(&Query::all())),
        (
            "select-live",
            select(&Query::all().in_namespace(&beast.spec.there).live()),
        ),
        ("select-all-live", select(&Query::all().live())),
        ("digest", one(host.digest(&there("ConfigMap")))),
        ("digest-secret", one(host.digest(&there("Secret")))),
        (
            "create",
            told(host.create(&there("ConfigMap"), &treasure, &WriteOptions::default())),
        ),
        ("patch-merge", patch(Change::Merge(treasure.clone()))),
        ("patch-json", patch(Change::JsonPatch("[]".to_owned()))),
        ("patch-strategic", patch(Change::Strategic(treasure.clone()))),
        ("apply", patch(Change::Apply(treasure.clone()))),
        (
            "replace",
            told(host.replace(&there("ConfigMap"), &treasure, &WriteOptions::default())),
        ),
        (
            "remove",
            one(host.remove(&there("ConfigMap"), Propagation::Background, &WriteOptions::default())),
        ),
    ];
    host.event(
        &there("ConfigMap"),
        Severity::Warning,
        "Spied",
        "Spy",
        "a message from elsewhere",
    );
    cx.event(beast, Severity::Normal, "Spied", "a message at home");
    let report: Vec<(&str, &str)> = report.iter().map(|(name, text)| (*name, text.as_str())).collect();
    cx.log(Level::Info, "report", &report);
}

/// Reads a Secret in every way, logs what may be logged, and writes to it.
fn secret(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    let (namespace, name) = (beast.namespace(), "open");
    let cached = cx.get::<Secret>(namespace, name)?;
    let cached = cached.as_ref().map_or("none", |secret| secret.raw());
    let digest = cx.digest::<Secret>(namespace, name)?.unwrap_or_default();
    let listed: Vec<String> = cx
        .list::<Secret>(&Query::all())?
        .iter()
        .map(|secret| secret.raw().to_owned())
        .collect();
    let live = cx.get_live::<Secret>(namespace, name)?;
    let keys: Vec<String> = live.iter().flat_map(|secret| secret.data.keys().cloned()).collect();
    // What a write answers is laid over the cache for the rest of the call: cut like the rest of it.
    let patch = json!({"data": {"token": "dG9wIHNlY3JldA=="}});
    cx.patch_merge::<Secret>(namespace, name, &patch)?;
    let after = cx.get::<Secret>(namespace, name)?;
    let after = after.as_ref().map_or("none", |secret| secret.raw());
    cx.log(
        Level::Info,
        "report",
        &[
            ("cached", cached),
            ("digest", &digest),
            ("listed", &listed.join(" ")),
            ("live-keys", &keys.join(" ")),
            ("after", after),
        ],
    );
    Ok(Outcome::done())
}

/// Reads the ConfigMaps in pages, and makes one more after the first page.
fn pages(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    let mut query = Query::all().in_namespace(beast.namespace().unwrap_or_default());
    query.page_size = 2;
    let (mut sizes, mut seen, mut next) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let page = cx.host().select(&gvk("", "v1", "ConfigMap"), &query, next.as_deref())?;
        sizes.push(page.items.len().to_string());
        for raw in page.items {
            seen.push(Object::<ConfigMap>::parse(raw)?.name().to_owned());
        }
        if sizes.len() == 1 {
            // By its name it would stand on the last page.
            cx.create(&beside(beast, "zzz"))?;
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    let after: Vec<String> = cx
        .list::<ConfigMap>(&query)?
        .iter()
        .map(|map| map.name().to_owned())
        .collect();
    let report = [
        ("sizes", sizes.join(" ")),
        ("seen", seen.join(" ")),
        ("after", after.join(" ")),
    ];
    let report: Vec<(&str, &str)> = report.iter().map(|(name, text)| (*name, text.as_str())).collect();
    cx.log(Level::Info, "report", &report);
    Ok(Outcome::done())
}

/// What an import answered, as one text.
fn told(answer: Result<String, ApiError>) -> String {
    answer.unwrap_or_else(|error| format!("{}: {}", error.reason, error.message))
}

fn gvk(group: &str, version: &str, kind: &str) -> Gvk {
    Gvk {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    }
}

/// An empty ConfigMap in the Beast's namespace.
fn beside(beast: &Object<Beast>, name: &str) -> ConfigMap {
    let mut config_map = ConfigMap::named(name);
    if let Some(namespace) = beast.namespace() {
        config_map.metadata.set_namespace(namespace);
    }
    config_map
}

fn config_map(beast: &Object<Beast>, name: &str) -> ObjectRef {
    ObjectRef {
        kind: gvk("", "v1", "ConfigMap"),
        namespace: beast.namespace().map(str::to_owned),
        name: name.to_owned(),
    }
}

/// A kind that the manifest says nothing of.
fn deployment(beast: &Object<Beast>) -> ObjectRef {
    ObjectRef {
        kind: gvk("apps", "v1", "Deployment"),
        namespace: beast.namespace().map(str::to_owned),
        name: "web".to_owned(),
    }
}

fn forever() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

#[cfg(target_arch = "wasm32")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() -> ! {
    std::process::abort()
}
