//! The cluster itself: its state, and the four ways in: [`Cluster::handle`], [`Cluster::poll`], [`Cluster::advance`]
//! and `clone`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::meta;
use crate::store::{CollectionId, Key, Map, Store};
use crate::types::{self, ResourceType};
use crate::watch::Watch;
use crate::wire::{Polled, Request, Response, User, WatchId};

/// The namespaces that every cluster has from the start.
pub(crate) const DEFAULT_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Bounds of a cluster. Every field has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// How many writes are kept for watches and old lists; older versions answer 410. Default 10,000. Each keeps the
    /// object as it was, so this bounds memory at roughly as many objects.
    pub history: usize,
    /// How many watches may be open; further ones are answered with 429. Default 1,000.
    pub watches: usize,
    /// How long garbage collection, namespace deletion and CRD deletion wait before they act. Real servers take some
    /// milliseconds; clients that delete and then wait for the DELETED event break on a server that is too fast.
    /// Default 10 ms.
    pub collect_after: Duration,
    /// How often watches that allow bookmarks get one. Default one minute.
    pub bookmark_every: Duration,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            history: 10_000,
            watches: 1_000,
            collect_after: Duration::from_millis(10),
            bookmark_every: Duration::from_secs(60),
        }
    }
}

/// What names a type: group, version, plural.
pub(crate) type TypeId = (Arc<str>, Arc<str>, Arc<str>);

/// Something that [`Cluster::advance`] has to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// An object whose owners or dependents changed, or which waits for its dependents.
    Object(CollectionId, Key),
    /// A namespace that is being deleted.
    Namespace(Arc<str>),
    /// A CustomResourceDefinition that is being deleted.
    Crd(Arc<str>),
}

/// An in-memory Kubernetes API server.
///
/// It is a value: it does no I/O, starts nothing, reads no clock and takes its randomness from the seed, so the same
/// seed and the same requests at the same times give the same answers, byte for byte. `clone` forks it within
/// microseconds; the fork and the original go their own ways from there (open watches exist in both).
///
/// What it does as a real server does, and what it refuses, stands in the [crate's head](crate).
#[derive(Clone)]
pub struct Cluster {
    pub(crate) store: Store,
    pub(crate) types: Map<TypeId, Arc<ResourceType>>,
    pub(crate) watches: Map<u64, Watch>,
    next_watch: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: Duration,
    pub(crate) config: ClusterConfig,
    /// What is to be looked at, by when, and when each of them is.
    due: Map<(Duration, Work), ()>,
    work: Map<Work, Duration>,
}

impl Cluster {
    /// A cluster with the default namespaces and nothing else. The seed decides uids and generated names.
    pub fn new(seed: u64) -> Cluster {
        Cluster::with_config(seed, ClusterConfig::default())
    }

    /// The same with other bounds.
    pub fn with_config(seed: u64, config: ClusterConfig) -> Cluster {
        let mut types = Map::new_sync();
        for type_ in types::built_in() {
            types.insert_mut(type_id(&type_), Arc::new(type_));
        }
        let mut cluster = Cluster {
            store: Store::new(config.history.max(1)),
            types,
            watches: Map::new_sync(),
            next_watch: 1,
            rng: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            config,
            due: Map::new_sync(),
            work: Map::new_sync(),
        };
        for name in DEFAULT_NAMESPACES {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {
                    "name": name, "uid": cluster.uid(), "creationTimestamp": crate::clock::timestamp(Duration::ZERO),
                    "labels": {"kubernetes.io/metadata.name": name},
                },
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            });
            cluster.store.put(&namespaces(), &("".into(), name.into()), namespace);
        }
        cluster
    }

    /// Answers one request. `now` is the time since the Unix epoch; where it goes back, time stands still. It never
    /// panics, whatever the request; what it does not do is answered with a status that says so.
    ///
    /// A body that is a watch must be polled or closed, see [`Body::Watch`](crate::Body::Watch).
    pub fn handle(&mut self, now: Duration, _user: &User, request: Request) -> Response {
        self.now = self.now.max(now);
        self.route(&request)
    }

    /// What an open watch has to say since it was last asked: at most some hundred events at a time, so ask again until
    /// it says nothing. A watch that is over or was never open is `Ended`.
    pub fn poll(&mut self, now: Duration, id: WatchId) -> Polled {
        self.now = self.now.max(now);
        self.poll_watch(id)
    }

    /// Forgets a watch. Closing one that is not open does nothing.
    pub fn close(&mut self, id: WatchId) {
        self.watches.remove_mut(&id.0);
    }

    /// Does what is due by `now`: garbage collection, deletion of the contents of namespaces and of the objects of
    /// CRDs. Watches end and send bookmarks when they are polled.
    pub fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        while let Some(((due, work), ())) = self.due.first() {
            if *due > self.now {
                return;
            }
            let (due, work) = (*due, work.clone());
            self.due.remove_mut(&(due, work.clone()));
            self.work.remove_mut(&work);
            match work {
                Work::Object(id, key) => self.collect(&id, &key),
                Work::Namespace(name) => self.empty_namespace(&name),
                Work::Crd(name) => self.empty_crd(&name),
            }
        }
    }

    /// When something is due next if nobody asks for anything: then call [`Cluster::advance`] and poll the open
    /// watches. It may lie in the past. `None`: nothing.
    pub fn next_due(&self) -> Option<Duration> {
        let work = self.due.first().map(|((due, _), ())| *due);
        self.watches.values().filter_map(Watch::next_due).chain(work).min()
    }

    /// What is served, ordered by group, version, plural.
    pub fn types(&self) -> impl Iterator<Item = &ResourceType> {
        self.types.values().map(|type_| &**type_)
    }

    /// The resourceVersion of the last write.
    pub fn version(&self) -> u64 {
        self.store.version()
    }

    /// How many watches are open.
    pub fn open_watches(&self) -> usize {
        self.watches.size()
    }

    /// Has [`Cluster::advance`] look at something after `config.collect_after`.
    pub(crate) fn schedule(&mut self, work: Work) {
        if !self.work.contains_key(&work) {
            let due = self.now.saturating_add(self.config.collect_after);
            self.work.insert_mut(work.clone(), due);
            self.due.insert_mut((due, work), ());
        }
    }

    pub(crate) fn next_watch_id(&mut self) -> WatchId {
        let id = self.next_watch;
        self.next_watch += 1;
        WatchId(id)
    }

    /// A new uid: random by the seed, in the form of a version 4 UUID.
    pub(crate) fn uid(&mut self) -> String {
        let bits = self.rng.u128(..) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    /// Tells the collectors of a write: `old` and `new` are what stood and stands there.
    pub(crate) fn written(&mut self, id: &CollectionId, key: &Key, old: Option<&Value>, new: Option<&Value>) {
        if let Some(new) = new {
            let fresh = old.is_none_or(|old| meta::get(old, "ownerReferences") != meta::get(new, "ownerReferences"));
            let owned = meta::get(new, "ownerReferences").is_some();
            let waiting = meta::is_deleting(new)
                && meta::finalizers(new)
                    .iter()
                    .any(|f| matches!(*f, "foregroundDeletion" | "orphan"));
            if fresh && owned || waiting {
                self.schedule(Work::Object(id.clone(), key.clone()));
            }
            if meta::is_deleting(new) && *id == namespaces() {
                self.schedule(Work::Namespace(key.1.clone()));
            }
            if meta::is_deleting(new) && *id == crds() {
                self.schedule(Work::Crd(key.1.clone()));
            }
        }
        let Some(old) = old else { return };
        if new.is_none() {
            for (id, key) in self.store.dependents(meta::text(old, "uid")) {
                self.schedule(Work::Object(id, key));
            }
            if !key.0.is_empty() && self.is_terminating(&key.0) {
                self.schedule(Work::Namespace(key.0.clone()));
            }
            if let Some(crd) = self.crd_of(id) {
                self.schedule(Work::Crd(crd));
            }
        }
        // An owner that waits for its dependents may go on when one of them is gone, or no longer its.
        for owner in meta::owners(old) {
            if let Some((id, key, object)) = self.find_owner(&owner, &key.0)
                && meta::is_deleting(&object)
            {
                self.schedule(Work::Object(id, key));
            }
        }
    }

    /// Whether a namespace is being deleted.
    pub(crate) fn is_terminating(&self, namespace: &Arc<str>) -> bool {
        self.store
            .get(&namespaces(), &("".into(), namespace.clone()))
            .is_some_and(|namespace| meta::is_deleting(namespace))
    }

    /// The name of the CRD that is being deleted and whose objects stand in this collection.
    fn crd_of(&self, id: &CollectionId) -> Option<Arc<str>> {
        let name: Arc<str> = format!("{}.{}", id.1, id.0).into();
        self.store
            .get(&crds(), &("".into(), name.clone()))
            .is_some_and(|crd| meta::is_deleting(crd))
            .then_some(name)
    }
}

/// What names a type.
pub(crate) fn type_id(type_: &ResourceType) -> TypeId {
    (type_.group.clone(), type_.version.clone(), type_.plural.clone())
}

/// Where namespaces are stored.
pub(crate) fn namespaces() -> CollectionId {
    ("".into(), "namespaces".into())
}

/// Where CustomResourceDefinitions are stored.
pub(crate) fn crds() -> CollectionId {
    ("apiextensions.k8s.io".into(), "customresourcedefinitions".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_look_like_random_uuids_and_follow_from_the_seed() {
        let mut cluster = Cluster::new(7);
        let uid = cluster.uid();
        let parts: Vec<&str> = uid.split('-').collect();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert!(
            parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
            "{uid}"
        );
        assert_eq!(uid, Cluster::new(7).uid());
        assert_ne!(uid, Cluster::new(8).uid());
        assert_ne!(uid, cluster.uid());
    }

    #[test]
    fn work_is_scheduled_once_and_waits_for_its_time() {
        let mut cluster = Cluster::new(1);
        assert_eq!(cluster.next_due(), None);
        cluster.now = Duration::from_secs(5);
        cluster.schedule(Work::Namespace("gone".into()));
        cluster.now = Duration::from_secs(6);
        cluster.schedule(Work::Namespace("gone".into()));
        assert_eq!(cluster.next_due(), Some(Duration::from_millis(5010)));
        cluster.advance(Duration::from_secs(6));
        assert_eq!(cluster.next_due(), None);
    }
}
