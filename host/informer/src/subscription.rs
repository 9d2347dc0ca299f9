//! A subscriber's hold on a kind: reads through its view, and how fresh they are.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering as Memory},
    },
    time::Duration,
};

use pilothouse_object::{Gvk, Key, LabelSelector, Object, Version};

use crate::{
    informer::{Command, Handler, IndexSpec, Informer},
    status::WatchStatus,
    store::Store,
    store::index::IndexError,
    view::View,
};

/// A read that is refused. None of them is an empty answer: the caller must not take one for "there is nothing".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The first list has not come yet.
    #[error("the cache of {kind} has not been filled yet{}", why.as_ref().map(|w| format!(": {w}")).unwrap_or_default())]
    NotSynced {
        /// The kind.
        kind: Gvk,
        /// What holds it up, where something does.
        why: Option<String>,
    },
    /// The read reaches beyond the view.
    #[error("{what} lies outside what may be seen of {kind}; name a namespace and name within it")]
    OutsideView {
        /// The kind.
        kind: Gvk,
        /// What was asked for.
        what: String,
    },
    /// There is no such index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Which objects to read.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// One namespace; none: every one in the view.
    pub namespace: Option<Arc<str>>,
    /// Labels that objects must have.
    pub labels: LabelSelector,
    /// An index of the subscriber's own and the value it must hold.
    pub index: Option<(String, String)>,
    /// Only objects that name this uid among their owners.
    pub owner: Option<Arc<str>>,
}

/// One moment of the store, through the view.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The objects, by namespace and name.
    pub items: Vec<Object>,
    /// The version that they are at.
    pub version: Version,
}

/// A piece of the cache, see [`Reader::keys_after`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The keys that the view shows.
    pub keys: Vec<Key>,
    /// How many objects were looked at.
    pub looked_at: usize,
    /// The key that was looked at last; none where there was none behind.
    pub last: Option<Key>,
}

/// Whether a cache holds a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does, or is later.
    Yes,
    /// Not yet.
    No,
    /// The versions don't compare: read live.
    Unknown,
}

/// The driver's part in the end of a subscription.
pub trait Home: Send + Sync {
    /// A subscriber of this informer has left: do the commands, and forget the informer if it is idle.
    fn left(self: Arc<Self>, informer: &Arc<Informer>, commands: Vec<Command>);
}

/// A place among a kind's subscribers. Dropping it leaves: its handler is not called afterwards, and the last one to
/// leave stops the watch and frees the store.
///
/// Don't drop it in a handler, nor while holding a lock that its handler takes: dropping waits for the handler.
pub struct Subscription {
    reader: Reader,
    id: u64,
    home: Arc<dyn Home>,
}

/// Reads through a subscription's view. Cheap to clone, and harmless to drop anywhere: it keeps the cache readable, but
/// neither the watch nor the handler alive. Once the last subscription has left, what it reads grows stale.
#[derive(Clone)]
pub struct Reader {
    informer: Arc<Informer>,
    view: Arc<View>,
    synced: Arc<AtomicBool>,
    /// The subscriber's names for its indexes, and the store's.
    indexes: Arc<BTreeMap<String, String>>,
}

impl std::ops::Deref for Subscription {
    type Target = Reader;
    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let commands = self.informer.unsubscribe(self.id);
        self.home.clone().left(&self.informer, commands);
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscription({} #{})", self.kind(), self.id)
    }
}

impl Subscription {
    /// Subscribes to an informer: what it holds is delivered to the handler before this returns. The commands are for
    /// the driver.
    ///
    /// # Errors
    /// Two of the indexes have one name.
    pub fn open(
        informer: Arc<Informer>,
        view: View,
        indexes: &[IndexSpec],
        handler: Arc<dyn Handler>,
        home: Arc<dyn Home>,
    ) -> Result<(Self, Vec<Command>), IndexError> {
        let view = Arc::new(view);
        let (id, synced, commands) = informer.subscribe(view.clone(), indexes, handler)?;
        let indexes = indexes.iter().map(|index| (index.name.clone(), index.id())).collect();
        let subscription = Self {
            reader: Reader {
                informer,
                view,
                synced,
                indexes: Arc::new(indexes),
            },
            id,
            home,
        };
        Ok((subscription, commands))
    }

    /// What reads through the view, to hand out.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}

impl Reader {
    /// The kind.
    pub fn kind(&self) -> &Gvk {
        self.informer.gvk()
    }

    /// What it sees.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// This process wrote an object of this kind. Where it lies in the view its end will be heard of, also if it comes
    /// while nobody watches.
    pub fn expect(&self, object: &Object) {
        if self.view.sees(object.head()) {
            self.informer.expect(object);
        }
    }

    /// Whether the cache will hear of a write that made this of an object. Not where the view neither shows it so nor
    /// shows what it was: then the server may leave it out, and the cache is at its version only once something else
    /// moves it there, a bookmark after a minute at the latest. Don't wait for such a version.
    pub fn hears_of(&self, written: &Object) -> bool {
        self.view.sees(written.head())
            || (self.view.sees_key(written.key())
                && self
                    .informer
                    .store()
                    .get(written.key())
                    .is_some_and(|held| self.view.sees(held.head())))
    }

    /// True once the first lists are in the store and delivered. Stays true while watches are renewed.
    pub fn synced(&self) -> bool {
        self.synced.load(Memory::Acquire)
    }

    fn ready(&self) -> Result<(), ReadError> {
        if self.synced() {
            return Ok(());
        }
        let why = self.statuses().into_iter().find_map(|status| match status.last_error {
            Some(error) => Some(format!("{} ({error})", status.phase.as_str())),
            None if !status.synced => Some(status.phase.as_str().to_owned()),
            None => None,
        });
        Err(ReadError::NotSynced {
            kind: self.kind().clone(),
            why,
        })
    }

    fn outside(&self, what: impl std::fmt::Display) -> ReadError {
        ReadError::OutsideView {
            kind: self.kind().clone(),
            what: what.to_string(),
        }
    }

    /// An object; none where there is none, or none that the view's selector lets through.
    ///
    /// # Errors
    /// [`ReadError::NotSynced`], and [`ReadError::OutsideView`] for a namespace or name beyond the view.
    pub fn get(&self, key: &Key) -> Result<Option<Object>, ReadError> {
        if !self.view.sees_key(key) {
            return Err(self.outside(key));
        }
        self.ready()?;
        let object = self.informer.store().get(key).cloned();
        Ok(object
            .filter(|object| self.view.sees(object.head()))
            .map(|object| self.informer.shown(&self.view, &object)))
    }

    /// The objects of one namespace (none: of every one in the view) with these labels.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn list(&self, namespace: Option<&str>, labels: &LabelSelector) -> Result<Listing, ReadError> {
        self.query(&Query {
            namespace: namespace.map(Into::into),
            labels: labels.clone(),
            ..Query::default()
        })
    }

    /// The objects whose index holds a value.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn by_index(&self, index: &str, value: &str) -> Result<Vec<Object>, ReadError> {
        let query = Query {
            index: Some((index.to_owned(), value.to_owned())),
            ..Query::default()
        };
        Ok(self.query(&query)?.items)
    }

    /// The objects that name this uid among their owners.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn owned_by(&self, uid: &str) -> Result<Vec<Object>, ReadError> {
        let query = Query {
            owner: Some(uid.into()),
            ..Query::default()
        };
        Ok(self.query(&query)?.items)
    }

    /// Everything that fits, from one moment of the store.
    ///
    /// # Errors
    /// [`ReadError::NotSynced`], [`ReadError::OutsideView`] for a namespace beyond the view, [`ReadError::Index`] for
    /// an index that this subscriber did not declare.
    pub fn query(&self, query: &Query) -> Result<Listing, ReadError> {
        if let Some(namespace) = &query.namespace
            && !self.view.sees_namespace(Some(namespace))
        {
            return Err(self.outside(format_args!("namespace {namespace}")));
        }
        let index = match &query.index {
            Some((name, value)) => match self.indexes.get(name) {
                Some(id) => Some((id, value)),
                None => return Err(IndexError::Unknown(name.clone()).into()),
            },
            None => None,
        };
        self.ready()?;
        let store = self.informer.store();
        let version = self.version_in(&store, query.namespace.as_deref()).unwrap_or_default();
        let by_labels = store.by_labels(&query.labels);
        let items: Vec<Object> = match (index, &query.owner, by_labels, &query.namespace) {
            (Some((id, value)), ..) => self.pick(store.by_index(id, value)?, query),
            (None, Some(uid), ..) => self.pick(store.owned_by(uid), query),
            (None, None, Some(few), _) => self.pick(few, query),
            (None, None, None, Some(namespace)) => self.pick(store.namespace(namespace), query),
            (None, None, None, None) => self.pick(store.iter(), query),
        };
        drop(store);
        let items = items
            .iter()
            .map(|object| self.informer.shown(&self.view, object))
            .collect();
        Ok(Listing { items, version })
    }

    fn pick<'a>(&self, objects: impl Iterator<Item = &'a Object>, query: &Query) -> Vec<Object> {
        objects
            .filter(|object| {
                let head = object.head();
                self.view.sees(head)
                    && query.labels.matches(&head.labels)
                    && (query.namespace.is_none() || head.key.namespace == query.namespace)
                    && query
                        .owner
                        .as_ref()
                        .is_none_or(|uid| head.owners.iter().any(|owner| *owner.uid == **uid))
            })
            .cloned()
            .collect()
    }

    /// How many objects of the kind the cache holds, those beyond the view included.
    pub fn cached(&self) -> usize {
        self.informer.store().len()
    }

    /// Looks at the next `most` objects of the cache after a key (none: from the first), in the order of their keys.
    /// For going through a large cache in slices, without a copy of it.
    ///
    /// # Errors
    /// [`ReadError::NotSynced`].
    pub fn keys_after(&self, key: Option<&Key>, most: usize) -> Result<Slice, ReadError> {
        self.ready()?;
        let store = self.informer.store();
        let mut slice = Slice::default();
        let mut last = None;
        for object in store.after(key).take(most) {
            if self.view.sees(object.head()) {
                slice.keys.push(object.key().clone());
            }
            slice.looked_at += 1;
            last = Some(object.key());
        }
        slice.last = last.cloned();
        Ok(slice)
    }

    fn version_in(&self, store: &Store, namespace: Option<&str>) -> Option<Version> {
        store.oldest(&self.view.namespaces, namespace)
    }

    /// The version that reads of a namespace (none: of the whole view) are at; none before the first list.
    pub fn version(&self, namespace: Option<&str>) -> Option<Version> {
        self.version_in(&self.informer.store(), namespace)
    }

    /// Whether reads of a namespace (none: of the whole view) see what was written with this version.
    pub fn holds(&self, version: &Version, namespace: Option<&str>) -> Holds {
        match self.version(namespace).map(|at| at.compare(version)) {
            None => Holds::No,
            Some(Some(Ordering::Less)) => Holds::No,
            Some(Some(_)) => Holds::Yes,
            Some(None) => Holds::Unknown,
        }
    }

    /// Waits until [`Reader::holds`] says something else than no, at most for `bound`; answers its last word.
    ///
    /// The version of one object's write is reached with that object's event or any later one of the kind, so on a
    /// quiet kind this takes no longer than the event does.
    pub async fn wait_for(&self, version: &Version, namespace: Option<&str>, bound: Duration) -> Holds {
        let mut moved = self.informer.moved();
        let waiting = async {
            loop {
                moved.borrow_and_update();
                let holds = self.holds(version, namespace);
                // The sender lives in the informer that this subscription holds: it can't be closed.
                if holds != Holds::No || moved.changed().await.is_err() {
                    return holds;
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the bound of a wait, for callers on tokio")]
        let waited = tokio::time::timeout(bound, waiting).await;
        waited.unwrap_or(Holds::No)
    }

    /// Waits while `pending` says so, asking again whenever the cache moved on, at most for `bound`; true where it came
    /// to an end. For what no version tells, as that an object is gone.
    pub async fn wait_while(&self, mut pending: impl FnMut() -> bool, bound: Duration) -> bool {
        let mut moved = self.informer.moved();
        let waiting = async {
            loop {
                moved.borrow_and_update();
                if !pending() {
                    return true;
                }
                // The sender lives in the informer that this subscription holds: it can't be closed.
                if moved.changed().await.is_err() {
                    return !pending();
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the bound of a wait, for callers on tokio")]
        let waited = tokio::time::timeout(bound, waiting).await;
        waited.unwrap_or(false)
    }

    /// Waits until synced, at most for `bound`; false where it is not.
    pub async fn wait_synced(&self, bound: Duration) -> bool {
        let mut moved = self.informer.moved();
        let waiting = async {
            while !self.synced() {
                if moved.changed().await.is_err() {
                    break;
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the bound of a wait, for callers on tokio")]
        let waited = tokio::time::timeout(bound, waiting).await;
        waited.is_ok() || self.synced()
    }

    /// How the kind's watches fare.
    pub fn statuses(&self) -> Vec<WatchStatus> {
        self.informer.statuses()
    }
}
