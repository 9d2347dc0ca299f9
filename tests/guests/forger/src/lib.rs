//! A forger: it writes in another's name, takes fields from their managers, makes by `apply` what it may not create,
//! and looks at Secrets beyond its grant. It logs what each try came to; the end-to-end tests look at it.

use pilothouse_sdk::kinds::Secret;
use pilothouse_sdk::prelude::*;
use pilothouse_sdk::serde_json::{Value, json};
use pilothouse_sdk::{Change, Freshness, Gvk, Level, ObjectRef, Permission, WriteOptions};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Kind)]
#[kind("zoo.pilothouse.dev/v1")]
struct Beast {
    metadata: Metadata,
    spec: Value,
}

/// The core group's Event, to ask for the right to write it.
#[derive(Serialize, Deserialize, Kind)]
#[kind("v1")]
struct Event {
    metadata: Metadata,
}

/// What this plugin is and what it asks for: also what it is refused all the same.
#[plugin]
pub fn plugin() -> Plugin {
    Plugin::new("forger")
        .description("Writes what it must not")
        .controller(Controller::new("forger", reconcile))
        .may::<Beast>([Verb::Patch])
        .may::<Event>([Verb::Create, Verb::Patch, Verb::Replace])
        .permission(Permission::of::<Secret>([Verb::Digest]).named(["sealed", "other"]))
}

fn reconcile(cx: &Context, beast: Object<Beast>) -> Result<Outcome, Failure> {
    let host = cx.host();
    let plain = WriteOptions::default();
    let on = |group: &str, version: &str, kind: &str, name: &str| ObjectRef {
        kind: Gvk {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
        },
        namespace: beast.namespace().map(str::to_owned),
        name: name.to_owned(),
    };
    let event = on("", "v1", "Event", "forged");
    let body = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "forged", "namespace": beast.namespace()},
        "involvedObject": {"kind": "Beast", "name": beast.name(), "namespace": beast.namespace()},
        "reason": "Forged", "message": "said by the scheduler", "type": "Normal",
        "reportingComponent": "kube-scheduler", "source": {"component": "kube-scheduler"},
    });
    let own = beast.reference();
    let managed = json!({"metadata": {"managedFields": []}}).to_string();
    let remove = json!([{"op": "remove", "path": "/metadata/managedFields"}]).to_string();
    let applied = |name: &str| {
        json!({
            "apiVersion": "zoo.pilothouse.dev/v1", "kind": "Beast",
            "metadata": {"name": name, "namespace": beast.namespace()}, "spec": {"do": "nothing", "size": 3},
        })
        .to_string()
    };
    let with_uid = WriteOptions {
        uid: Some(beast.metadata.uid.clone()),
        ..WriteOptions::default()
    };
    let new = on("zoo.pilothouse.dev", "v1", "Beast", "new");
    let told = |error: ApiError| format!("{}: {}", error.reason, error.message);
    let wrote = |answer: Result<String, ApiError>| answer.map_or_else(told, |_| "done".to_owned());
    let digest = |name: &str| {
        let answer = host.digest(&on("", "v1", "Secret", name));
        answer.map_or_else(told, |digest| digest.unwrap_or("none".to_owned()))
    };
    let live = host.get(&on("", "v1", "Secret", "sealed"), &Freshness::Live);
    let report = [
        ("create-event", wrote(host.create(&event, &body.to_string(), &plain))),
        (
            "patch-event",
            wrote(host.patch(&event, &Change::Merge(body.to_string()), &plain)),
        ),
        (
            "apply-event",
            wrote(host.patch(&event, &Change::Apply(body.to_string()), &plain)),
        ),
        ("replace-event", wrote(host.replace(&event, &body.to_string(), &plain))),
        (
            "merge-managed",
            wrote(host.patch(&own, &Change::Merge(managed), &plain)),
        ),
        (
            "remove-managed",
            wrote(host.patch(&own, &Change::JsonPatch(remove), &plain)),
        ),
        (
            "apply-new",
            wrote(host.patch(&new, &Change::Apply(applied("new")), &plain)),
        ),
        (
            "apply-own",
            wrote(host.patch(&own, &Change::Apply(applied(beast.name())), &plain)),
        ),
        (
            "apply-own-with-uid",
            wrote(host.patch(&own, &Change::Apply(applied(beast.name())), &with_uid)),
        ),
        ("digest-sealed", digest("sealed")),
        ("digest-other", digest("other")),
        (
            "live-sealed",
            live.map_or_else(told, |found| found.unwrap_or("none".to_owned())),
        ),
    ];
    cx.event(&beast, Severity::Normal, "Tried", "it tried everything");
    let report: Vec<(&str, &str)> = report.iter().map(|(name, text)| (*name, text.as_str())).collect();
    cx.log(Level::Info, "report", &report);
    Ok(Outcome::done())
}
