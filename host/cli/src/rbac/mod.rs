//! `pilothouse rbac`: the least roles that the plugins of a directory need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use pilothouse_lifecycle::{Capabilities, Granted, Grants, Impersonate, Right, Rights, said_of, scan};
use serde_json::{Value, json};

use crate::{
    args::{self, RbacOutput},
    exit::{FAILED, OK, Stop},
    inspect, plugins, present,
};

mod resources;

use resources::Resources;

/// The API group of roles.
const RBAC: &str = "rbac.authorization.k8s.io";

/// Says which kinds' names were guessed.
const GUESSED: &str = "pilothouse.dev/guessed-resources";

/// Writes the roles to stdout; the exit code says whether every plugin is among them.
///
/// # Errors
/// Wrong usage or configuration.
pub(crate) async fn rbac(args: &args::Rbac) -> Result<u8, Stop> {
    let config = match &args.config {
        None => None,
        Some(file) => Some(plugins::config(Some(file))?),
    };
    let resources = Resources::read(&args.crd).map_err(Stop::usage)?;
    let found = scan(&args.plugins).map_err(|error| Stop::usage(error.to_string()))?;
    let modules = plugins::modules(&config.clone().unwrap_or_default(), None)?;
    let max_bytes = config.clone().unwrap_or_default().host.max_module_bytes();
    let mut code = OK;
    let mut all: Vec<(String, Rights)> = Vec::new();
    let mut others: Vec<(String, Impersonate, Rights)> = Vec::new();
    for refusal in &found.refused {
        tracing::error!("{refusal}");
        code = FAILED;
    }
    for module in &found.modules {
        let own = match said_of(&args.plugins, &module.name, config.as_ref()) {
            Ok(own) => own,
            Err(refusal) => {
                tracing::error!("{refusal}");
                code = FAILED;
                continue;
            }
        };
        if own.as_ref().is_some_and(|own| !own.enabled) {
            continue;
        }
        let seen = pilothouse_lifecycle::inspect(&modules, &module.path, own.as_ref(), max_bytes).await;
        if let Some(refusal) = &seen.refusal {
            tracing::error!("{refusal}");
            code = FAILED;
            continue;
        }
        // Without a refusal there is a manifest.
        let Some(manifest) = &seen.manifest else { continue };
        let granted: Granted = own
            .as_ref()
            .map_or_else(|| Grants::Everything.into(), |own| own.granted());
        let capabilities = Capabilities::new(&module.name, &manifest.permissions, &granted);
        let emits = seen
            .imports
            .iter()
            .any(|name| name.starts_with("pilothouse:plugin/events"));
        let emits = emits && own.as_ref().is_none_or(|own| own.events);
        let other = own.and_then(|own| own.impersonate);
        let host = match &other {
            None => Rights::of(manifest, &capabilities, emits),
            Some(other) => Rights::of_host_for(manifest, &capabilities, other),
        };
        all.push((module.name.clone(), host));
        if let Some(other) = other {
            let rights = Rights::of_other(manifest, &capabilities, emits);
            others.push((module.name.clone(), other, rights));
        }
    }
    if all.is_empty() && code == OK {
        return Err(Stop::no_plugin(format!(
            "{}: no plugin in it would run: there is nothing to allow",
            args.plugins.display()
        )));
    }
    let namespace = config.as_ref().and_then(|config| config.host.namespace.as_deref());
    let own = namespace.map(Rights::of_own_events).unwrap_or_default();
    let mut roles = Vec::new();
    if args.per_plugin {
        // No plugin's name has a colon: this is the host's.
        roles.extend(roles_of("pilothouse:host", &own, &resources));
        for (plugin, rights) in &all {
            roles.extend(roles_of(&format!("pilothouse-{plugin}"), rights, &resources));
        }
    } else {
        let mut together = own;
        all.into_iter().for_each(|(_, rights)| together.extend(rights));
        roles = roles_of("pilothouse", &together, &resources);
    }
    for (plugin, other, rights) in &others {
        // No plugin's name has a colon: this is no other's.
        let own = roles_of(&format!("pilothouse-{plugin}:account"), rights, &resources);
        let bindings: Vec<Value> = own.iter().map(|role| binding(role, other)).collect();
        roles.extend(own.into_iter().chain(bindings));
    }
    let text = match args.output {
        RbacOutput::Yaml => roles.iter().map(yaml).collect::<String>(),
        RbacOutput::Json => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": roles});
            present::harmless(&format!("{list:#}")) + "\n"
        }
    };
    inspect::put(&text).map(|()| code)
}

/// What tells rules apart that could be one: group, names, and verbs.
type Alike = (String, Option<BTreeSet<String>>, BTreeSet<&'static str>);

/// A ClusterRole for what holds everywhere, and a Role for each namespace.
fn roles_of(name: &str, rights: &Rights, resources: &Resources) -> Vec<Value> {
    // By namespace, then by resource and names: the verbs.
    type Verbs = BTreeMap<(String, String, Option<BTreeSet<String>>), BTreeSet<&'static str>>;
    let mut scopes: BTreeMap<Option<&str>, (Verbs, BTreeSet<String>)> = BTreeMap::new();
    for (right, names) in rights.least() {
        let Right {
            namespace,
            group,
            kind,
            subresource,
            verb,
        } = right;
        let (plural, guessed) = resources.plural(group, kind);
        let resource = match subresource {
            Some(subresource) => format!("{plural}/{subresource}"),
            None => plural.clone(),
        };
        let (verbs, guesses) = scopes.entry(namespace.as_deref()).or_default();
        verbs
            .entry((group.clone(), resource, names.clone()))
            .or_default()
            .insert(*verb);
        if guessed {
            guesses.insert(format!("{plural}.{group}"));
        }
    }
    let role = |(namespace, (verbs, guesses)): (Option<&str>, (Verbs, BTreeSet<String>))| {
        let mut alike: BTreeMap<Alike, BTreeSet<String>> = BTreeMap::new();
        for ((group, resource, names), verbs) in verbs {
            alike.entry((group, names, verbs)).or_default().insert(resource);
        }
        let rules = alike.into_iter().map(|((group, names, verbs), resources)| {
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
            if let Some(names) = names {
                rule["resourceNames"] = json!(names);
            }
            rule
        });
        let mut metadata = json!({"name": name});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
        }
        if !guesses.is_empty() {
            let guesses: Vec<String> = guesses.into_iter().collect();
            metadata["annotations"] = json!({GUESSED: guesses.join(",")});
        }
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": if namespace.is_some() { "Role" } else { "ClusterRole" },
            "metadata": metadata,
            "rules": rules.collect::<Vec<_>>(),
        })
    };
    scopes.into_iter().map(role).collect()
}

/// Binds a role to whom a plugin's own requests go out as.
fn binding(role: &Value, other: &Impersonate) -> Value {
    let kind = plain(&role["kind"]);
    let subject = match other {
        Impersonate::User(name) => json!({"kind": "User", "apiGroup": RBAC, "name": name}),
        Impersonate::ServiceAccount { namespace, name } => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
    };
    let mut metadata = json!({"name": role["metadata"]["name"]});
    if let Some(namespace) = role["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    json!({
        "apiVersion": role["apiVersion"], "kind": format!("{kind}Binding"), "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": metadata["name"]}, "subjects": [subject],
    })
}

/// One document, a rule a line. JSON's scalars and lists are YAML's.
fn yaml(role: &Value) -> String {
    let mut out = String::from("---\n");
    let metadata = &role["metadata"];
    if let Some(guesses) = metadata["annotations"][GUESSED].as_str() {
        out.push_str("# Guessed from the kinds, since no definition of them was given (--crd):\n");
        let _ = writeln!(out, "#   {guesses}");
    }
    // Writing to a String can't fail.
    let _ = writeln!(
        out,
        "apiVersion: {}\nkind: {}",
        plain(&role["apiVersion"]),
        plain(&role["kind"])
    );
    let _ = writeln!(out, "metadata: {metadata}");
    if !role["roleRef"].is_null() {
        let _ = writeln!(out, "roleRef: {}\nsubjects: {}", role["roleRef"], role["subjects"]);
        return out;
    }
    let _ = writeln!(out, "rules:");
    for rule in role["rules"].as_array().into_iter().flatten() {
        let _ = write!(
            out,
            "- {{apiGroups: {}, resources: {}",
            rule["apiGroups"], rule["resources"]
        );
        if !rule["resourceNames"].is_null() {
            let _ = write!(out, ", resourceNames: {}", rule["resourceNames"]);
        }
        let _ = writeln!(out, ", verbs: {}}}", rule["verbs"]);
    }
    out
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pilothouse_lifecycle::Manifest;

    use super::*;

    /// What the host needs for a plugin that asks for all this and is granted it.
    fn rights() -> Rights {
        let (manifest, own) = plugin();
        Rights::of(&manifest, &own, true)
    }

    fn plugin() -> (Manifest, Capabilities) {
        let manifest = json!({
            "name": "greeting", "version": "0.1.0",
            "controllers": [{
                "name": "greeting", "kind": {"group": "demo.io", "version": "v1", "kind": "Greeting"},
                "watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": {"owner": "controller"}},
                            {"kind": {"group": "", "version": "v1", "kind": "Secret"}, "map": "same-name"}],
            }],
            "permissions": [
                {"group": "demo.io", "kind": "Greeting", "verbs": ["watch"]},
                {"group": "demo.io", "kind": "Greeting", "verbs": ["patch"], "subresources": ["status"]},
                {"group": "", "kind": "ConfigMap", "verbs": ["watch", "create", "replace"], "namespaces": ["a"]},
                {"group": "", "kind": "Secret", "verbs": ["watch", "digest"], "namespaces": ["a"], "names": ["x"]},
                {"group": "", "kind": "Secret", "verbs": ["get"], "namespaces": ["a"], "names": ["y"]},
                {"group": "", "kind": "Secret", "verbs": ["delete"], "namespaces": ["a"], "names": ["z"]},
                // Nothing watches it: no window, no right.
                {"group": "", "kind": "Service", "verbs": ["watch"]},
            ],
        });
        let manifest = Manifest::parse(&manifest.to_string()).unwrap();
        let own = Capabilities::new("greeting", &manifest.permissions, &Grants::Everything.into());
        (manifest, own)
    }

    #[test]
    fn roles_hold_what_is_needed_where_it_is_needed_and_no_more() {
        let roles = roles_of("pilothouse", &rights(), &Resources::default());
        let text: String = roles.iter().map(yaml).collect();
        assert_eq!(
            text,
            r##"---
# Guessed from the kinds, since no definition of them was given (--crd):
#   greetings.demo.io
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {"annotations":{"pilothouse.dev/guessed-resources":"greetings.demo.io"},"name":"pilothouse"}
rules:
- {apiGroups: [""], resources: ["events"], verbs: ["create","patch"]}
- {apiGroups: ["demo.io"], resources: ["greetings"], verbs: ["get","list","watch"]}
- {apiGroups: ["demo.io"], resources: ["greetings/status"], verbs: ["patch"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {"name":"pilothouse","namespace":"a"}
rules:
- {apiGroups: [""], resources: ["configmaps"], verbs: ["create","get","list","update","watch"]}
- {apiGroups: [""], resources: ["secrets"], verbs: ["list","watch"]}
- {apiGroups: [""], resources: ["secrets"], resourceNames: ["y","z"], verbs: ["get"]}
- {apiGroups: [""], resources: ["secrets"], resourceNames: ["z"], verbs: ["delete"]}
"##
        );
    }

    #[test]
    fn for_a_plugin_that_acts_as_another_the_host_watches_and_the_other_does_the_rest() {
        let (manifest, own) = plugin();
        let account = Impersonate::ServiceAccount {
            namespace: "team".to_owned(),
            name: "greeter".to_owned(),
        };
        let resources = Resources::default();
        let host = roles_of(
            "pilothouse",
            &Rights::of_host_for(&manifest, &own, &account),
            &resources,
        );
        let rules = |role: &Value| yaml(role).split_once("rules:\n").unwrap().1.to_owned();
        assert_eq!(
            host.iter().map(rules).collect::<String>(),
            r#"- {apiGroups: ["authorization.k8s.io"], resources: ["subjectaccessreviews"], verbs: ["create"]}
- {apiGroups: ["demo.io"], resources: ["greetings"], verbs: ["list","watch"]}
- {apiGroups: [""], resources: ["configmaps","secrets"], verbs: ["list","watch"]}
- {apiGroups: [""], resources: ["serviceaccounts"], resourceNames: ["greeter"], verbs: ["impersonate"]}
"#
        );
        let other = roles_of("p:account", &Rights::of_other(&manifest, &own, true), &resources);
        assert_eq!(
            other.iter().map(rules).collect::<String>(),
            r#"- {apiGroups: [""], resources: ["events"], verbs: ["create","patch"]}
- {apiGroups: ["demo.io"], resources: ["greetings"], verbs: ["get","list","watch"]}
- {apiGroups: ["demo.io"], resources: ["greetings/status"], verbs: ["patch"]}
- {apiGroups: [""], resources: ["configmaps"], verbs: ["create","get","list","update","watch"]}
- {apiGroups: [""], resources: ["secrets"], resourceNames: ["x"], verbs: ["list","watch"]}
- {apiGroups: [""], resources: ["secrets"], resourceNames: ["x","y","z"], verbs: ["get"]}
- {apiGroups: [""], resources: ["secrets"], resourceNames: ["z"], verbs: ["delete"]}
"#
        );
        let bound = binding(&other[1], &account);
        assert_eq!(
            yaml(&bound),
            r#"---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {"name":"p:account","namespace":"a"}
roleRef: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"p:account"}
subjects: [{"kind":"ServiceAccount","name":"greeter","namespace":"team"}]
"#
        );
        let user = binding(&other[0], &Impersonate::User("jane".to_owned()));
        assert_eq!(user["subjects"][0]["kind"], "User");
        assert_eq!(user["kind"], "ClusterRoleBinding");
    }

    #[test]
    fn the_hosts_own_events_take_a_role_in_its_namespace_and_none_where_all_events_are_allowed() {
        let own = Rights::of_own_events("ops");
        let roles = roles_of("pilothouse:host", &own, &Resources::default());
        assert_eq!(
            roles.iter().map(yaml).collect::<String>(),
            r#"---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {"name":"pilothouse:host","namespace":"ops"}
rules:
- {apiGroups: [""], resources: ["events"], verbs: ["create","patch"]}
"#
        );
        let mut together = own;
        together.extend(rights());
        let resources = Resources::default();
        let roles = |rights: &Rights| roles_of("pilothouse", rights, &resources);
        assert_eq!(roles(&together), roles(&rights()));
    }

    #[test]
    fn what_two_plugins_need_together_is_said_once() {
        let mut twice = rights();
        twice.extend(rights());
        assert_eq!(twice, rights());
    }
}
