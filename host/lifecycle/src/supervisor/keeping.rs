//! The driver's part in keeping lives over a restart: what was decided is written, on a thread that serves nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::kept::failures::Failure;
use crate::kept::{KeptLife, PluginStore};
use crate::load::Hash;

/// After a write that failed, the next attempt waits so long.
const AGAIN: Duration = Duration::from_secs(30);

/// What is kept, and what of it is to be written.
pub(super) struct Keeping {
    store: Arc<PluginStore>,
    /// As each plugin's life is to be on the disk.
    kept: BTreeMap<String, KeptLife>,
    /// Those whose lives are not on the disk as they are.
    unwritten: BTreeSet<String>,
    /// The module of each plugin that may come to serve: its bytes are of use though no life names them yet.
    candidates: BTreeMap<String, Hash>,
    /// Those beside whose lives may lie versions that are of no use.
    unswept: BTreeSet<String>,
    /// After a failure: when to try again.
    again: Option<Duration>,
}

impl Keeping {
    pub(super) fn new(store: Arc<PluginStore>) -> Self {
        Self {
            store,
            kept: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            candidates: BTreeMap::new(),
            unswept: BTreeSet::new(),
            again: None,
        }
    }

    /// What the last host left.
    pub(super) async fn read(&mut self) -> BTreeMap<String, KeptLife> {
        let store = self.store.clone();
        self.kept = apart(move || store.read()).await;
        self.kept.clone()
    }

    /// The modules of which the last host found that they can't be compiled.
    pub(super) async fn read_failures(&self) -> Vec<Failure> {
        let store = self.store.clone();
        apart(move || store.read_failures()).await
    }

    /// Keeps these instead. Where that fails they are found anew after a restart: it is not tried again.
    pub(super) async fn write_failures(&self, failures: Vec<Failure>) {
        let store = self.store.clone();
        if let Err(why) = apart(move || store.write_failures(&failures)).await {
            tracing::warn!("after a restart it is not known which modules can't be compiled: {why}");
        }
    }

    /// What is to be kept of a plugin now, and which module may come to serve. To be told before its load begins, which
    /// keeps its bytes.
    pub(super) fn decided(&mut self, name: &str, life: Option<KeptLife>, candidate: Option<Hash>) {
        if self.kept.get(name) != life.as_ref() {
            match life {
                Some(life) => _ = self.kept.insert(name.to_owned(), life),
                None => _ = self.kept.remove(name),
            }
            self.unwritten.insert(name.to_owned());
            self.unswept.insert(name.to_owned());
            self.again = None;
        }
        let before = match candidate {
            Some(module) => self.candidates.insert(name.to_owned(), module),
            None => self.candidates.remove(name),
        };
        // One that replaces another which waited, too: else these would pile up as long as something is being done.
        if before != candidate && before.is_some() {
            self.unswept.insert(name.to_owned());
        }
    }

    /// When something is to be written that could not be.
    pub(super) fn due(&self) -> Option<Duration> {
        self.again.filter(|_| !self.unwritten.is_empty())
    }

    /// Writes what is not written yet, and clears away what is of no use.
    pub(super) async fn write(&mut self, now: Duration) {
        if self.again.is_some_and(|again| now < again) {
            return;
        }
        let names: Vec<String> = self.unwritten.union(&self.unswept).cloned().collect();
        if names.is_empty() {
            return;
        }
        let jobs: Vec<_> = names
            .into_iter()
            .map(|name| {
                let (life, candidate) = (self.kept.get(&name).cloned(), self.candidates.get(&name).copied());
                let write = self.unwritten.contains(&name);
                (name, life, candidate, write)
            })
            .collect();
        let store = self.store.clone();
        let failed: Vec<(String, String)> = apart(move || {
            let each = jobs.into_iter().filter_map(|(name, life, candidate, write)| {
                let Some(life) = life else {
                    store.forget(&name, candidate);
                    return None;
                };
                if write && let Err(why) = store.write(&name, &life) {
                    return Some((name, why));
                }
                // After the life, which may have named them until now.
                store.sweep(&name, &life, candidate);
                None
            });
            each.collect()
        })
        .await;
        (self.unwritten, self.unswept) = (BTreeSet::new(), BTreeSet::new());
        self.again = (!failed.is_empty()).then_some(now + AGAIN);
        for (name, why) in failed {
            tracing::warn!(
                plugin = name,
                "what was decided of the plugin's versions can't be kept over a restart, and is tried again in {AGAIN:?}: {why}"
            );
            self.unwritten.insert(name);
        }
    }
}

/// The bytes of a version that is kept.
///
/// # Errors
/// As [`PluginStore::get`].
pub(super) async fn get(store: Arc<PluginStore>, name: &str, hash: Hash, most: u64) -> Result<Arc<[u8]>, String> {
    let name = name.to_owned();
    apart(move || store.get(&name, hash, most)).await.map(Arc::from)
}

/// Keeps the bytes of a version that is about to serve.
pub(super) async fn put(store: Arc<PluginStore>, name: &str, hash: Hash, bytes: Arc<[u8]>) {
    let own = name.to_owned();
    if let Err(why) = apart(move || store.put(&own, hash, &bytes)).await {
        tracing::warn!(plugin = name, %hash, "this version can't be brought back after a restart, for it can't be kept: {why}");
    }
}

/// On a thread that may block.
#[expect(
    clippy::disallowed_methods,
    reason = "a driver: files block, so they have a thread of their own"
)]
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends.
        Err(_) => std::future::pending().await,
    }
}
