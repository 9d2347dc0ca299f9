//! The rules for CustomResourceDefinitions: names, versions, structural schemas.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{collect_patterns, compile, items, text};
use crate::meta::{self, NameRule};
use crate::schema::{Patterns, flag, int_or_string, preserves, prune, validate};
use crate::status::FieldError;

/// Members of a schema that structural schemas must not have.
const FORBIDDEN: [&str; 5] = [
    "$ref",
    "additionalItems",
    "definitions",
    "dependencies",
    "patternProperties",
];
const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What is wrong with a CRD whose defaults are filled in.
pub(super) fn check(crd: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_names(crd, &mut errors);
    check_versions(crd, &mut errors);
    errors
}

fn check_names(crd: &Value, errors: &mut Vec<FieldError>) {
    let group = text(crd, "/spec/group");
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let Err(why) = NameRule::Subdomain.check(group) {
        errors.push(FieldError::invalid("spec.group", &group.into(), why));
    } else if !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", &group.into(), detail));
    }
    let scope = text(crd, "/spec/scope");
    if scope.is_empty() {
        errors.push(FieldError::required("spec.scope", ""));
    } else if !matches!(scope, "Cluster" | "Namespaced") {
        errors.push(FieldError::not_supported(
            "spec.scope",
            &scope.into(),
            &["Cluster", "Namespaced"],
        ));
    }
    for (field, lower) in [
        ("plural", true),
        ("singular", true),
        ("kind", false),
        ("listKind", false),
    ] {
        let value = text(crd, &format!("/spec/names/{field}"));
        let path = format!("spec.names.{field}");
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if let Err(why) = NameRule::Label1035.check(&value.to_lowercase()) {
            let detail = if lower {
                why
            } else {
                format!("may have mixed case, but should otherwise match: {why}")
            };
            errors.push(FieldError::invalid(path, &value.into(), detail));
        } else if lower && value != value.to_lowercase() {
            errors.push(FieldError::invalid(path, &value.into(), "must be lower case"));
        }
    }
    for (i, short) in items(crd, "/spec/names/shortNames").iter().enumerate() {
        if let Err(why) = NameRule::Label1035.check(short.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(format!("spec.names.shortNames[{i}]"), short, why));
        }
    }
    let plural = text(crd, "/spec/names/plural");
    let name = meta::text(crd, "name");
    if !plural.is_empty() && !group.is_empty() && name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &name.into(), detail));
    }
    if (text(crd, "/spec/names/kind")) == text(crd, "/spec/names/listKind") && !plural.is_empty() {
        let value = text(crd, "/spec/names/listKind").into();
        errors.push(FieldError::invalid(
            "spec.names.listKind",
            &value,
            "kind and listKind may not be the same",
        ));
    }
    let strategy = text(crd, "/spec/conversion/strategy");
    if strategy != "None" {
        // Real servers know Webhook, too; saying that it is not supported here beats pretending.
        errors.push(FieldError::not_supported(
            "spec.conversion.strategy",
            &strategy.into(),
            &["None"],
        ));
    }
    if crd.pointer("/spec/preserveUnknownFields") == Some(&json!(true)) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
                      instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", &true.into(), detail));
    }
}

fn check_versions(crd: &Value, errors: &mut Vec<FieldError>) {
    let versions = items(crd, "/spec/versions");
    if versions.is_empty() {
        errors.push(FieldError::required("spec.versions", "must have at least one version"));
    }
    let stored = versions.iter().filter(|version| version["storage"] == true).count();
    if stored != 1 {
        errors.push(FieldError::invalid(
            "spec.versions",
            &versions.into(),
            "must have exactly one version marked as storage version",
        ));
        if stored == 0 {
            let detail = "must have at least one stored version";
            errors.push(FieldError::invalid("status.storedVersions", &Value::Null, detail));
        }
    }
    let mut names = BTreeSet::new();
    for (i, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{i}]");
        let name = text(version, "/name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Err(why) = NameRule::Label1035.check(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), &name.into(), why));
        } else if !names.insert(name) {
            errors.push(FieldError::invalid(
                "spec.versions",
                &name.into(),
                "must contain unique version names",
            ));
        }
        for field in ["served", "storage"] {
            if !version[field].is_boolean() {
                errors.push(FieldError::required(format!("{path}.{field}"), ""));
            }
        }
        check_extras(version, &path, errors);
        // A schema that all versions share is told as one of the whole definition.
        let shared = versions.iter().all(|other| other["schema"] == version["schema"]);
        let at = if shared {
            "spec.validation.openAPIV3Schema".into()
        } else {
            format!("{path}.schema.openAPIV3Schema")
        };
        match version
            .pointer("/schema/openAPIV3Schema")
            .filter(|schema| schema.is_object())
        {
            None => errors.push(FieldError::required(
                format!("{path}.schema.openAPIV3Schema"),
                "schemas are required",
            )),
            Some(_) if shared && i > 0 => {}
            Some(schema) => {
                let mut patterns = Patterns::new();
                collect_patterns(schema, &mut patterns);
                check_schema(schema, &at, Level::Root, &patterns, errors);
            }
        }
    }
}

/// Columns, `/scale`, and selectable fields.
fn check_extras(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, column) in items(version, "/additionalPrinterColumns").iter().enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{i}]");
        for field in ["name", "jsonPath"] {
            if text(column, &format!("/{field}")).is_empty() {
                errors.push(FieldError::required(format!("{path}.{field}"), ""));
            }
        }
        let kind = text(column, "/type");
        let known = ["boolean", "date", "integer", "number", "string"];
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{path}.type"), ""));
        } else if !known.contains(&kind) {
            errors.push(FieldError::not_supported(format!("{path}.type"), &kind.into(), &known));
        }
    }
    if let Some(scale) = version.pointer("/subresources/scale") {
        for (field, prefix) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
            let value = text(scale, &format!("/{field}"));
            let path = format!("{path}.subresources.scale.{field}");
            if value.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if !value.starts_with(prefix) || value.contains('[') {
                let detail = format!("should be a json path under {}", prefix.trim_end_matches('.'));
                errors.push(FieldError::invalid(path, &value.into(), detail));
            }
        }
    }
    for (i, field) in items(version, "/selectableFields").iter().enumerate() {
        let value = text(field, "/jsonPath");
        if !value.starts_with('.') || value.contains(['[', '*']) {
            let path = format!("{path}.selectableFields[{i}].jsonPath");
            errors.push(FieldError::invalid(path, &value.into(), "must be a simple json path"));
        }
    }
}

/// Where in a schema a node stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

fn check_schema(schema: &Value, path: &str, level: Level, patterns: &Patterns, errors: &mut Vec<FieldError>) {
    if !schema.is_object() {
        errors.push(FieldError::invalid(path, schema, "a schema must be an object"));
        return;
    }
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        check_schema(
            property,
            &format!("{path}.properties[{name}]"),
            Level::Field,
            patterns,
            errors,
        );
    }
    match schema.get("additionalProperties") {
        Some(additional) if additional.is_object() => {
            check_schema(
                additional,
                &format!("{path}.additionalProperties"),
                Level::Field,
                patterns,
                errors,
            );
        }
        Some(Value::Bool(false)) => {
            let detail = "additionalProperties cannot be set to false";
            errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), detail));
        }
        _ => {}
    }
    if schema.get("properties").is_some_and(|p| *p != json!({})) && schema.get("additionalProperties").is_some() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(format!("{path}.additionalProperties"), detail));
    }
    match schema.get("items") {
        Some(items) if items.is_array() => {
            let detail = "items must be a schema object and not an array";
            errors.push(FieldError::forbidden(format!("{path}.items"), detail));
        }
        Some(items) => check_schema(items, &format!("{path}.items"), Level::Item, patterns, errors),
        None if schema.get("type").and_then(Value::as_str) == Some("array") => {
            errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
        }
        None => {}
    }
    check_type(schema, path, level, errors);
    check_lists(schema, path, errors);
    for name in FORBIDDEN {
        if schema.get(name).is_some() {
            errors.push(FieldError::forbidden(
                format!("{path}.{name}"),
                &format!("{name} is not supported"),
            ));
        }
    }
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), detail));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && let Err(why) = compile(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(format!("{path}.pattern"), &pattern.into(), detail));
    }
    if let Some(default) = schema.get("default") {
        check_default(default, schema, path, patterns, errors);
    }
}

fn check_type(schema: &Value, path: &str, level: Level, errors: &mut Vec<FieldError>) {
    let path = format!("{path}.type");
    match schema.get("type").and_then(Value::as_str) {
        None | Some("") => {
            let open = int_or_string(schema) || preserves(schema);
            match level {
                Level::Root => errors.push(FieldError::required(path, "must not be empty at the root")),
                _ if open => {}
                Level::Field => {
                    errors.push(FieldError::required(
                        path,
                        "must not be empty for specified object fields",
                    ));
                }
                Level::Item => {
                    errors.push(FieldError::required(
                        path,
                        "must not be empty for specified array items",
                    ));
                }
            }
        }
        Some(other) if level == Level::Root && other != "object" => {
            errors.push(FieldError::invalid(path, &other.into(), "must be object at the root"));
        }
        Some(known) if TYPES.contains(&known) => {}
        Some(other) => errors.push(FieldError::not_supported(path, &other.into(), &TYPES)),
    }
}

fn check_lists(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    match list_type {
        None | Some("atomic" | "set") => {}
        Some("map") if keys.is_none_or(Vec::is_empty) => {
            let path = format!("{path}.x-kubernetes-list-map-keys");
            errors.push(FieldError::required(
                path,
                "must not be empty if x-kubernetes-list-type is map",
            ));
        }
        Some("map") => {}
        Some(other) => {
            let path = format!("{path}.x-kubernetes-list-type");
            errors.push(FieldError::not_supported(
                path,
                &other.into(),
                &["atomic", "map", "set"],
            ));
        }
    }
}

fn check_default(default: &Value, schema: &Value, path: &str, patterns: &Patterns, errors: &mut Vec<FieldError>) {
    let path = format!("{path}.default");
    let mut pruned = default.clone();
    let mut dropped = Vec::new();
    prune::prune_at(&mut pruned, schema, "", &mut dropped);
    if !dropped.is_empty() {
        errors.push(FieldError::invalid(path, default, "must not have unknown fields"));
        return;
    }
    for mut error in validate::validate(default, schema, patterns, "") {
        error.field = if error.field.is_empty() {
            path.clone()
        } else {
            format!("{path}.{}", error.field)
        };
        errors.push(error);
    }
}

/// What is wrong with a change of a CRD.
pub(super) fn check_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    for field in ["group", "scope"] {
        let pointer = format!("/spec/{field}");
        if old.pointer(&pointer) != new.pointer(&pointer) {
            let value = new.pointer(&pointer).unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(
                format!("spec.{field}"),
                value,
                "field is immutable",
            ));
        }
    }
    let versions: Vec<&str> = items(new, "/spec/versions")
        .iter()
        .map(|version| text(version, "/name"))
        .collect();
    for (i, stored) in items(old, "/status/storedVersions").iter().enumerate() {
        if !stored.as_str().is_some_and(|stored| versions.contains(&stored)) {
            let detail = "missing from spec.versions; must be a version that is or was stored";
            errors.push(FieldError::invalid(
                format!("status.storedVersions[{i}]"),
                stored,
                detail,
            ));
        }
    }
}
