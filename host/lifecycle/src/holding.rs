//! What a plugin really holds (asked ∩ granted), in the lines that permissions and grants are written in.
//!
//! Promises: each line is true of every namespace and name in it. One without namespaces holds everywhere but where
//! something takes a word of its own ([`danger_there`]): a line that names such a namespace says that it was given.

use std::sync::Arc;

use crate::capabilities::{Capabilities, Extent, Held};
use crate::danger::danger_there;
use crate::permission::{Permission, Verb};

/// A part of what is held, in the order in which it is shown.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Part<'a> {
    group: &'a str,
    kind: &'a str,
    subresource: Option<&'a str>,
    verbs: Vec<Verb>,
    namespaces: Extent,
    names: Extent,
}

impl Capabilities {
    /// What the plugin may do, sorted, each line once, and no more than `most` lines; with the number of those left
    /// out. Lines may overlap, as grants do.
    pub fn lines(&self, most: usize) -> (Vec<String>, usize) {
        let mut parts: Vec<Part<'_>> = Vec::new();
        for held in self.held() {
            parts.extend(parts_of(&held, self.host_namespace()));
        }
        parts.sort_unstable();
        parts.dedup();
        let more = parts.len().saturating_sub(most);
        parts.truncate(most);
        (parts.into_iter().map(|part| part.line()).collect(), more)
    }
}

/// As few parts as tell which verbs hold in which of the namespaces.
fn parts_of<'a>(held: &Held<'a>, host_namespace: Option<&str>) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    for &verb in held.verbs {
        let holds_in = |namespace: &str| {
            held.named.holds(Some(namespace))
                || danger_there(verb, held.group, held.kind, namespace, host_namespace).is_none()
        };
        let namespaces = match &held.reach.namespaces {
            Extent::Only(some) if !some.iter().all(|own| holds_in(own)) => {
                let left: Arc<[Arc<str>]> = some.iter().filter(|own| holds_in(own)).cloned().collect();
                if left.is_empty() {
                    continue;
                }
                Extent::Only(left)
            }
            whole => whole.clone(),
        };
        match parts.iter_mut().find(|part| part.namespaces == namespaces) {
            Some(part) => part.verbs.push(verb),
            None => parts.push(Part {
                group: held.group,
                kind: held.kind,
                subresource: held.subresource,
                verbs: vec![verb],
                namespaces,
                names: held.reach.names.clone(),
            }),
        }
    }
    for part in &mut parts {
        // As manifests are free in their order, which says nothing.
        part.verbs.sort_unstable();
        part.verbs.dedup();
    }
    parts
}

impl Part<'_> {
    fn line(self) -> String {
        let list = |extent: Extent| match extent {
            Extent::All => Vec::new(),
            Extent::Only(some) => some.iter().map(|one| one.to_string()).collect(),
        };
        let permission = Permission {
            group: self.group.to_owned(),
            kind: self.kind.to_owned(),
            verbs: self.verbs,
            namespaces: list(self.namespaces),
            names: list(self.names),
            subresources: self.subresource.into_iter().map(str::to_owned).collect(),
        };
        permission.to_string()
    }
}
