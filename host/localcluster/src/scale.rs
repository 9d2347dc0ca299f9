//! `/scale`: the replicas of Deployments and of custom resources that declare them.

use serde_json::{Map, Value, json};

use crate::checks;
use crate::cluster::Cluster;
use crate::convert;
use crate::decode;
use crate::meta;
use crate::patch::Patch;
use crate::query::{FieldValidation, WriteOptions};
use crate::route::{Cx, Target, show};
use crate::status::{FieldError, Status};
use crate::types::{ResourceType, ScalePaths};
use crate::wire::Response;

/// The Scale of an object.
fn scale_of(type_: &ResourceType, paths: &ScalePaths, object: &Value) -> Value {
    let number = |path: &[String]| lookup(object, path).and_then(Value::as_i64);
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::get(object, field) {
            metadata.insert(field.into(), value.clone());
        }
    }
    let mut status = json!({ "replicas": number(&paths.status_replicas).unwrap_or_default() });
    let selector = match &paths.selector {
        Some(path) => lookup(object, path).and_then(Value::as_str).map(str::to_owned),
        None if type_.custom => None,
        None => object
            .pointer("/spec/selector/matchLabels")
            .and_then(Value::as_object)
            .map(|labels| {
                let pairs = labels
                    .iter()
                    .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
                pairs.collect::<Vec<_>>().join(",")
            }),
    };
    if let (Some(selector), Some(status)) = (selector, status.as_object_mut()) {
        status.insert("selector".into(), selector.into());
    }
    let spec = match number(&paths.spec_replicas) {
        Some(0) | None => json!({}),
        Some(replicas) => json!({ "replicas": replicas }),
    };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

fn lookup<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |at, step| at.get(step))
}

/// Holds a custom resource against what its `/scale` needs, whatever its schema says.
pub(crate) fn validate(paths: &ScalePaths, object: &Value, errors: &mut Vec<FieldError>) {
    for path in [&paths.spec_replicas, &paths.status_replicas] {
        let at = format!(".{}", path.join("."));
        match found(object, path) {
            Ok(None) => {}
            Ok(Some(Value::Number(number))) if number.is_i64() => {
                let detail = match number.as_i64().unwrap_or_default() {
                    ..0 => "should be a non-negative integer".to_owned(),
                    many if many > i64::from(i32::MAX) => format!("should be less than or equal to {}", i32::MAX),
                    _ => continue,
                };
                errors.push(FieldError::invalid(at, &number.clone().into(), detail));
            }
            Ok(Some(other)) => errors.push(FieldError::invalid(&*at, &0.into(), wrong(&at, other, "int64"))),
            Err(why) => errors.push(FieldError::invalid(at, &0.into(), why)),
        }
    }
    if let Some(path) = &paths.selector {
        let at = format!(".{}", path.join("."));
        match found(object, path) {
            Ok(None | Some(Value::String(_))) => {}
            Ok(Some(other)) => errors.push(FieldError::invalid(&*at, &"".into(), wrong(&at, other, "string"))),
            Err(why) => errors.push(FieldError::invalid(at, &"".into(), why)),
        }
    }
}

/// What stands at a path; an error if something on the way is no object.
fn found<'a>(object: &'a Value, path: &[String]) -> Result<Option<&'a Value>, String> {
    let mut at = object;
    for (index, step) in path.iter().enumerate() {
        let map = match at {
            Value::Object(map) => map,
            Value::Null => return Ok(None),
            _ => {
                let way = format!(".{}", path[..=index].join("."));
                return Err(wrong(&way, at, "map[string]interface{}"));
            }
        };
        match map.get(step) {
            None => return Ok(None),
            Some(next) => at = next,
        }
    }
    Ok(Some(at))
}

fn wrong(path: &str, value: &Value, expected: &str) -> String {
    let type_ = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("{path} accessor error: {shown} is of the type {type_}, expected {expected}")
}

fn set(object: &mut Value, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            if let Some(map) = object.as_object_mut() {
                map.insert(last.clone(), value);
            }
        }
        [step, rest @ ..] => {
            meta::child(object, step);
            if let Some(next) = object.get_mut(step) {
                set(next, rest, value);
            }
        }
    }
}

/// The type as which a Scale in a body is read.
fn scale_type() -> ResourceType {
    ResourceType {
        group: "autoscaling".into(),
        version: "v1".into(),
        kind: "Scale".into(),
        plural: "scales".into(),
        stored_group: "autoscaling".into(),
        schema: None,
        custom: false,
        ..crate::types::base_of_nothing()
    }
}

impl Cluster {
    /// GET
    pub(crate) fn get_scale(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let view = cx.view(false)?;
        let type_ = &target.type_;
        let paths = type_.scale_paths.as_ref().ok_or_else(Status::method_not_allowed)?;
        let (id, key) = (type_.collection(), target.key());
        let stored = self
            .store
            .get(&id, &key)
            .ok_or_else(|| Status::not_found(type_, &key.1))?;
        let scale = scale_of(type_, paths, &convert::from_stored(type_, stored));
        Ok(show(view, &scale_type(), 200, &scale, self.now))
    }

    /// PUT and PATCH
    pub(crate) fn put_scale(&mut self, cx: &mut Cx<'_>, target: &Target) -> Result<Response, Status> {
        let type_ = &target.type_;
        let paths = type_.scale_paths.as_ref().ok_or_else(Status::method_not_allowed)?;
        let (id, key) = (type_.collection(), target.key());
        let patching = cx.request.method == http::Method::PATCH;
        let options = WriteOptions::parse(&cx.query, if patching { "PatchOptions" } else { "UpdateOptions" })?;
        let stored = self
            .store
            .get(&id, &key)
            .cloned()
            .ok_or_else(|| Status::not_found(type_, &key.1))?;
        let object = convert::from_stored(type_, &stored);
        let wanted = if patching {
            let mut scale = scale_of(type_, paths, &object);
            Patch::read(&cx.request.content_type, &cx.request.body)?.apply(&mut scale)?;
            scale
        } else {
            decode::object(cx, &scale_type(), FieldValidation::Ignore)?
        };
        checks::check_name(target, &wanted)?;
        let given = meta::text(&wanted, "resourceVersion");
        if !matches!(given, "" | "0") && given != meta::text(&object, "resourceVersion") {
            return Err(Status::stale(type_, &key.1));
        }
        let replicas = wanted.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
        if replicas
            .as_i64()
            .is_none_or(|replicas| !(0..=i64::from(i32::MAX)).contains(&replicas))
        {
            let error = FieldError::invalid("spec.replicas", &replicas, "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", &key.1, &[error]));
        }
        let mut changed = Value::clone(&object);
        set(&mut changed, &paths.spec_replicas, replicas);
        let updated = self.replace(cx, target, &stored, changed, options)?;
        Ok(Response::json(200, &scale_of(type_, paths, &updated)))
    }
}
