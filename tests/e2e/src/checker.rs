//! Compares what should be with what is, once the people have gone home and the plugins have caught up.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::load::{Done, Ended, Fate};
use crate::{Api, BEASTS, CONFIG_MAPS, GREETINGS};

/// What is not as it should be in a namespace: a line for each. `load` says what has been asked for; without it, what
/// is there is all that counts.
pub(crate) async fn wrong(api: &Api, namespace: &str, load: Option<&Ended>) -> Vec<String> {
    let mut lists = Vec::new();
    for kind in [GREETINGS, BEASTS, CONFIG_MAPS] {
        match api.try_list(kind, namespace).await {
            Ok(list) => lists.push(by_name(list)),
            Err(error) => return vec![format!("{} can't be listed: {error}", kind.plural)],
        }
    }
    let [greetings, beasts, config_maps] = &lists[..] else {
        unreachable!("three lists")
    };
    let mut wrong = Vec::new();
    for (name, greeting) in greetings {
        for what in of_greeting(greeting, config_maps.get(name)) {
            wrong.push(format!("Greeting {name}: {what}"));
        }
    }
    for (name, child) in config_maps {
        let owner = &child["metadata"]["ownerReferences"][0];
        if owner["kind"] == "Greeting" && !greetings.contains_key(name) {
            wrong.push(format!("ConfigMap {name}: its Greeting is gone"));
        }
    }
    for name in beasts.keys().filter(|name| !config_maps.contains_key(*name)) {
        wrong.push(format!("Beast {name}: it has no ConfigMap"));
    }
    if let Some(Ended(done)) = load {
        wrong.extend(of_load(done, greetings, beasts));
    }
    wrong
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    objects.into_iter().map(|object| (name(&object), object)).collect()
}

fn of_greeting(greeting: &Value, child: Option<&Value>) -> Vec<String> {
    let (metadata, spec, status) = (&greeting["metadata"], &greeting["spec"], &greeting["status"]);
    if !metadata["deletionTimestamp"].is_null() {
        return vec!["it is deleted, and its finalizer still stands".to_owned()];
    }
    let mut wrong = Vec::new();
    let mut must = |good: bool, what: String| {
        if !good {
            wrong.push(what);
        }
    };
    must(
        metadata["finalizers"][0] == "demo.pilothouse.dev/goodbye",
        "it has no finalizer".to_owned(),
    );
    must(
        status["observedGeneration"] == metadata["generation"],
        format!(
            "its status is about generation {} of {}",
            status["observedGeneration"], metadata["generation"]
        ),
    );
    let ready = &status["conditions"][0];
    let name = spec["name"].as_str().unwrap_or_default().trim();
    if name.is_empty() {
        must(ready["reason"] == "InvalidSpec", format!("its condition says {ready}"));
        return wrong;
    }
    let said = format!("{}, {name}!", spec["salutation"].as_str().unwrap_or("Hello"));
    must(ready["status"] == "True", format!("its condition says {ready}"));
    must(
        status["message"] == said.as_str(),
        format!("its status says {} and not {said:?}", status["message"]),
    );
    let Some(child) = child else {
        must(false, "it has no ConfigMap".to_owned());
        return wrong;
    };
    let (owners, data) = (&child["metadata"]["ownerReferences"], &child["data"]);
    must(
        data["message"] == said.as_str(),
        format!("its ConfigMap says {} and not {said:?}", data["message"]),
    );
    must(
        owners.as_array().is_some_and(|owners| owners.len() == 1) && owners[0]["uid"] == metadata["uid"],
        format!("its ConfigMap is owned by {owners}"),
    );
    wrong
}

fn of_load(done: &Done, greetings: &BTreeMap<String, Value>, beasts: &BTreeMap<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kind, asked, there) in [
        ("Greeting", &done.greetings, greetings),
        ("Beast", &done.beasts, beasts),
    ] {
        for (name, fate) in asked {
            match (fate, there.contains_key(name)) {
                (Fate::Here, false) => wrong.push(format!("{kind} {name}: it is gone, and nobody deleted it")),
                (Fate::Gone, true) => wrong.push(format!("{kind} {name}: it was deleted and is still there")),
                _ => {}
            }
        }
    }
    wrong
}
