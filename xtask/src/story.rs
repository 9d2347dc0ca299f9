//! What the demo does to a few Greetings and what must come of it: the same against the local cluster and against a
//! real API server. What came of it is read from the API, never from what anybody says.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::http::Api;
use crate::run;

/// What both targets apply before the story begins, from the root of the workspace.
pub(crate) const CRD: &str = "examples/rust/greeting/crd.yaml";
/// The same: two Greetings that make sense and one that does not.
pub(crate) const SAMPLES: &str = "examples/rust/greeting/samples";

/// All of it may take so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look whether it is so.
const LOOK: Duration = Duration::from_millis(20);

/// What must be so in the end of a step.
enum Must {
    /// A ConfigMap holds this message, and the Greeting is its controller.
    Say(&'static str, &'static str),
    /// A Greeting is ready, with this message, and its status is about its present spec.
    BeReady(&'static str, &'static str),
    /// A Greeting is not ready since its spec makes no sense, and it has no ConfigMap.
    BeInvalid(&'static str),
    /// Neither the Greeting nor its ConfigMap is there.
    BeGone(&'static str),
}

/// One thing done to the cluster.
struct Step {
    title: &'static str,
    act: fn(&Api) -> Result<()>,
    then: &'static [Must],
}

const STEPS: [Step; 4] = [
    Step {
        title: "Three Greetings are applied; the one for nobody makes no sense.",
        act: |_| Ok(()),
        then: &[
            Must::Say("world", "Hello, World!"),
            Must::BeReady("world", "Hello, World!"),
            Must::Say("ada", "Good morning, Ada!"),
            Must::BeReady("ada", "Good morning, Ada!"),
            Must::BeInvalid("nobody"),
        ],
    },
    Step {
        title: "Changing one: Greeting ada now says \"Good evening\".",
        act: |api| {
            api.patch(&greeting("ada"), &json!({"spec": {"salutation": "Good evening"}}))
                .map(|_| ())
        },
        then: &[
            Must::Say("ada", "Good evening, Ada!"),
            Must::BeReady("ada", "Good evening, Ada!"),
        ],
    },
    Step {
        title: "Tampering: somebody writes \"Go away\" into ConfigMap world.",
        act: |api| {
            let tampered = api.patch(&config_map("world"), &json!({"data": {"message": "Go away"}}))?;
            // Else there would be nothing to repair, and the next check would prove nothing.
            if tampered["data"]["message"] != "Go away" {
                bail!("the ConfigMap was not changed: {tampered}");
            }
            Ok(())
        },
        then: &[
            Must::Say("world", "Hello, World!"),
            Must::BeReady("world", "Hello, World!"),
        ],
    },
    Step {
        title: "Deleting one: Greeting world; its finalizer takes the ConfigMap along.",
        act: |api| api.delete(&greeting("world")),
        then: &[Must::BeGone("world")],
    },
];

/// How it must stand after all of them.
const IN_THE_END: [Must; 4] = [
    Must::BeGone("world"),
    Must::Say("ada", "Good evening, Ada!"),
    Must::BeReady("ada", "Good evening, Ada!"),
    Must::BeInvalid("nobody"),
];

/// Goes through the steps. `tell` gets what is done, for people; `alive` fails if what should do the work has ended.
///
/// # Errors
/// What did not become so until `deadline`, and how it stands instead.
pub(crate) fn play(
    api: &Api,
    deadline: Instant,
    tell: &mut dyn FnMut(&str) -> Result<()>,
    alive: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    for (number, step) in STEPS.iter().enumerate() {
        tell(&format!("{}. {}", number + 1, step.title))?;
        let started = Instant::now();
        (step.act)(api).with_context(|| format!("step {} ({})", number + 1, step.title))?;
        let first = number == 0;
        let converged = settle(api, step.then, deadline, alive).with_context(|| format!("step {}", number + 1))?;
        let after = if first {
            String::new()
        } else {
            format!(" after {} ms", started.elapsed().as_millis())
        };
        tell(&format!(
            "   as it should be{after}:\n      {}",
            converged.join("\n      ")
        ))?;
    }
    settle(api, &IN_THE_END, deadline, alive).context("in the end")?;
    Ok(())
}

/// Waits until all of it is so at once.
fn settle(api: &Api, musts: &[Must], deadline: Instant, alive: &mut dyn FnMut() -> Result<()>) -> Result<Vec<String>> {
    loop {
        let seen: Vec<Result<String, String>> = musts.iter().map(|must| must.look(api)).collect();
        if seen.iter().all(Result::is_ok) {
            return Ok(seen.into_iter().flatten().collect());
        }
        alive()?;
        if Instant::now() > deadline {
            let mut message = format!("did not converge within {} s:", PATIENCE.as_secs());
            for lacking in seen.iter().filter_map(|seen| seen.as_ref().err()) {
                // Writing to a String can't fail.
                let _ = write!(message, "\n  - {lacking}");
            }
            bail!(message);
        }
        run::pause(LOOK)?;
    }
}

impl Must {
    /// What is so, or what is not. An API server that does not answer is not yet as it should be.
    fn look(&self, api: &Api) -> Result<String, String> {
        let get = |path: &str| api.get(path).map_err(|error| format!("{error:#}"));
        match *self {
            Must::Say(name, text) => says(
                name,
                text,
                get(&config_map(name))?.as_ref(),
                get(&greeting(name))?.as_ref(),
            ),
            Must::BeReady(name, text) => is_ready(name, text, get(&greeting(name))?.as_ref()),
            Must::BeInvalid(name) => is_invalid(name, get(&greeting(name))?.as_ref(), get(&config_map(name))?.as_ref()),
            Must::BeGone(name) => {
                for (kind, path) in [("Greeting", greeting(name)), ("ConfigMap", config_map(name))] {
                    if let Some(object) = get(&path)? {
                        let metadata = &object["metadata"];
                        return Err(format!(
                            "{kind} {name} is still there (deletionTimestamp {}, finalizers {})",
                            metadata["deletionTimestamp"], metadata["finalizers"]
                        ));
                    }
                }
                Ok(format!("Greeting and ConfigMap {name} are gone"))
            }
        }
    }
}

fn greeting(name: &str) -> String {
    format!("/apis/demo.pilothouse.dev/v1/namespaces/default/greetings/{name}")
}

fn config_map(name: &str) -> String {
    format!("/api/v1/namespaces/default/configmaps/{name}")
}

fn says(name: &str, text: &str, child: Option<&Value>, owner: Option<&Value>) -> Result<String, String> {
    let child = child.ok_or_else(|| format!("there is no ConfigMap {name}"))?;
    if child["data"]["message"] != text {
        return Err(format!(
            "ConfigMap {name} says {} and not {text:?}",
            child["data"]["message"]
        ));
    }
    let owner = owner.ok_or_else(|| format!("there is no Greeting {name}"))?;
    let owners = child["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !owners
        .iter()
        .any(|reference| reference["uid"] == owner["metadata"]["uid"] && reference["controller"] == true)
    {
        return Err(format!(
            "ConfigMap {name} is not controlled by Greeting {name}: {owners:?}"
        ));
    }
    Ok(format!("ConfigMap {name} says {text:?}"))
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == type_)
}

fn is_ready(name: &str, text: &str, object: Option<&Value>) -> Result<String, String> {
    let object = object.ok_or_else(|| format!("there is no Greeting {name}"))?;
    let ready = condition(object, "Ready").ok_or_else(|| format!("Greeting {name} has no condition Ready"))?;
    if ready["status"] != "True" {
        return Err(format!("Greeting {name} is not ready: {ready}"));
    }
    let generation = &object["metadata"]["generation"];
    if object["status"]["observedGeneration"] != *generation || ready["observedGeneration"] != *generation {
        return Err(format!(
            "the status of Greeting {name} is not about generation {generation}: {}",
            object["status"]
        ));
    }
    if object["status"]["message"] != text {
        return Err(format!(
            "Greeting {name} reports {} and not {text:?}",
            object["status"]["message"]
        ));
    }
    Ok(format!("Greeting {name} is Ready"))
}

fn is_invalid(name: &str, object: Option<&Value>, child: Option<&Value>) -> Result<String, String> {
    let object = object.ok_or_else(|| format!("there is no Greeting {name}"))?;
    let ready = condition(object, "Ready").ok_or_else(|| format!("Greeting {name} has no condition Ready"))?;
    if ready["status"] != "False" || ready["reason"] != "InvalidSpec" {
        return Err(format!("Greeting {name} is not refused as InvalidSpec: {ready}"));
    }
    if child.is_some() {
        return Err(format!(
            "Greeting {name} makes no sense and has a ConfigMap all the same"
        ));
    }
    Ok(format!("Greeting {name} is not Ready: InvalidSpec"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Value {
        json!({"metadata": {"uid": "u1", "generation": 2}, "status": {
            "message": "Hello!", "observedGeneration": 2,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Greeted", "observedGeneration": 2}],
        }})
    }

    #[test]
    fn a_config_map_must_hold_the_text_and_belong_to_the_greeting() {
        let child = |text: &str, uid: &str| json!({"data": {"message": text}, "metadata": {"ownerReferences": [{"uid": uid, "controller": true}]}});
        assert!(says("a", "Hello!", Some(&child("Hello!", "u1")), Some(&owner())).is_ok());
        let wrong = says("a", "Hello!", Some(&child("Go away", "u1")), Some(&owner())).unwrap_err();
        assert_eq!(wrong, "ConfigMap a says \"Go away\" and not \"Hello!\"");
        assert!(
            says("a", "Hello!", Some(&child("Hello!", "u2")), Some(&owner()))
                .unwrap_err()
                .contains("not controlled")
        );
        assert_eq!(
            says("a", "Hello!", None, Some(&owner())).unwrap_err(),
            "there is no ConfigMap a"
        );
    }

    #[test]
    fn a_status_must_be_about_the_present_spec() {
        assert!(is_ready("a", "Hello!", Some(&owner())).is_ok());
        let mut behind = owner();
        behind["metadata"]["generation"] = 3.into();
        assert!(
            is_ready("a", "Hello!", Some(&behind))
                .unwrap_err()
                .contains("not about generation 3")
        );
        let mut failing = owner();
        failing["status"]["conditions"][0]["status"] = "False".into();
        assert!(
            is_ready("a", "Hello!", Some(&failing))
                .unwrap_err()
                .contains("is not ready")
        );
        assert!(is_ready("a", "Bye!", Some(&owner())).is_err());
    }

    #[test]
    fn what_is_invalid_must_say_so_and_have_no_child() {
        let mut refused = owner();
        refused["status"]["conditions"][0] = json!({"type": "Ready", "status": "False", "reason": "InvalidSpec"});
        assert!(is_invalid("a", Some(&refused), None).is_ok());
        assert!(is_invalid("a", Some(&refused), Some(&json!({}))).is_err());
        assert!(is_invalid("a", Some(&owner()), None).is_err());
    }
}
