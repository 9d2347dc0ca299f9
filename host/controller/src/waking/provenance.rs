//! Who wrote which version, so that a change that comes back as an event is traced to the run that made it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use pilothouse_object::{Gvk, Key, Version};

use crate::{Cause, ControllerId};

/// Writes remembered; the oldest are forgotten first. An event follows its write within milliseconds.
const REMEMBERED: usize = 4_096;

/// What a write left behind, by which its event is known again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mark {
    /// The object at this version.
    Version(Version),
    /// No object of this uid any more. The version of a deletion stands in its event alone: no answer tells it.
    Gone(Arc<str>),
}

/// A plugin, and the cause of its run in which it wrote.
type Writer = (Arc<str>, Option<Cause>);

/// The latest writes of this host's plugins, and those under way: an event often comes before its write's answer.
#[derive(Default)]
pub(crate) struct Provenance {
    writes: HashMap<(Gvk, Key, Mark), Writer>,
    order: VecDeque<(Gvk, Key, Mark)>,
    under_way: HashMap<(Gvk, Key), Vec<Writer>>,
    doubtful: Vec<Doubtful>,
}

/// A change that came while a plugin of ours had a write to its object under way: asked for without waking parked keys,
/// and asked for again with it if it turns out to be somebody else's.
#[derive(Clone, Debug)]
pub(crate) struct Doubtful {
    pub(crate) id: ControllerId,
    pub(crate) key: Key,
    pub(crate) kind: Gvk,
    pub(crate) object: Key,
    pub(crate) mark: Mark,
    pub(crate) cause: Cause,
}

/// Who wrote a version.
#[derive(Debug, PartialEq)]
pub(crate) struct Written<'a> {
    pub(crate) plugin: &'a Arc<str>,
    pub(crate) cause: Option<&'a Cause>,
    /// The server's answer named this very version or removal. Otherwise the plugin has a write to the object under
    /// way, and the change is most likely its own, but may be somebody else's.
    pub(crate) sure: bool,
}

impl Provenance {
    /// A plugin's write did this.
    pub(crate) fn wrote(&mut self, kind: &Gvk, key: &Key, mark: Mark, plugin: &Arc<str>, cause: Option<Cause>) {
        let place = (kind.clone(), key.clone(), mark);
        if self.writes.insert(place.clone(), (plugin.clone(), cause)).is_none() {
            self.order.push_back(place);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.writes.remove(&oldest);
            }
        }
    }

    /// A plugin's write is on its way.
    pub(crate) fn sends(&mut self, kind: &Gvk, key: &Key, plugin: &Arc<str>, cause: Option<Cause>) {
        self.under_way
            .entry((kind.clone(), key.clone()))
            .or_default()
            .push((plugin.clone(), cause));
    }

    /// Whether a write of any plugin to this object is on its way.
    pub(crate) fn is_under_way(&self, kind: &Gvk, key: &Key) -> bool {
        !self.under_way.is_empty() && self.under_way.contains_key(&(kind.clone(), key.clone()))
    }

    /// A plugin's write has ended, whatever came of it. If it did something, [`Provenance::wrote`] was told before.
    pub(crate) fn sent(&mut self, kind: &Gvk, key: &Key, plugin: &Arc<str>) {
        let place = (kind.clone(), key.clone());
        if let Some(writers) = self.under_way.get_mut(&place) {
            if let Some(i) = writers.iter().position(|(writer, _)| writer == plugin) {
                writers.remove(i);
            }
            if writers.is_empty() {
                self.under_way.remove(&place);
            }
        }
    }

    /// Remembers a change whose writer is not certain yet; false where there is no room, and it must count as foreign.
    pub(crate) fn doubt(&mut self, doubtful: Doubtful) -> bool {
        let room = self.doubtful.len() < REMEMBERED;
        if room {
            self.doubtful.push(doubtful);
        }
        room
    }

    /// Whether a change is in doubt that would wake this key.
    pub(crate) fn doubts(&self, id: &ControllerId, key: &Key) -> bool {
        self.doubtful.iter().any(|d| d.id == *id && d.key == *key)
    }

    /// The doubtful changes that turned out to be somebody else's; those that were our own are forgotten.
    pub(crate) fn foreign(&mut self) -> Vec<Doubtful> {
        let (writes, under_way) = (&self.writes, &self.under_way);
        let mut foreign = Vec::new();
        self.doubtful.retain(|d| {
            if writes.contains_key(&(d.kind.clone(), d.object.clone(), d.mark.clone())) {
                return false;
            }
            if under_way.contains_key(&(d.kind.clone(), d.object.clone())) {
                return true;
            }
            foreign.push(d.clone());
            false
        });
        foreign
    }

    /// Who did this; none where it was nobody of ours.
    pub(crate) fn writer(&self, kind: &Gvk, key: &Key, mark: &Mark) -> Option<Written<'_>> {
        if let Some((plugin, cause)) = self.writes.get(&(kind.clone(), key.clone(), mark.clone())) {
            return Some(Written {
                plugin,
                cause: cause.as_ref(),
                sure: true,
            });
        }
        let (plugin, cause) = self.under_way.get(&(kind.clone(), key.clone()))?.last()?;
        Some(Written {
            plugin,
            cause: cause.as_ref(),
            sure: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: &str) -> Mark {
        Mark::Version(Version::new(version))
    }

    #[test]
    fn the_latest_writes_are_known_and_the_oldest_forgotten() {
        let (kind, plugin) = (Gvk::new("", "v1", "ConfigMap"), Arc::from("p"));
        let mut provenance = Provenance::default();
        for i in 0..REMEMBERED + 10 {
            provenance.wrote(&kind, &Key::new(None, "a"), at(&i.to_string()), &plugin, None);
        }
        let writer = |i: usize| provenance.writer(&kind, &Key::new(None, "a"), &at(&i.to_string()));
        assert!(writer(9).is_none());
        assert_eq!(&**writer(10).unwrap().plugin, "p");
        assert_eq!(provenance.order.len(), provenance.writes.len());
    }

    #[test]
    fn an_event_that_comes_before_its_writes_answer_is_most_likely_that_writes() {
        let (kind, key, plugin) = (Gvk::new("", "v1", "ConfigMap"), Key::new(None, "a"), Arc::from("p"));
        let version = at("7");
        let mut provenance = Provenance::default();
        provenance.sends(&kind, &key, &plugin, None);
        assert!(!provenance.writer(&kind, &key, &version).unwrap().sure);
        provenance.wrote(&kind, &key, version.clone(), &plugin, None);
        provenance.sent(&kind, &key, &plugin);
        assert!(provenance.writer(&kind, &key, &version).unwrap().sure);
        assert_eq!(provenance.writer(&kind, &key, &at("8")), None);
        assert!(provenance.under_way.is_empty());
    }

    #[test]
    fn a_doubtful_change_is_foreign_unless_the_writes_answer_names_its_version() {
        let (kind, key, plugin) = (Gvk::new("", "v1", "ConfigMap"), Key::new(None, "a"), Arc::from("p"));
        let doubtful = |version: &str| Doubtful {
            id: ControllerId::new("p", "c"),
            key: Key::new(None, "k"),
            kind: kind.clone(),
            object: key.clone(),
            mark: at(version),
            cause: Cause::new(crate::What::Resync, None),
        };
        let mut provenance = Provenance::default();
        provenance.sends(&kind, &key, &plugin, None);
        assert!(provenance.doubt(doubtful("7")) && provenance.doubt(doubtful("8")));
        assert!(provenance.foreign().is_empty(), "the answer may still name them");
        provenance.wrote(&kind, &key, at("8"), &plugin, None);
        provenance.sent(&kind, &key, &plugin);
        let foreign: Vec<Mark> = provenance.foreign().into_iter().map(|d| d.mark).collect();
        assert_eq!(foreign, [at("7")]);
        assert!(provenance.foreign().is_empty());
    }
}
