//! Scripts: requests that are sent to both servers, one topic a file.
//!
//! A script is YAML: what it is about, and its steps. Texts may hold `<name>`: the value that an earlier step saved
//! under this name, or one of those that every script has:
//!
//! | name | what it stands for |
//! |---|---|
//! | `ns` | the script's own namespace |
//! | `group` | a group of the script's own, for its CustomResourceDefinitions |
//! | `configmaps`, `secrets`, `leases` | the paths of these in the script's namespace |
//! | `widgets` | the path of the widgets, where the script says `widgets: true` |

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A topic's requests, in order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What the script covers, for people.
    pub about: String,
    /// Whether the script needs a custom resource: widgets, in the script's own group.
    #[serde(default)]
    pub widgets: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One request and what is compared of its answer; or events of a watch that an earlier step opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Step {
    /// What is done, unique within the script.
    pub name: String,
    /// Method and path, with the query: `GET /api/v1/namespaces/<ns>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The header `Accept`; `application/json` if absent, none if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// The body's type; `application/json` if absent, none if empty. `merge`, `json`, `strategic` and `apply` stand for
    /// the types of patches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The body as it is sent, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Values of the answer to keep: name, and JSON pointer into the body.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub save: BTreeMap<String, String>,
    /// Repeat the request until its answer has these values: `code`, or JSON pointers into the body. Null: nothing
    /// there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub until: BTreeMap<String, Value>,
    /// Only prepares what follows: both servers must be content with it, and the answers are not compared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub setup: bool,
    /// Send it this many times, with the last answer compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<usize>,
    /// The answer is a watch, to be drained under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// Instead of a request: both servers forget what was before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forget: bool,
    /// Instead of a request: the next events of this watch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// How many events to wait for; all until the watch ends if neither this nor `last` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<usize>,
    /// The name of the object whose event is the last to wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Compare these JSON pointers into the body alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pick: Vec<String>,
    /// Of the list at a JSON pointer compare those elements alone in which the value at another pointer is one of
    /// these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub only: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// Regular expressions for what in texts is not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<String>,
    /// Compare `metadata.managedFields`, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub managed_fields: bool,
}

impl Script {
    /// Where the scripts are.
    #[must_use]
    pub fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts"))
    }

    /// The script of a topic.
    ///
    /// # Panics
    /// If there is none, or it is no script, with the place and what is wrong there.
    #[must_use]
    pub fn load(topic: &str) -> Self {
        let path = Self::folder().join(format!("{topic}.yaml"));
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let script = text.and_then(|text| Self::parse(&text));
        script.unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    }

    /// A script from its text.
    ///
    /// # Errors
    /// If it is none, with what is wrong where.
    pub fn parse(text: &str) -> Result<Self, String> {
        // `y` and `n` are texts, as in YAML 1.2.
        let options = serde_saphyr::options! { strict_booleans: true };
        let script: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        let mut names = std::collections::BTreeSet::new();
        for step in &script.steps {
            let name = &step.name;
            if name.is_empty() || !names.insert(name) {
                return Err(format!("a step's name must be there and unique: {name:?}"));
            }
            let doings = [step.request.is_some(), step.drain.is_some(), step.forget];
            if doings.into_iter().filter(|does| *does).count() != 1 {
                return Err(format!(
                    "{name}: a step has either a request or a watch to drain, or forgets"
                ));
            }
        }
        Ok(script)
    }

    /// The script's text; [`Script::parse`] reads it. JSON is YAML, and each step has a line.
    #[must_use]
    pub fn text(&self) -> String {
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|step| format!("- {}\n", serde_json::json!(step)))
            .collect();
        format!(
            "about: {}\nwidgets: {}\nsteps:\n{}",
            serde_json::json!(self.about),
            self.widgets,
            steps.concat()
        )
    }
}

/// The media type that a step's short name stands for.
#[must_use]
pub fn media_type(name: &str) -> &str {
    match name {
        "merge" => "application/merge-patch+json",
        "json" => "application/json-patch+json",
        "strategic" => "application/strategic-merge-patch+json",
        "apply" => "application/apply-patch+yaml",
        other => other,
    }
}

/// The definition of widgets: schema with defaults and rules of its own, status, scale, columns.
///
/// # Panics
/// Never: the text is part of this crate.
#[must_use]
pub fn widgets(group: &str) -> Value {
    serde_saphyr::from_str(&include_str!("widgets.yaml").replace("<group>", group)).expect("the definition is YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_what_it_wrote() {
        let script = Script::parse(
            "about: 'x: y'\nsteps:\n- {name: 'a \"b\"', request: GET /api, until: {code: 404, /a: null}}\n\
             - {name: c, drain: w, events: 2, mask: ['\\d+']}",
        )
        .unwrap();
        assert_eq!(script.steps[0].until["/a"], Value::Null);
        assert_eq!(Script::parse(&script.text()).unwrap(), script);
    }

    #[test]
    fn steps_without_sense_are_refused() {
        let refused = |steps: &str| Script::parse(&format!("about: x\nsteps: {steps}")).unwrap_err();
        assert!(refused("[{name: a, request: GET /}, {name: a, request: GET /}]").contains("unique"));
        assert!(refused("[{name: a}]").contains("either"));
        assert!(refused("[{name: a, request: GET /, drain: w}]").contains("either"));
        assert!(refused("[{name: a, reqest: GET /}]").contains("reqest"));
    }

    #[test]
    fn widgets_are_of_the_group_that_is_asked_for() {
        assert_eq!(widgets("a.example.com")["metadata"]["name"], "widgets.a.example.com");
    }
}
