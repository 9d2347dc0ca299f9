//! When to look at the plugin directory: where the system tells of changes, a moment after it did; and every so often
//! besides, since not every file system tells (NFS, FUSE, some mounts of containers).

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Settling, Sighting, look};
use crate::directory::DirectoryError;

/// Further changes are waited for so long before a look.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// What came of a look.
#[derive(Debug)]
pub(crate) enum Seen {
    /// These plugins' files changed and have settled; none where they are gone.
    Changed(Vec<(String, Option<Sighting>)>),
    /// There are `NAME.yaml` without a module; told once for each set of them.
    Stray(Vec<String>),
    /// The directory can't be looked at. Nothing is taken for changed; told once for each reason.
    Blind(DirectoryError),
    /// After that: it can be looked at again.
    Well,
}

/// Watches the directory.
pub(crate) struct Watcher {
    directory: PathBuf,
    most: u64,
    poll: Duration,
    pub(super) settling: Settling,
    stray: Vec<String>,
    blind: Option<String>,
    origin: Instant,
    next_poll: Duration,
    told: mpsc::Receiver<()>,
    /// Held, so that the other end waits instead of ending.
    _tell: mpsc::Sender<()>,
    /// Ends the telling when it is dropped.
    pub(super) _system: Option<RecommendedWatcher>,
}

impl Watcher {
    /// Watches `directory`, of which `settling` holds what is known; modules longer than `most` bytes are not read.
    #[expect(clippy::disallowed_methods, reason = "a driver: its clock")]
    pub(crate) fn new(directory: &Path, most: u64, poll: Duration, settling: Settling) -> Self {
        // One word is enough, however much happened.
        let (tell, told) = mpsc::channel(1);
        let system = system(directory, tell.clone());
        let system = system.inspect_err(|error| {
            tracing::info!(%error, "the system tells nothing of the plugin directory: it is looked at every {poll:?}");
        });
        Self {
            directory: directory.to_owned(),
            most,
            poll,
            settling,
            stray: Vec::new(),
            blind: None,
            origin: Instant::now(),
            next_poll: Duration::ZERO,
            told,
            _tell: tell,
            _system: system.ok(),
        }
    }

    /// The next thing that counts. Dropped before its end it loses nothing.
    #[expect(
        clippy::disallowed_methods,
        reason = "a driver: waits, and reads files on a thread that serves nobody"
    )]
    pub(crate) async fn next(&mut self) -> Seen {
        loop {
            let due = self
                .settling
                .due()
                .map_or(self.next_poll, |due| due.min(self.next_poll));
            tokio::select! {
                biased;
                // The sender lives as long as this.
                Some(()) = self.told.recv() => tokio::time::sleep(DEBOUNCE).await,
                () = tokio::time::sleep_until(self.origin + due) => {}
            }
            let (directory, most, before) = (self.directory.clone(), self.most, self.settling.clone());
            let looked = tokio::task::spawn_blocking(move || look(&directory, most, &before)).await;
            let now = self.origin.elapsed();
            self.next_poll = now + self.poll;
            let (looked, stray) = match looked {
                Ok(Ok(looked)) => looked,
                Ok(Err(error)) => {
                    let text = error.to_string();
                    if self.blind.as_ref() != Some(&text) {
                        self.blind = Some(text);
                        return Seen::Blind(error);
                    }
                    continue;
                }
                // The runtime ends.
                Err(_) => std::future::pending().await,
            };
            if self.blind.take().is_some() {
                // What has changed meanwhile is for the next look, at once.
                self.next_poll = now;
                return Seen::Well;
            }
            let changes = self.settling.step(now, looked);
            if !changes.is_empty() {
                return Seen::Changed(changes);
            }
            if self.stray != stray && self.settling.due().is_none() {
                self.stray.clone_from(&stray);
                if !stray.is_empty() {
                    return Seen::Stray(stray);
                }
            }
        }
    }
}

fn system(directory: &Path, tell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Our own reading is told, too: it must not make us read again. Errors (events were lost, say) are a reason to
        // look.
        let matters = event.map_or(true, |event| match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        });
        if matters {
            // Full: a look is about to come anyway.
            let _ = tell.try_send(());
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
