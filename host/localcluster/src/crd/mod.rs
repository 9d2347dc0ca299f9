//! CustomResourceDefinitions: from registration to the types that are served, and to their end.
//!
//! A definition that is accepted is served with the very write that registers it. Versions are converted as strategy
//! `None` says; `Webhook` is refused. CEL rules are kept but not evaluated, and the answer to the registration warns
//! of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regex::RegexBuilder;
use serde_json::{Value, json};

use crate::clock;
use crate::cluster::{Cluster, TypeId, crds, type_id};
use crate::meta;
use crate::query::Propagation;
use crate::route::Cx;
use crate::schema::Patterns;
use crate::status::Status;
use crate::store::Key;
use crate::types::{ALL_VERBS, PrinterColumn, ResourceType, ScalePaths, by_version_priority};

mod check;

/// The finalizer that holds a CRD until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// A compiled pattern has at most this many bytes.
const MAX_PATTERN: usize = 1 << 20;

const RULES_WARNING: &str = "x-kubernetes-validations: the local cluster does not evaluate CEL rules yet; objects \
                             that break them are accepted";

/// Compiles a `pattern`.
fn compile(pattern: &str) -> Result<regex::Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN)
        .dfa_size_limit(MAX_PATTERN)
        .build()
        .map_err(|e| e.to_string())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn texts(value: &Value, pointer: &str) -> Vec<Arc<str>> {
    items(value, pointer)
        .iter()
        .filter_map(Value::as_str)
        .map(Arc::from)
        .collect()
}

/// Marks a CRD that is being deleted, before the finalizer's work begins.
pub(crate) fn mark_terminating(crd: &mut Value, now: Duration) {
    set_condition(
        crd,
        "Terminating",
        "True",
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        now,
    );
}

fn set_condition(crd: &mut Value, type_: &str, status: &str, reason: &str, message: &str, now: Duration) {
    let conditions = meta::child(crd, "status")
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    let at = conditions.iter().position(|condition| condition["type"] == type_);
    let since = at
        .and_then(|at| conditions.get(at))
        .filter(|condition| condition["status"] == status)
        .and_then(|condition| condition.get("lastTransitionTime").cloned())
        .unwrap_or_else(|| clock::timestamp(now).into());
    let condition = json!({
        "type": type_, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    match at.and_then(|at| conditions.get_mut(at)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

fn has_condition(crd: &Value, type_: &str) -> bool {
    items(crd, "/status/conditions")
        .iter()
        .any(|c| c["type"] == type_ && c["status"] == "True")
}

/// Fills in what a CRD may leave out.
fn fill_in(crd: &mut Value) {
    let spec = meta::child(crd, "spec");
    spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) else {
        return;
    };
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !kind.is_empty() {
        for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
            let entry = names.entry(field).or_insert(Value::Null);
            if entry.as_str().unwrap_or_default().is_empty() {
                *entry = value.into();
            }
        }
    }
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.contains_key("x-kubernetes-validations") || map.values().any(has_rules),
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

fn collect_patterns(schema: &Value, patterns: &mut Patterns) {
    match schema {
        Value::Object(map) => {
            if let Some(pattern) = map.get("pattern").and_then(Value::as_str)
                && let Ok(regex) = compile(pattern)
            {
                patterns.insert(pattern.to_owned(), regex);
            }
            map.values().for_each(|value| collect_patterns(value, patterns));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_patterns(value, patterns)),
        _ => {}
    }
}

fn columns(version: &Value) -> Vec<PrinterColumn> {
    items(version, "/additionalPrinterColumns")
        .iter()
        .map(|column| PrinterColumn {
            name: text(column, "/name").to_owned(),
            type_: text(column, "/type").to_owned(),
            format: text(column, "/format").to_owned(),
            description: text(column, "/description").to_owned(),
            priority: column["priority"]
                .as_i64()
                .and_then(|priority| i32::try_from(priority).ok())
                .unwrap_or_default(),
            json_path: text(column, "/jsonPath").to_owned(),
        })
        .collect()
}

/// A path such as `.spec.replicas` as steps.
fn steps(path: &str) -> Vec<String> {
    path.split('.')
        .filter(|step| !step.is_empty())
        .map(str::to_owned)
        .collect()
}

fn scale_paths(version: &Value) -> Option<ScalePaths> {
    let scale = version
        .pointer("/subresources/scale")
        .filter(|scale| scale.is_object())?;
    let selector = text(scale, "/labelSelectorPath");
    Some(ScalePaths {
        spec_replicas: steps(text(scale, "/specReplicasPath")),
        status_replicas: steps(text(scale, "/statusReplicasPath")),
        selector: (!selector.is_empty()).then(|| steps(selector)),
    })
}

/// The warning for clients of a deprecated version.
fn deprecation(crd: &Value, version: &Value) -> Option<Arc<str>> {
    if version["deprecated"] != true {
        return None;
    }
    if let Some(warning) = version["deprecationWarning"].as_str() {
        return Some(warning.into());
    }
    let (group, kind, name) = (
        text(crd, "/spec/group"),
        text(crd, "/spec/names/kind"),
        text(version, "/name"),
    );
    let better = items(crd, "/spec/versions")
        .iter()
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .map(|other| text(other, "/name"))
        .min_by(|a, b| by_version_priority(a, b))
        .filter(|better| by_version_priority(better, name).is_lt());
    Some(match better {
        Some(better) => format!("{group}/{name} {kind} is deprecated; use {group}/{better} {kind}").into(),
        None => format!("{group}/{name} {kind} is deprecated").into(),
    })
}

/// The types that an established CRD has served.
fn types_of(crd: &Value) -> Vec<ResourceType> {
    let versions = items(crd, "/spec/versions");
    let stored = versions
        .iter()
        .find(|version| version["storage"] == true)
        .map_or("", |version| text(version, "/name"));
    versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| {
            let schema = version.pointer("/schema/openAPIV3Schema");
            let mut patterns = Patterns::new();
            if let Some(schema) = schema {
                collect_patterns(schema, &mut patterns);
            }
            let scale = scale_paths(version);
            ResourceType {
                group: text(crd, "/spec/group").into(),
                version: text(version, "/name").into(),
                kind: text(crd, "/spec/names/kind").into(),
                list_kind: text(crd, "/spec/names/listKind").into(),
                plural: text(crd, "/spec/names/plural").into(),
                singular: text(crd, "/spec/names/singular").into(),
                short_names: texts(crd, "/spec/names/shortNames"),
                categories: texts(crd, "/spec/names/categories"),
                namespaced: text(crd, "/spec/scope") == "Namespaced",
                verbs: ALL_VERBS,
                status: version.pointer("/subresources/status").is_some_and(Value::is_object),
                scale: scale.is_some(),
                scale_paths: scale,
                columns: columns(version),
                schema: schema.map(|schema| Arc::new(schema.clone())),
                custom: true,
                generation: true,
                stored_version: stored.into(),
                stored_group: text(crd, "/spec/group").into(),
                deprecation: deprecation(crd, version),
                unevaluated_rules: schema.is_some_and(has_rules),
                selectable: items(version, "/selectableFields")
                    .iter()
                    .map(|field| Arc::from(text(field, "/jsonPath").trim_start_matches('.')))
                    .collect(),
                since: 0,
                terminating: meta::is_deleting(crd),
                patterns: Arc::new(patterns),
            }
        })
        .collect()
}

impl Cluster {
    /// Fills in a CRD, holds it against the rules, and writes its status. `old` is what stood there.
    pub(crate) fn prepare_crd(&self, crd: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        fill_in(crd);
        let mut errors = check::check(crd);
        if let Some(old) = old {
            check::check_update(old, crd, &mut errors);
        }
        if !errors.is_empty() {
            let name = meta::text(crd, "name").to_owned();
            return Err(Status::invalid(
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                &name,
                &errors,
            ));
        }
        let conflict = self.name_conflict(crd);
        match conflict {
            None => {
                set_condition(
                    crd,
                    "NamesAccepted",
                    "True",
                    "NoConflicts",
                    "no conflicts found",
                    self.now,
                );
                let message = "the initial names have been accepted";
                set_condition(crd, "Established", "True", "InitialNamesAccepted", message, self.now);
                let names = crd.pointer("/spec/names").cloned().unwrap_or_default();
                meta::child(crd, "status").insert("acceptedNames".into(), names);
            }
            Some((reason, message)) => {
                set_condition(crd, "NamesAccepted", "False", reason, &message, self.now);
                if !has_condition(crd, "Established") {
                    set_condition(
                        crd,
                        "Established",
                        "False",
                        "NotAccepted",
                        "not all names are accepted",
                        self.now,
                    );
                    let none = json!({"plural": "", "kind": ""});
                    meta::child(crd, "status").insert("acceptedNames".into(), none);
                }
            }
        }
        let stored = items(crd, "/spec/versions")
            .iter()
            .find(|version| version["storage"] == true);
        if let Some(name) = stored.map(|version| text(version, "/name").to_owned()) {
            let versions = meta::child(crd, "status")
                .entry("storedVersions")
                .or_insert_with(|| json!([]));
            if let Some(versions) = versions.as_array_mut()
                && !versions.iter().any(|have| *have == name)
            {
                versions.push(name.into());
            }
        }
        Ok(())
    }

    /// A name that another resource of the group has.
    fn name_conflict(&self, crd: &Value) -> Option<(&'static str, String)> {
        let (group, plural) = (text(crd, "/spec/group"), text(crd, "/spec/names/plural"));
        let others: Vec<&ResourceType> = self
            .types()
            .filter(|type_| &*type_.group == group && &*type_.plural != plural)
            .collect();
        let resource = |name: &str| {
            others.iter().any(|type_| {
                &*type_.plural == name
                    || &*type_.singular == name
                    || type_.short_names.iter().any(|have| &**have == name)
            })
        };
        let kind = |name: &str| {
            others
                .iter()
                .any(|type_| &*type_.kind == name || &*type_.list_kind == name)
        };
        let told = |name: &str| format!("{name:?} is already in use");
        let (singular, own_kind) = (text(crd, "/spec/names/singular"), text(crd, "/spec/names/kind"));
        let list_kind = text(crd, "/spec/names/listKind");
        if resource(plural) {
            return Some(("PluralConflict", told(plural)));
        }
        if resource(singular) {
            return Some(("SingularConflict", told(singular)));
        }
        if let Some(short) = texts(crd, "/spec/names/shortNames")
            .iter()
            .find(|short| resource(short))
        {
            return Some(("ShortNamesConflict", told(short)));
        }
        if kind(own_kind) {
            return Some(("KindConflict", told(own_kind)));
        }
        kind(list_kind).then(|| ("ListKindConflict", told(list_kind)))
    }

    /// Warns of what a CRD asks for and the local cluster does not do.
    pub(crate) fn crd_warnings(&self, cx: &mut Cx<'_>, crd: &Value) {
        if items(crd, "/spec/versions").iter().any(has_rules) {
            cx.warn(RULES_WARNING);
        }
    }

    /// Serves what a CRD says now.
    pub(crate) fn refresh_crd(&mut self, name: &Arc<str>) {
        let Some(crd) = self.store.get(&crds(), &("".into(), name.clone())).cloned() else {
            return;
        };
        let mut had: BTreeMap<TypeId, Arc<ResourceType>> = BTreeMap::new();
        for id in self.ids_of(&crd) {
            if let Some(type_) = self.types.get(&id) {
                had.insert(id.clone(), type_.clone());
            }
            self.types.remove_mut(&id);
        }
        if !has_condition(&crd, "Established") {
            return;
        }
        for mut type_ in types_of(&crd) {
            let id = type_id(&type_);
            if let Some(old) = had.get(&id) {
                let same = old.schema == type_.schema;
                type_.since = if same { old.since } else { self.store.version() };
            }
            self.types.insert_mut(id, Arc::new(type_));
        }
    }

    /// Stops serving what a CRD said.
    pub(crate) fn drop_crd(&mut self, crd: &Value) {
        for id in self.ids_of(crd) {
            self.types.remove_mut(&id);
        }
    }

    fn ids_of(&self, crd: &Value) -> Vec<TypeId> {
        let (group, plural) = (text(crd, "/spec/group"), text(crd, "/spec/names/plural"));
        self.types
            .iter()
            .filter(|((g, _, p), type_)| type_.custom && &**g == group && &**p == plural)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Deletes the objects of a CRD that is being deleted; when none is left, the CRD.
    pub(crate) fn empty_crd(&mut self, name: &Arc<str>) {
        let key: Key = ("".into(), name.clone());
        let Some(crd) = self.store.get(&crds(), &key).cloned() else {
            return;
        };
        if !meta::is_deleting(&crd) || !meta::finalizers(&crd).contains(&CLEANUP) {
            return;
        }
        let id = (
            text(&crd, "/spec/group").into(),
            text(&crd, "/spec/names/plural").into(),
        );
        for (key, object) in &self.store.objects(&id) {
            if !meta::is_deleting(object) {
                self.remove(&id, key, object, Some(Propagation::Background), false);
            }
        }
        if self.store.objects(&id).is_empty() {
            self.release(&crds(), &key, CLEANUP);
            return;
        }
        let mut told = Value::clone(&crd);
        let message = "CustomResource deletion is in progress";
        set_condition(
            &mut told,
            "Terminating",
            "True",
            "InstanceDeletionInProgress",
            message,
            self.now,
        );
        if told != *crd {
            // Not `save`: that would have the CRD looked at again, for ever. What is left calls when it goes.
            self.store.put(&crds(), &key, told);
        }
    }
}
