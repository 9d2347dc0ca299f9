//! One reflector of a kind, with what its informer needs to know of it.

use pilothouse_object::Gvk;

use crate::{
    failure::{Failure, Trouble},
    reflector::{Reflector, State},
    shared::Fares,
    status::{Phase, WatchStatus},
    store::{Relist, Scope, Store},
};

/// A reflector among those of its kind.
pub(crate) struct Slot {
    pub(crate) scope: Scope,
    pub(crate) reflector: Reflector,
    pub(crate) relist: Relist,
    pub(crate) committed: bool,
    pub(crate) trouble: Option<Failure>,
}

impl Slot {
    pub(crate) fn new(scope: Scope, reflector: Reflector) -> Self {
        Self {
            scope,
            reflector,
            relist: Relist::default(),
            committed: false,
            trouble: None,
        }
    }

    pub(crate) fn fares(&self) -> Fares {
        Fares {
            committed: self.committed,
            forbidden: self.trouble.as_ref().is_some_and(|t| t.trouble == Trouble::Forbidden),
        }
    }

    /// A list was answered: this is no longer forbidden.
    pub(crate) fn allowed(&mut self, kind: &Gvk) {
        if self.trouble.take_if(|t| t.trouble == Trouble::Forbidden).is_some() {
            tracing::info!(%kind, scope = %self.scope, "allowed to list again");
        }
    }

    /// Takes in how the reflector fares, and says so where that is news.
    pub(crate) fn health(&mut self, kind: &Gvk, now: Option<Failure>) {
        report(kind, &self.scope, self.trouble.as_ref(), now.as_ref());
        self.trouble = now;
    }

    pub(crate) fn status(&self, kind: &Gvk, store: &Store, subscribers: usize) -> WatchStatus {
        let counts = self.reflector.counts();
        WatchStatus {
            kind: kind.clone(),
            scope: self.scope.clone(),
            phase: phase(self),
            synced: self.committed,
            version: self.reflector.last().cloned(),
            last_error: self.trouble.as_ref().map(ToString::to_string),
            restarts: counts.watches.saturating_sub(1),
            relists: counts.relists,
            objects: match &self.scope {
                Scope::All => store.len(),
                Scope::Namespace(namespace) => store.namespace(namespace).count(),
            },
            subscribers,
        }
    }
}

fn phase(slot: &Slot) -> Phase {
    match (slot.reflector.state(), slot.trouble.as_ref().map(|t| t.trouble)) {
        (State::Streaming { .. }, _) => Phase::Watching,
        (_, Some(Trouble::NotFound)) => Phase::WaitingForKind,
        (_, Some(Trouble::Forbidden)) => Phase::Forbidden,
        (_, Some(Trouble::Unreachable)) => Phase::Unreachable,
        (State::Waiting(_), _) => Phase::BackingOff,
        (State::New | State::Discovering, _) => Phase::Starting,
        (State::Listing(_) | State::Committing { .. }, _) => Phase::Listing,
        (State::Opening, _) => Phase::Watching,
    }
}

/// One line when trouble begins or turns into another, one when it is over. That the whole API server is away is said
/// once for all watches by the driver.
fn report(kind: &Gvk, scope: &Scope, before: Option<&Failure>, now: Option<&Failure>) {
    match (before, now) {
        (Some(before), Some(now)) if before.trouble == now.trouble => {
            tracing::debug!(%kind, %scope, problem = %now, "still not watching");
        }
        (_, Some(now)) => match now.trouble {
            Trouble::Unreachable => tracing::debug!(%kind, %scope, problem = %now, "not watching"),
            Trouble::NotFound => tracing::warn!(
                %kind, %scope, problem = %now,
                "the API server does not serve this kind; waiting for it (is its CustomResourceDefinition installed?)"
            ),
            Trouble::Forbidden => tracing::warn!(
                %kind, %scope, problem = %now,
                "this host may not list and watch the kind; grant its account the verbs list and watch, or name the namespaces it may see"
            ),
            _ => tracing::warn!(%kind, %scope, problem = %now, "the watch is interrupted; trying again"),
        },
        (Some(before), None) if before.trouble == Trouble::Unreachable => {
            tracing::debug!(%kind, %scope, "watching again");
        }
        (Some(_), None) => tracing::info!(%kind, %scope, "watching again"),
        (None, None) => {}
    }
}
