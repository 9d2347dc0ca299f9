//! The lines of the operator's file that grant what a module asks for, what is dangerous apart.

use crate::config::PluginConfig;
use crate::danger::{danger, danger_there};
use crate::permission::{Permission, Verb};
use crate::problem::shown;
use crate::refusal::{Refusal, Step};

/// A part of a permission that is granted in one line, and why that line stands under `dangerous:`, if it does.
struct Part {
    permission: Permission,
    why: Option<&'static str>,
}

/// The lines that grant these permissions and no others, as they stand right in the file `NAME.yaml` beside a module.
pub fn grants_of_file(permissions: &[Permission], host_namespace: Option<&str>) -> String {
    let lines = lines(permissions, host_namespace);
    if lines.starts_with("grants:") {
        return lines;
    }
    // Where nothing is said of grants, a plugin may have what it asks for.
    format!("grants: []\n{lines}").trim_end().to_owned()
}

/// The lines that grant these permissions besides what is granted already.
fn lines(permissions: &[Permission], host_namespace: Option<&str>) -> String {
    let parts: Vec<Part> = permissions
        .iter()
        .flat_map(|permission| parts(permission, host_namespace))
        .collect();
    let (dangerous, plain): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.why.is_some());
    let mut lines = Vec::new();
    if !plain.is_empty() {
        lines.push("grants:".to_owned());
    }
    lines.extend(plain.iter().map(|part| format!("- {}", part.permission)));
    if !dangerous.is_empty() {
        lines.push("dangerous:".to_owned());
    }
    for Part { permission, why } in dangerous {
        lines.push(format!("# {}\n- {permission}", why.unwrap_or_default()));
    }
    lines.join("\n")
}

/// The same for a file of all plugins (`--config`), without its `apiVersion`.
pub fn grants_of_config(plugin: &str, permissions: &[Permission], host_namespace: Option<&str>) -> String {
    of_config(plugin, &grants_of_file(permissions, host_namespace))
}

fn of_config(plugin: &str, grants: &str) -> String {
    let mut lines = format!("plugins:\n  {}:", shown(plugin));
    for line in grants.lines() {
        lines.push_str("\n    ");
        lines.push_str(line);
    }
    lines
}

/// Why a plugin that asks for this besides what it is granted is not loaded.
pub(crate) fn not_granted(plugin: &str, lacking: &[Permission], own: &PluginConfig) -> Refusal {
    let parts = lacking
        .iter()
        .flat_map(|permission| parts(permission, own.host_namespace.as_deref()));
    let what: Vec<String> = parts.map(|part| in_words(&part)).collect();
    let lines = lines(lacking, own.host_namespace.as_deref());
    let (place, lines) = if own.beside {
        (format!("{}.yaml beside the module", shown(plugin)), lines)
    } else {
        let place = format!(
            "the operator's file (--config), or what stands under its name, to {}.yaml beside the module",
            shown(plugin)
        );
        (place, of_config(plugin, &lines))
    };
    Refusal::new(
        plugin,
        Step::Grants,
        format!("it asks for what it was not granted: {}", what.join(", ")),
        format!("if it may do this, add these grants to {place}:\n{lines}"),
    )
}

/// `watch/create ConfigMap`, `patch Pod/status (dangerous: …)`.
fn in_words(Part { permission, why }: &Part) -> String {
    let verbs: Vec<&str> = permission.verbs.iter().map(|verb| verb.as_str()).collect();
    let group = if permission.group.is_empty() {
        String::new()
    } else {
        format!(".{}", permission.group)
    };
    // Behind a `/` each, as `inspect` shows them.
    let kind = format!("{}{group}", permission.kind);
    let kinds: Vec<String> = match &permission.subresources[..] {
        [] => vec![kind],
        some => some.iter().map(|subresource| format!("{kind}/{subresource}")).collect(),
    };
    let why = why.map(|why| format!(" (dangerous: {why})")).unwrap_or_default();
    format!("{} {}{why}", verbs.join("/"), kinds.join(" and "))
}

/// A permission in as few parts as tell what is dangerous from what is not.
fn parts(asked: &Permission, host_namespace: Option<&str>) -> Vec<Part> {
    let (objects, subresources): (Vec<Verb>, Vec<Verb>) = asked
        .verbs
        .iter()
        .partition(|verb| asked.subresources.is_empty() || !verb.knows_subresources());
    let mut found: Vec<Part> = Vec::new();
    let objects = objects.into_iter().map(|verb| (verb, None));
    let of_subresources = asked
        .subresources
        .iter()
        .flat_map(|name| subresources.iter().map(move |verb| (*verb, Some(name))));
    for (verb, subresource) in objects.chain(of_subresources) {
        let why = |verb, subresource: Option<&String>| {
            danger(
                verb,
                &asked.group,
                &asked.kind,
                subresource.map(String::as_str),
                !asked.names.is_empty(),
            )
        };
        let whole = why(verb, subresource);
        let mut elsewhere = Vec::new();
        for named in &asked.namespaces {
            match danger_there(verb, &asked.group, &asked.kind, named, host_namespace) {
                None => elsewhere.push(named.clone()),
                why => add(&mut found, asked, verb, subresource, vec![named.clone()], why),
            }
        }
        // Without any it would say: everywhere.
        if asked.namespaces.is_empty() || !elsewhere.is_empty() {
            add(&mut found, asked, verb, subresource, elsewhere, whole);
        }
    }
    merge_subresources(found)
}

fn add(
    found: &mut Vec<Part>,
    asked: &Permission,
    verb: Verb,
    subresource: Option<&String>,
    namespaces: Vec<String>,
    why: Option<&'static str>,
) {
    let subresources: Vec<String> = subresource.into_iter().cloned().collect();
    let same = found.iter_mut().find(|part| {
        part.why == why && part.permission.subresources == subresources && part.permission.namespaces == namespaces
    });
    match same {
        Some(part) => part.permission.verbs.push(verb),
        None => found.push(Part {
            permission: Permission {
                verbs: vec![verb],
                namespaces,
                subresources,
                ..asked.clone()
            },
            why,
        }),
    }
}

/// Subresources of which the same is asked stand in one line.
fn merge_subresources(parts: Vec<Part>) -> Vec<Part> {
    let mut merged: Vec<Part> = Vec::new();
    for part in parts {
        let same = merged.iter_mut().find(|earlier| {
            earlier.why == part.why
                && earlier.permission.verbs == part.permission.verbs
                && earlier.permission.namespaces == part.permission.namespaces
                && !earlier.permission.subresources.is_empty()
                && !part.permission.subresources.is_empty()
        });
        match same {
            Some(earlier) => earlier.permission.subresources.extend(part.permission.subresources),
            None => merged.push(part),
        }
    }
    merged
}
