//! The fake as the plugin's host: permissions, faults and records around the cluster.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde_json::Value;

use super::cluster::place;
use super::select::{labels_match, only, strings_at};
use super::{Event, Fake, Line, State, Write};
use crate::error::ApiError;
use crate::host::Host;
use crate::manifest::{Mapping, Permission, Verb};
use crate::wire::{
    Change, Freshness, Gvk, Level, ObjectRef, Page, Propagation, Query, Severity, Timestamp, WriteOptions,
};

impl Fake {
    /// Whether the manifest asks for this; a name or namespace of none is wider than any.
    fn allowed(
        &self,
        verb: Verb,
        kind: &Gvk,
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Result<(), ApiError> {
        let within = |list: &[String], wanted: Option<&str>| {
            list.is_empty() || wanted.is_some_and(|wanted| list.iter().any(|entry| entry == wanted))
        };
        let fits = |permission: &Permission| {
            permission.group == kind.group
                && permission.kind == kind.kind
                && permission.verbs.contains(&verb)
                && within(&permission.namespaces, namespace)
                && within(&permission.names, name)
                && match subresource {
                    None => permission.subresources.is_empty(),
                    Some(subresource) => permission.subresources.iter().any(|entry| entry == subresource),
                }
        };
        if self.plugin.manifest().permissions.iter().any(fits) {
            return Ok(());
        }
        let of = subresource.map_or(String::new(), |subresource| format!(" the {subresource} of"));
        let wanted = verb.as_str();
        Err(if verb == Verb::Watch {
            ApiError::new(
                "PilothouseNotWatched",
                403,
                format!("the manifest does not watch {kind} there"),
            )
        } else {
            ApiError::new(
                "PilothouseDenied",
                403,
                format!("the manifest does not ask to {wanted}{of} {kind} there"),
            )
        })
    }

    fn reads(&self, how: &Freshness, live: Verb) -> Verb {
        if *how == Freshness::Live { live } else { Verb::Watch }
    }

    /// What a read shows of an object: the cache holds no Secrets' data, and metadata or some fields alone where no more is
    /// watched.
    pub(super) fn seen(&self, kind: &Gvk, object: &Value, verb: Verb) -> String {
        let mut object = object.clone();
        if verb == Verb::Watch
            && let Some(map) = object.as_object_mut()
        {
            if let Some(paths) = self.paths_of(kind) {
                let paths: Vec<&str> = ["apiVersion", "kind", "metadata"]
                    .into_iter()
                    .chain(paths.iter().map(String::as_str))
                    .collect();
                object = only(&paths, &object).unwrap_or_default();
            } else if kind.group.is_empty() && kind.kind == "Secret" {
                map.remove("data");
                map.remove("stringData");
            }
        }
        object.to_string()
    }

    /// The paths that the plugin sees of a kind beside metadata; none if it sees objects whole, or doesn't watch them.
    fn paths_of(&self, kind: &Gvk) -> Option<Vec<String>> {
        let manifest = self.plugin.manifest();
        let (mut paths, mut watched, mut some) = (Vec::new(), false, false);
        for entry in &manifest.controllers {
            if entry.kind == *kind {
                if entry.fields.is_empty() {
                    return None;
                }
                (watched, some) = (true, true);
                paths.extend(entry.fields.iter().chain(&entry.changes).cloned());
            }
            for watch in entry.watches.iter().filter(|watch| watch.kind == *kind) {
                watched = true;
                if watch.metadata_only {
                    continue;
                }
                if watch.fields.is_empty() {
                    return None;
                }
                some = true;
                paths.extend(watch.fields.iter().cloned());
                if let Mapping::Field(path) = &watch.map {
                    paths.push(path.clone());
                }
            }
        }
        if some {
            let indexes = manifest.indexes.iter().filter(|index| index.kind == *kind);
            paths.extend(indexes.flat_map(|index| index.paths.iter().cloned()));
        }
        watched.then_some(paths)
    }

    fn write(
        &self,
        verb: Verb,
        target: &ObjectRef,
        options: &WriteOptions,
        body: Value,
        act: impl FnOnce(&mut State) -> Result<Option<Value>, ApiError>,
    ) -> Result<Option<String>, ApiError> {
        let name = Some(target.name.as_str());
        self.allowed(
            verb,
            &target.kind,
            target.namespace.as_deref(),
            name,
            options.subresource.as_deref(),
        )?;
        let mut state = self.state();
        let fault = state.fault(verb);
        if let Some(fault) = &fault
            && !fault.maybe_applied
        {
            return Err(fault.clone());
        }
        let answer = act(&mut state)?;
        if !options.dry_run {
            let (target, subresource) = (target.clone(), options.subresource.clone());
            state.writes.push(Write {
                verb,
                target,
                subresource,
                body,
            });
        }
        fault.map_or(Ok(answer.map(|object| object.to_string())), Err)
    }
}

impl State {
    fn fault(&mut self, verb: Verb) -> Option<ApiError> {
        let index = self.faults.iter().position(|(other, _)| *other == verb)?;
        self.faults.remove(index).map(|(_, error)| error)
    }
}

/// For the record only: what can't be parsed is recorded as text.
fn recorded(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| Value::from(body))
}

impl Host for Fake {
    fn config(&self) -> String {
        self.state().config.clone()
    }

    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn random(&self, count: u32) -> Vec<u8> {
        let mut state = self.state();
        let mut next = || {
            // SplitMix64.
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = state.random;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (bits ^ (bits >> 31)).to_le_bytes()[0]
        };
        (0..count.min(256)).map(|_| next()).collect()
    }

    fn attempt(&self) -> u32 {
        self.state().attempt
    }

    fn remaining_ms(&self) -> u32 {
        30_000
    }

    fn trace_parent(&self) -> Option<String> {
        None
    }

    fn get(&self, target: &ObjectRef, how: &Freshness) -> Result<Option<String>, ApiError> {
        let verb = self.reads(how, Verb::Get);
        self.allowed(
            verb,
            &target.kind,
            target.namespace.as_deref(),
            Some(&target.name),
            None,
        )?;
        let mut state = self.state();
        if let Some(fault) = state.fault(verb) {
            return Err(fault);
        }
        Ok(state
            .cluster
            .get(&place(target))
            .map(|object| self.seen(&target.kind, object, verb)))
    }

    fn select(&self, kind: &Gvk, query: &Query, page: Option<&str>) -> Result<Page, ApiError> {
        let verb = self.reads(&query.how, Verb::List);
        self.allowed(verb, kind, query.namespace.as_deref(), None, None)?;
        let mut state = self.state();
        if let Some(fault) = state.fault(verb) {
            return Err(fault);
        }
        let bad = |why: String| ApiError::new("BadRequest", 400, why);
        let paths = match &query.index {
            None => None,
            Some((name, value)) => {
                let index = self
                    .plugin
                    .manifest()
                    .indexes
                    .iter()
                    .find(|index| index.name == *name && index.kind == *kind);
                let index = index.ok_or_else(|| bad(format!("the manifest declares no index `{name}` of {kind}")))?;
                Some((&index.paths, value))
            }
        };
        let mut found = Vec::new();
        for (place, object) in state.cluster.of_kind(&kind.group, &kind.kind) {
            let there = query.namespace.is_none() || query.namespace == place.2;
            let indexed =
                paths.is_none_or(|(paths, value)| paths.iter().any(|path| strings_at(path, object).contains(value)));
            if there && indexed && labels_match(&query.labels, &object["metadata"]["labels"]).map_err(bad)? {
                found.push(self.seen(kind, object, verb));
            }
        }
        let from = match page {
            None => 0,
            Some(page) => page
                .parse::<usize>()
                .map_err(|_| bad(format!("`{page}` is no page of this list")))?,
        };
        // Small pages by default, so that tests see whether all of them are read.
        let size = if query.page_size == 0 {
            3
        } else {
            query.page_size as usize
        };
        let next = (found.len() > from + size).then(|| (from + size).to_string());
        let items = found.into_iter().skip(from).take(size).collect();
        Ok(Page {
            items,
            next,
            resource_version: state.cluster.version().to_string(),
        })
    }

    fn digest(&self, target: &ObjectRef) -> Result<Option<String>, ApiError> {
        let allowed = |verb| {
            let namespace = target.namespace.as_deref();
            self.allowed(verb, &target.kind, namespace, Some(&target.name), None)
        };
        // A Secret's takes a right of its own, or that to its data.
        if target.kind.group.is_empty() && target.kind.kind == "Secret" {
            allowed(Verb::Get).or_else(|_| allowed(Verb::Digest))?;
        } else {
            allowed(Verb::Watch)?;
        }
        Ok(self.state().cluster.get(&place(target)).map(|object| {
            let mut rest = object.clone();
            if let Some(map) = rest.as_object_mut() {
                map.remove("metadata");
                map.remove("status");
            }
            let mut hasher = DefaultHasher::new();
            object["metadata"]["uid"].as_str().hash(&mut hasher);
            rest.to_string().hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        }))
    }

    fn create(&self, target: &ObjectRef, object: &str, options: &WriteOptions) -> Result<String, ApiError> {
        let answer = self.write(Verb::Create, target, options, recorded(object), |state| {
            let now = state.now;
            state.cluster.create(target, object, options, now).map(Some)
        })?;
        Ok(answer.unwrap_or_default())
    }

    fn patch(&self, target: &ObjectRef, change: &Change, options: &WriteOptions) -> Result<String, ApiError> {
        let (Change::Merge(body) | Change::JsonPatch(body) | Change::Strategic(body) | Change::Apply(body)) = change;
        let answer = self.write(Verb::Patch, target, options, recorded(body), |state| {
            state.cluster.patch(target, change, options).map(Some)
        })?;
        Ok(answer.unwrap_or_default())
    }

    fn replace(&self, target: &ObjectRef, object: &str, options: &WriteOptions) -> Result<String, ApiError> {
        if options.resource_version.is_none() {
            return Err(ApiError::new(
                "BadRequest",
                400,
                "replace needs the resourceVersion of a live read",
            ));
        }
        let answer = self.write(Verb::Replace, target, options, recorded(object), |state| {
            state.cluster.replace(target, object, options).map(Some)
        })?;
        Ok(answer.unwrap_or_default())
    }

    fn remove(
        &self,
        target: &ObjectRef,
        _propagation: Propagation,
        options: &WriteOptions,
    ) -> Result<Option<String>, ApiError> {
        self.write(Verb::Delete, target, options, Value::Null, |state| {
            let now = state.now;
            state.cluster.remove(target, options, now)
        })
    }

    fn event(&self, regarding: &ObjectRef, severity: Severity, reason: &str, action: &str, note: &str) {
        self.state().events.push(Event {
            regarding: regarding.clone(),
            severity,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: note.to_owned(),
        });
    }

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        self.state().lines.push(Line {
            level,
            message: message.to_owned(),
            fields,
        });
    }
}
