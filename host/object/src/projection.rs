//! Keeping some fields of an object: its bytes cut down to declared paths.
//!
//! Promised: what stands at a declared path reads the same before and after the cut, through the same path; values keep
//! their text; cutting twice cuts no more than once; recursion is bounded by the paths' length, never by the input's
//! depth. Not promised: that nothing else is left. The containers on the way to a path stay, emptied, and so do the
//! places in lists, since paths count them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{FieldPath, ObjectError, path::Segment, raw};

/// The most paths in a set. Who needs more is better served with the whole object, which costs less to cut.
const MAX_PATHS: usize = 256;

/// Some fields of an object: those at its paths, with all that is below them. Metadata is always among them.
///
/// An index in a path, as in `spec.items[0]`, stands for every element: else the others' places would move.
#[derive(Clone, Debug, Default)]
pub struct FieldSet {
    /// By their text, without a leading dot.
    paths: BTreeMap<Arc<str>, FieldPath>,
    root: Node,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// A path ends here: everything below is kept.
    leaf: bool,
    names: BTreeMap<Box<str>, Node>,
    /// Every element of a list or value of a map.
    every: Option<Box<Node>>,
    /// Every element of a list.
    element: Option<Box<Node>>,
}

impl FieldSet {
    /// The fields at these paths. Those within metadata add nothing: it is kept anyway.
    ///
    /// None beyond 256 paths: keep the object whole instead.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a FieldPath>) -> Option<Self> {
        let mut set = Self::default();
        for path in paths {
            if !path.is_metadata() {
                let text = path.text();
                set.paths
                    .insert(text.strip_prefix('.').unwrap_or(text).into(), path.clone());
            }
            if set.paths.len() > MAX_PATHS {
                return None;
            }
        }
        for path in set.paths.values() {
            let mut node = &mut set.root;
            for segment in path.segments() {
                node = match segment {
                    Segment::Name(name) => node.names.entry(name.as_str().into()).or_default(),
                    Segment::Every => node.every.get_or_insert_default(),
                    Segment::Index(_) => node.element.get_or_insert_default(),
                };
            }
            node.leaf = true;
        }
        Some(set)
    }

    /// The fields of both; none beyond 256 paths.
    pub fn union(&self, other: &Self) -> Option<Self> {
        Self::new(self.paths.values().chain(other.paths.values()))
    }

    /// True where every path of the other is among its own. Says no for a path that merely lies below one of its own.
    pub fn covers(&self, other: &Self) -> bool {
        other.paths.keys().all(|path| self.paths.contains_key(path))
    }

    /// True where it holds metadata alone.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Its paths, by their text.
    pub fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        self.paths.values()
    }

    /// The first list in a merge patch that does not stand wholly within these fields, as a path for people; none if
    /// there is no such list. Metadata is kept, so its lists don't count.
    ///
    /// A merge patch replaces lists as a whole: one made of a cut object takes away what the cut has left out.
    ///
    /// # Errors
    /// The patch is no JSON, or nested more than 127 levels deep.
    pub fn list_beyond(&self, patch: &str) -> Result<Option<String>, ObjectError> {
        let patch: Value = serde_json::from_str(patch)?;
        let members = patch.as_object().into_iter().flatten();
        let mut members = members.filter(|(name, _)| *name != "metadata");
        Ok(members.find_map(|(name, value)| list_in(value, &Node::below(&[&self.root], name), name)))
    }

    /// Appends `,"name":value` for each member of the object that is kept at all; never apiVersion, kind and metadata,
    /// which every cut begins with.
    pub(crate) fn write_rest(&self, json: &str, out: &mut String) {
        if self.is_empty() {
            return;
        }
        for found in raw::members_of(json).unwrap_or_default() {
            let (name, value) = (found.name(json), found.value.of(json));
            if matches!(&*name, "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let below = Node::below(&[&self.root], &name);
            if kept(value, &below) {
                out.push(',');
                member(out, &name);
                cut(value, &below, out);
            }
        }
    }
}

impl PartialEq for FieldSet {
    fn eq(&self, other: &Self) -> bool {
        self.paths.keys().eq(other.paths.keys())
    }
}

impl Eq for FieldSet {}

impl Node {
    /// Where these nodes lead for a member of a map.
    fn below<'a>(nodes: &[&'a Self], name: &str) -> Vec<&'a Self> {
        nodes
            .iter()
            .flat_map(|node| [node.names.get(name), node.every.as_deref()])
            .flatten()
            .collect()
    }

    /// Where these nodes lead for an element of a list.
    fn elements<'a>(nodes: &[&'a Self]) -> Vec<&'a Self> {
        nodes
            .iter()
            .flat_map(|node| [node.every.as_deref(), node.element.as_deref()])
            .flatten()
            .collect()
    }
}

/// True where some of a member's value is kept.
fn kept(json: &str, nodes: &[&Node]) -> bool {
    nodes.iter().any(|node| node.leaf) || (!nodes.is_empty() && json.starts_with(['{', '[']))
}

fn cut(json: &str, nodes: &[&Node], out: &mut String) {
    if nodes.iter().any(|node| node.leaf) {
        out.push_str(json);
    } else if json.starts_with('{') {
        out.push('{');
        let mut first = true;
        for found in raw::members_of(json).unwrap_or_default() {
            let (name, value) = (found.name(json), found.value.of(json));
            let below = Node::below(nodes, &name);
            if kept(value, &below) {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                member(out, &name);
                cut(value, &below, out);
            }
        }
        out.push('}');
    } else if json.starts_with('[') {
        let below = Node::elements(nodes);
        out.push('[');
        if !below.is_empty() {
            let mut first = true;
            raw::elements(json, |element| {
                if !std::mem::take(&mut first) {
                    out.push(',');
                }
                if kept(element, &below) {
                    cut(element, &below, out);
                } else {
                    // Its place.
                    out.push_str("null");
                }
                true
            });
        }
        out.push(']');
    }
}

/// As deep as a value that serde_json has read, which is bounded.
fn list_in(value: &Value, nodes: &[&Node], at: &str) -> Option<String> {
    if nodes.iter().any(|node| node.leaf) {
        return None;
    }
    match value {
        Value::Array(_) => Some(at.to_owned()),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, value)| list_in(value, &Node::below(nodes, name), &format!("{at}.{name}"))),
        _ => None,
    }
}

fn member(out: &mut String, name: &str) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(name).unwrap_or_default());
    out.push(':');
}

#[cfg(test)]
#[path = "projection_tests.rs"]
mod tests;
