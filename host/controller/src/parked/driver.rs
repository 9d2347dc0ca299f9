//! The thin driver: waits until something is to be written, and has it written on a thread that serves nobody.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{
    ParkedFile,
    keeper::{Act, Keeper},
    text,
};
use crate::{core::Core, lock::lock, reporting::rarely::Rarely};

/// Keeps the parked keys of one host.
pub(crate) struct Keep {
    file: Arc<dyn ParkedFile>,
    /// Held while it is written: what is written last is what was looked at last.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keeper: Keeper,
    failing: Rarely,
    /// Around the bound it is now too many and now not.
    full: Rarely,
}

impl Keep {
    pub(crate) fn new(file: Arc<dyn ParkedFile>) -> Self {
        let state = Mutex::default();
        Self { file, state }
    }

    /// Writes whenever it is time, for ever.
    #[allow(clippy::disallowed_methods, reason = "the driver: waits for the next due time")]
    pub(crate) async fn run(&self, core: &Core) {
        loop {
            // Registered before looking, so that a change in between is not missed.
            let changed = core.parked.notified();
            let changes = lock(&core.dispatcher).parked_changes();
            let act = self.state.lock().await.keeper.step(core.now(), changes);
            match act {
                Act::Rest => changed.await,
                Act::Wait(due) => tokio::time::sleep(due.saturating_sub(core.now())).await,
                Act::Write => self.write(core).await,
            }
        }
    }

    /// Writes what is parked now.
    #[allow(
        clippy::disallowed_methods,
        reason = "the driver: files block, so they have a thread of their own"
    )]
    pub(crate) async fn write(&self, core: &Core) {
        let mut state = self.state.lock().await;
        let (kept, changes) = {
            let mut dispatcher = lock(&core.dispatcher);
            (dispatcher.kept(), dispatcher.parked_changes())
        };
        let (file, now) = (self.file.clone(), core.now());
        let written = tokio::task::spawn_blocking(move || {
            let (text, left_out) = text::write(&kept, now);
            file.write(&text).map(|()| left_out)
        });
        let written = written.await.unwrap_or_else(|error| Err(error.to_string()));
        let now = core.now();
        state.keeper.wrote(now, changes, written.is_ok());
        match written {
            Ok(0) => {}
            Ok(left_out) => {
                if let Some(others) = state.full.say(now) {
                    tracing::warn!(
                        left_out,
                        others,
                        "not all parked keys are kept over a restart: there are more than have room, or their names or uids \
                         are too long to be read again; those left out (the last that were parked, and the long ones) are \
                         tried again after it"
                    );
                }
            }
            Err(error) => {
                if let Some(others) = state.failing.say(now) {
                    tracing::warn!(
                        others,
                        "the parked keys can't be written, and are tried again after a restart as long as this lasts: {error}"
                    );
                }
            }
        }
    }
}
