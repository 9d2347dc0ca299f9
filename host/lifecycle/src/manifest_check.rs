//! What a well-formed manifest may still get wrong: fields that contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_object::{FieldPath, Gvk};

use crate::config_schema::ConfigSchema;
use crate::manifest::{Controller, Manifest, Mapping, Scope};
use crate::permission::{Permission, Verb};
use crate::problem::{Problem, nearest, shown};

/// More problems than this in one manifest help nobody.
const MAX_PROBLEMS: usize = 20;

/// Everything that contradicts itself in `manifest`, at most [`MAX_PROBLEMS`].
pub(crate) fn check(manifest: &Manifest) -> Vec<Problem> {
    let mut found = Vec::new();
    if manifest.controllers.is_empty() {
        found.push(Problem::new(
            "controllers",
            "is empty",
            "a plugin needs at least one controller",
        ));
    }
    let mut names = BTreeSet::new();
    for (i, controller) in manifest.controllers.iter().enumerate() {
        let at = format!("controllers[{i}]");
        if !names.insert(&controller.name) {
            found.push(Problem::new(
                format!("{at}.name"),
                format!("another controller is named `{}`, too", controller.name),
                "give each controller a name of its own",
            ));
        }
        check_controller(manifest, controller, &at, &mut found);
    }
    check_scopes(manifest, &mut found);
    check_indexes(manifest, &mut found);
    check_permissions(manifest, &mut found);
    if let Some(schema) = &manifest.config_schema
        && let Err(problem) = ConfigSchema::compile(schema)
    {
        found.push(problem);
    }
    found.truncate(MAX_PROBLEMS);
    found
}

fn check_controller(manifest: &Manifest, controller: &Controller, at: &str, found: &mut Vec<Problem>) {
    check_watched(
        manifest,
        &controller.kind,
        &controller.namespaces,
        &format!("{at}.kind"),
        found,
    );
    if controller.scope == Scope::Cluster && !controller.namespaces.is_empty() {
        found.push(Problem::new(
            format!("{at}.namespaces"),
            format!(
                "objects of {} live in no namespace (`scope` is Cluster)",
                controller.kind
            ),
            "drop `namespaces`, or set `scope` to Namespaced",
        ));
    }
    repeats(&controller.predicates, &format!("{at}.predicates"), found);
    if controller.kind.is_secret() {
        unseen(
            &controller.changes,
            "a Secret's data is never cached",
            format!("{at}.changes"),
            found,
        );
    }
    check_fields(
        manifest,
        &controller.kind,
        &controller.fields,
        &format!("{at}.fields"),
        found,
    );
    if controller.backoff.base_ms > controller.backoff.max_ms {
        found.push(Problem::new(
            format!("{at}.backoff"),
            format!(
                "baseMs ({}) is greater than maxMs ({})",
                controller.backoff.base_ms, controller.backoff.max_ms
            ),
            "baseMs is the first wait and maxMs the longest",
        ));
    }
    let mut kinds = BTreeSet::new();
    for (i, watch) in controller.watches.iter().enumerate() {
        let at = format!("{at}.watches[{i}]");
        if !kinds.insert(&watch.kind) {
            found.push(Problem::new(
                format!("{at}.kind"),
                format!("{} is watched twice by this controller", watch.kind),
                "watch it once, with the mapping that covers both",
            ));
        }
        check_watched(manifest, &watch.kind, &[], &format!("{at}.kind"), found);
        let fields_at = format!("{at}.fields");
        check_fields(manifest, &watch.kind, &watch.fields, &fields_at, found);
        if watch.metadata_only && !watch.fields.is_empty() {
            found.push(Problem::new(
                fields_at,
                "`metadataOnly` is set, too, and none of these fields is metadata",
                "drop one of the two",
            ));
        }
        if let Mapping::Field(path) = &watch.map {
            let paths = std::slice::from_ref(path);
            if watch.kind.is_secret() {
                unseen(paths, "a Secret's data is never cached", format!("{at}.map"), found);
            } else if watch.metadata_only {
                unseen(paths, "this watch is of metadata only", format!("{at}.map"), found);
            }
        }
        if let Mapping::Index(name) = &watch.map
            && manifest.index(&controller.kind, name).is_none()
        {
            let of_kind: Vec<&str> = manifest
                .indexes
                .iter()
                .filter(|i| i.kind == controller.kind)
                .map(|i| i.name.as_str())
                .collect();
            let mend = match (
                nearest(name, of_kind.iter().copied()),
                manifest.indexes.iter().find(|i| i.name == *name),
            ) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(other)) => {
                    format!(
                        "the index `{name}` is over {}; a mapping needs one over the primary kind",
                        other.kind
                    )
                }
                (None, None) => "declare it in `indexes`".to_owned(),
            };
            found.push(Problem::new(
                format!("{at}.map"),
                format!("there is no index `{name}` over the primary kind {}", controller.kind),
                mend,
            ));
        }
    }
}

/// A watched kind must be asked for, in each of the namespaces.
fn check_watched(manifest: &Manifest, kind: &Gvk, namespaces: &[String], at: &str, found: &mut Vec<Problem>) {
    let asked = |namespace| {
        manifest
            .permissions
            .iter()
            .any(|permission| permission.asks_to_watch(kind, namespace))
    };
    let missing: Vec<String> = if namespaces.is_empty() {
        if asked(None) {
            return;
        }
        Vec::new()
    } else {
        let missing: Vec<String> = namespaces
            .iter()
            .filter(|n| !asked(Some(n.as_str())))
            .cloned()
            .collect();
        if missing.is_empty() {
            return;
        }
        missing
    };
    let permission = Permission {
        group: kind.group.to_string(),
        kind: kind.kind.to_string(),
        verbs: vec![Verb::Watch],
        namespaces: missing,
        names: Vec::new(),
        subresources: Vec::new(),
    };
    found.push(Problem::new(
        at,
        format!("watching {kind} is not asked for"),
        format!("add to `permissions`: {permission}"),
    ));
}

/// One kind has one scope wherever it stands.
fn check_scopes(manifest: &Manifest, found: &mut Vec<Problem>) {
    let mut scopes: BTreeMap<(&str, &str), (Scope, String)> = BTreeMap::new();
    let uses = manifest.controllers.iter().enumerate().flat_map(|(i, controller)| {
        let primary = (&controller.kind, controller.scope, format!("controllers[{i}].scope"));
        let watches = controller.watches.iter().enumerate();
        std::iter::once(primary)
            .chain(watches.map(move |(j, w)| (&w.kind, w.scope, format!("controllers[{i}].watches[{j}].scope"))))
    });
    for (kind, scope, at) in uses {
        match scopes.get(&(&*kind.group, &*kind.kind)) {
            Some((first, _)) if *first == scope => {}
            Some((first, there)) => found.push(Problem::new(
                at,
                format!("{kind} is {scope:?} here and {first:?} in {there}"),
                "write the same scope in both; the default is Namespaced",
            )),
            None => {
                scopes.insert((&kind.group, &kind.kind), (scope, at));
            }
        }
    }
}

/// Fields that are declared must be some that can be shown and would not be anyway.
fn check_fields(manifest: &Manifest, kind: &Gvk, fields: &[FieldPath], at: &str, found: &mut Vec<Problem>) {
    if fields.is_empty() {
        return;
    }
    if kind.is_secret() {
        found.push(Problem::new(
            at,
            "a Secret's data is never cached, so there are no fields to choose",
            "drop `fields`; a live read of a granted name shows the data",
        ));
        return;
    }
    for (i, path) in fields.iter().enumerate() {
        if path.is_metadata() {
            found.push(Problem::new(
                format!("{at}[{i}]"),
                format!("{} is shown in any case", shown(&path.to_string())),
                "drop it; where metadata is all that is needed of another kind, set its `metadataOnly` instead",
            ));
        }
    }
    if manifest.fields_of(kind).is_none() {
        found.push(Problem::new(
            at,
            format!("the fields of {kind}, with the paths of its indexes, `changes` and mappings, are more than 256"),
            "name a few that have the others below them, or drop `fields` and watch the kind whole",
        ));
    }
}

/// Paths that lead out of what the cache keeps would never find anything: a change there is lost without a word.
fn unseen(paths: &[FieldPath], why: &str, at: String, found: &mut Vec<Problem>) {
    for path in paths {
        if !path.is_metadata() {
            found.push(Problem::new(
                at.clone(),
                format!("{why}, and the path leads there"),
                "name a path in `metadata`, or watch the kind whole",
            ));
        }
    }
}

fn check_indexes(manifest: &Manifest, found: &mut Vec<Problem>) {
    let mut names = BTreeSet::new();
    for (i, index) in manifest.indexes.iter().enumerate() {
        if !names.insert((&index.kind, &index.name)) {
            found.push(Problem::new(
                format!("indexes[{i}].name"),
                format!("another index over {} is named `{}`, too", index.kind, index.name),
                "give each index of a kind a name of its own",
            ));
        }
        if index.paths.is_empty() {
            found.push(Problem::new(
                format!("indexes[{i}].paths"),
                "is empty",
                "name at least one path",
            ));
        }
        if index.kind.is_secret() {
            unseen(
                &index.paths,
                "a Secret's data is never cached",
                format!("indexes[{i}].paths"),
                found,
            );
        }
        let watched = manifest
            .controllers
            .iter()
            .any(|c| c.kind == index.kind || c.watches.iter().any(|w| w.kind == index.kind));
        if !watched {
            found.push(Problem::new(
                format!("indexes[{i}].kind"),
                format!("no controller watches {}, so there is nothing to index", index.kind),
                "watch the kind or drop the index",
            ));
        }
    }
}

fn check_permissions(manifest: &Manifest, found: &mut Vec<Problem>) {
    for (i, permission) in manifest.permissions.iter().enumerate() {
        let at = format!("permissions[{i}]");
        if permission.verbs.is_empty() {
            found.push(Problem::new(
                format!("{at}.verbs"),
                "is empty",
                "name at least one of get, list, watch, digest, create, patch, replace, delete",
            ));
        }
        repeats(&permission.verbs, &format!("{at}.verbs"), found);
    }
}

/// Reports values that stand in a list twice.
fn repeats<T: PartialEq + serde::Serialize>(values: &[T], at: &str, found: &mut Vec<Problem>) {
    for (i, value) in values.iter().enumerate() {
        if values[..i].contains(value) {
            let text = serde_json::to_string(value).unwrap_or_default();
            found.push(Problem::new(
                format!("{at}[{i}]"),
                format!("{text} stands here twice"),
                "write it once",
            ));
        }
    }
}
