//! Looks at Beasts and ConfigMaps through a keyhole: it declares some of their fields, logs what it sees, and tries to
//! write more than it sees. The end-to-end tests look at what the host makes of it.

use pilothouse_sdk::kinds::ConfigMap;
use pilothouse_sdk::prelude::*;
use pilothouse_sdk::serde_json::{Value, json};
use pilothouse_sdk::{Change, Level, Watch, WriteOptions};
use serde::{Deserialize, Serialize};

/// What it knows of a Beast. It does not see the `guests`, though it knows them.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    guests: Vec<Value>,
}

/// What this plugin is, what it sees, and what it asks for.
#[plugin]
pub fn plugin() -> Plugin {
    Plugin::new("keyhole")
        .description("Declares the fields that it sees, and tells what it sees")
        .controller(
            Controller::new("keyhole", reconcile)
                .fields(["spec.do", "spec.size"])
                .when_path("spec.turn")
                .watch(Watch::of::<ConfigMap>(Mapping::Field("data.for".to_owned())).fields(["data['a.b']"])),
        )
        .index::<Beast>("by-den", ["spec.den.name"])
        .index::<ConfigMap>("by-tag", ["data.tag"])
        .may::<Beast>([Verb::Get, Verb::Patch, Verb::Replace])
}

fn reconcile(cx: &Context, mut beast: Object<Beast>) -> Result<Outcome, Failure> {
    let told = |answer: Result<String, ApiError>| {
        answer.unwrap_or_else(|error| format!("{}: {}", error.reason, error.message))
    };
    let listed = |list: Vec<String>| format!("[{}]", list.join(","));
    let namespace = beast.namespace().map(str::to_owned);
    let request = beast.raw().to_owned();
    let read = cx.get::<Beast>(namespace.as_deref(), beast.name())?;
    let by_den = cx.list::<Beast>(&Query::all().index("by-den", "cave"))?;
    let by_tag = cx.list::<ConfigMap>(&Query::all().index("by-tag", "gold"))?;

    let options = WriteOptions {
        resource_version: Some(beast.metadata.resource_version.clone()),
        ..WriteOptions::default()
    };
    let replaced = cx.host().replace(&beast.reference(), &request, &options);
    let list = Change::Merge(json!({"spec": {"guests": [{"name": "me"}]}}).to_string());
    let patched = cx.host().patch(&beast.reference(), &list, &options);
    beast.spec.guests.push(json!({"name": "me"}));
    let pushed = beast.save(cx).map(|wrote| wrote.to_string());
    beast.spec.guests.clear();
    beast.spec.size = Some(7);
    let saved = beast.save(cx)?.to_string();
    let after = cx.get::<Beast>(namespace.as_deref(), beast.name())?;

    let raw =
        |object: Option<Object<Beast>>| object.map_or_else(|| "null".to_owned(), |object| object.raw().to_owned());
    let report = [
        ("request", request),
        ("read", raw(read)),
        (
            "by-den",
            listed(by_den.iter().map(|beast| beast.raw().to_owned()).collect()),
        ),
        (
            "by-tag",
            listed(by_tag.iter().map(|map| map.raw().to_owned()).collect()),
        ),
        ("replaced", told(replaced)),
        ("patched", told(patched)),
        ("pushed", told(pushed)),
        ("saved", saved),
        ("after", raw(after)),
    ];
    let report: Vec<(&str, &str)> = report.iter().map(|(name, text)| (*name, text.as_str())).collect();
    cx.log(Level::Info, "report", &report);
    Ok(Outcome::done())
}
