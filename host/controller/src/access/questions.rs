//! What is asked of the API server about another: may it get, list and watch what the plugin sees through its watches.

use std::collections::BTreeMap;

use pilothouse_lifecycle::{Capabilities, Manifest, NotServed, Right, Rights};
use pilothouse_object::{Gvk, escape_control, shorten};
use serde::Deserialize;
use serde_json::{Value, json};

/// So much is asked about one plugin at most, so that its reviews take no more than two requests a second.
const MOST: usize = 600;

/// May it do this?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) kind: Gvk,
    /// None: in all namespaces, or of objects that live in none.
    pub(crate) namespace: Option<String>,
    /// None: of whatever name.
    pub(crate) name: Option<String>,
    pub(crate) verb: &'static str,
}

/// Everything that is to be asked about who acts for that plugin, each once.
///
/// # Errors
/// That would be too much.
pub(crate) fn questions(manifest: &Manifest, capabilities: &Capabilities) -> Result<Vec<Question>, NotServed> {
    let mut kinds = BTreeMap::new();
    for controller in &manifest.controllers {
        let watches = controller.watches.iter().map(|watch| &watch.kind);
        for kind in std::iter::once(&controller.kind).chain(watches) {
            kinds.insert((kind.group.to_string(), kind.kind.to_string()), kind);
        }
    }
    let mut questions = Vec::new();
    for (right, names) in Rights::seen(manifest, capabilities).least() {
        let Right {
            namespace,
            group,
            kind,
            verb,
            ..
        } = right;
        // What is seen is of these kinds.
        let Some(kind) = kinds.get(&(group.clone(), kind.clone())) else {
            continue;
        };
        let names: Vec<Option<String>> = match names {
            None => vec![None],
            Some(names) => names.iter().cloned().map(Some).collect(),
        };
        if questions.len() + names.len() > MOST {
            return Err(NotServed {
                why: format!(
                    "it acts as another (`impersonate`), and what that may see would take more than {MOST} access reviews: \
                     one for each verb, kind, namespace and name that is granted"
                ),
                mend: "grant it fewer namespaces and names, or all of them at once".to_owned(),
            });
        }
        questions.extend(names.into_iter().map(|name| Question {
            kind: (*kind).clone(),
            namespace: namespace.clone(),
            name,
            verb,
        }));
    }
    Ok(questions)
}

impl Question {
    /// The SubjectAccessReview that asks it.
    pub(crate) fn body(&self, plural: &str, user: &str, groups: &[String]) -> Value {
        let mut about = json!({"group": &*self.kind.group, "version": &*self.kind.version, "resource": plural,
                               "verb": self.verb});
        if let Some(namespace) = &self.namespace {
            about["namespace"] = json!(namespace);
        }
        if let Some(name) = &self.name {
            about["name"] = json!(name);
        }
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": about},
        })
    }

    /// Why the plugin is not called, where this is denied.
    pub(crate) fn denied(&self, plugin: &str, whom: &str, plural: &str, reason: &str) -> String {
        let group = match &*self.kind.group {
            "" => String::new(),
            group => format!(".{group}"),
        };
        let named = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let place = match &self.namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in every namespace".to_owned(),
        };
        let reason = match reason {
            "" => String::new(),
            reason => format!(" ({})", escape_control(&shorten(reason, 200))),
        };
        format!(
            "{whom}, as whom it acts, may not {} {plural}{group}{named} {place}{reason}: let it (`pilothouse rbac` prints \
             the role), grant the plugin {plugin} less, or correct its `impersonate`",
            self.verb
        )
    }
}

/// What the API server answered: nothing where it is allowed, else its reason.
///
/// # Errors
/// It is no answer to such a question.
pub(crate) fn verdict(answer: &[u8]) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        allowed: bool,
        #[serde(default)]
        denied: bool,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        evaluation_error: String,
    }
    let review: Review = serde_json::from_slice(answer).map_err(|error| format!("the answer is no review: {error}"))?;
    let Status {
        allowed,
        denied,
        reason,
        evaluation_error,
    } = review.status;
    if allowed && !denied {
        return Ok(None);
    }
    Ok(Some(if reason.is_empty() { evaluation_error } else { reason }))
}

#[cfg(test)]
mod tests {
    use pilothouse_lifecycle::Grants;

    use super::*;

    fn asked(permissions: &Value) -> Result<Vec<Question>, NotServed> {
        let manifest = json!({
            "name": "p", "version": "0.1.0",
            "controllers": [{
                "name": "p", "kind": {"group": "demo.io", "version": "v1", "kind": "Greeting"},
                "watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": "same-name"}],
            }],
            "permissions": permissions,
        });
        let manifest = Manifest::parse(&manifest.to_string()).unwrap();
        let own = Capabilities::new("p", &manifest.permissions, &Grants::Everything.into());
        questions(&manifest, &own)
    }

    #[test]
    fn every_kind_and_namespace_and_name_that_is_seen_is_asked_for_and_what_goes_live_is_not() {
        let asked = asked(&json!([
            {"group": "demo.io", "kind": "Greeting", "verbs": ["watch", "patch"]},
            {"group": "", "kind": "ConfigMap", "verbs": ["watch"], "namespaces": ["a"], "names": ["x", "y"]},
            {"group": "", "kind": "ConfigMap", "verbs": ["get", "create"], "namespaces": ["b"]},
        ]));
        let of = |question: &Question| {
            let (namespace, name) = (question.namespace.clone(), question.name.clone());
            let all = "*".to_owned();
            format!(
                "{} {} {}/{}",
                question.verb,
                question.kind.kind,
                namespace.unwrap_or(all.clone()),
                name.unwrap_or(all)
            )
        };
        let mut asked: Vec<String> = asked.unwrap().iter().map(of).collect();
        asked.sort();
        assert_eq!(
            asked,
            [
                "get ConfigMap a/x",
                "get ConfigMap a/y",
                "get Greeting */*",
                "list ConfigMap a/x",
                "list ConfigMap a/y",
                "list Greeting */*",
                "watch ConfigMap a/x",
                "watch ConfigMap a/y",
                "watch Greeting */*",
            ]
        );
    }

    #[test]
    fn too_much_to_ask_is_refused_with_the_mend() {
        let names: Vec<String> = (0..250).map(|n| format!("n{n}")).collect();
        let refused = asked(&json!([
            {"group": "demo.io", "kind": "Greeting", "verbs": ["watch"]},
            {"group": "", "kind": "ConfigMap", "verbs": ["watch"], "names": names},
        ]));
        let refused = refused.unwrap_err();
        assert!(
            refused.why.contains("more than 600") && refused.mend.contains("fewer"),
            "{refused:?}"
        );
    }

    #[test]
    fn a_review_names_whom_what_and_where() {
        let question = Question {
            kind: Gvk::new("demo.io", "v1", "Greeting"),
            namespace: Some("a".to_owned()),
            name: None,
            verb: "list",
        };
        assert_eq!(
            question.body("greetings", "jane", &["devs".to_owned()]),
            json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {"user": "jane", "groups": ["devs"], "resourceAttributes": {
                    "group": "demo.io", "version": "v1", "resource": "greetings", "verb": "list", "namespace": "a",
                }},
            })
        );
        let why = question.denied("p", "user jane", "greetings", "no\u{1b}[31m rule");
        assert!(
            why.starts_with("user jane, as whom it acts, may not list greetings.demo.io in namespace a (no"),
            "{why}"
        );
        assert!(!why.contains('\u{1b}'));
    }

    #[test]
    fn only_a_plain_yes_is_one() {
        let status = |status: &str| verdict(format!(r#"{{"status": {status}}}"#).as_bytes());
        assert_eq!(status(r#"{"allowed": true}"#), Ok(None));
        assert_eq!(
            status(r#"{"allowed": true, "denied": true, "reason": "r"}"#),
            Ok(Some("r".to_owned()))
        );
        assert_eq!(status(r#"{"allowed": false}"#), Ok(Some(String::new())));
        assert_eq!(
            status(r#"{"allowed": false, "evaluationError": "e"}"#),
            Ok(Some("e".to_owned()))
        );
        for rubbish in ["{}", r#"{"allowed": "yes"}"#, "null", "1"] {
            assert!(status(rubbish).is_err(), "{rubbish}");
        }
        assert!(verdict(b"").is_err());
    }
}
