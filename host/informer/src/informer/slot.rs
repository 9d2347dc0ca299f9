//! One reflector of a kind, with what its informer needs to know of it.

use std::time::Duration;

use pilothouse_object::{Gvk, Object};

use crate::{
    informer::doubt::{Doubt, Say},
    reflector::failure::{Failure, Trouble},
    reflector::{Reflector, State},
    shared::Fares,
    shared::need::Need,
    status::{Phase, WatchStatus},
    store::{Change, Item, Relist, Scope, Store},
    view::Projection,
};

/// A reflector among those of its kind.
pub(crate) struct Slot {
    pub(crate) scope: Scope,
    /// What it brings.
    pub(crate) need: Need,
    /// It brought more when the running list or watch was asked for.
    narrowed: bool,
    /// Its first list may bring more of objects than others hold of them.
    anew: bool,
    pub(crate) reflector: Reflector,
    pub(crate) relist: Relist,
    pub(crate) committed: bool,
    pub(crate) trouble: Option<Failure>,
    doubt: Doubt,
    /// A fault of this host ended the watch before this one; until this one's first list is in the store.
    pub(crate) fault: Option<Failure>,
}

impl Slot {
    /// `anew`: objects that are held already may be held with less than it will bring.
    pub(crate) fn new(scope: Scope, need: Need, anew: bool, reflector: Reflector) -> Self {
        Self {
            scope,
            need,
            narrowed: false,
            anew,
            reflector,
            relist: Relist::default(),
            committed: false,
            trouble: None,
            doubt: Doubt::default(),
            fault: None,
        }
    }

    /// Less is needed from now on.
    pub(crate) fn narrow(&mut self, need: &Need) {
        self.need = need.clone();
        self.narrowed = true;
        self.relist.reshape(|object| need.shape(object));
    }

    /// A list or watch is asked for anew, with what is needed now.
    pub(crate) fn asked(&mut self) {
        self.narrowed = false;
    }

    /// A list begins.
    pub(crate) fn begin(&mut self) {
        self.relist = Relist::begin(self.anew && !self.committed);
    }

    fn shapes(&self) -> bool {
        self.narrowed || matches!(self.need.projection, Projection::Fields(_))
    }

    /// Takes an element of a list in.
    pub(crate) fn stage(&mut self, store: &Store, item: Item) {
        let item = match item {
            Item::Object(object) if self.shapes() => match self.need.shape(&object) {
                Some(object) => Item::Object(object),
                None => return,
            },
            item => item,
        };
        self.relist.stage(store, item);
    }

    /// A change as the store is to have it. An object that is no longer needed is gone, as it is where the server
    /// selects.
    pub(crate) fn shape(&self, change: Change) -> Change {
        if !self.shapes() {
            return change;
        }
        let gone = |object: Object| Change::Deleted(object);
        match change {
            Change::Put(object) => match self.need.shape(&object) {
                Some(object) => Change::Put(object),
                None => gone(object),
            },
            Change::Deleted(object) => gone(self.need.projection.of(&object)),
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
        if self.trouble.take_if(|t| t.trouble == Trouble::Forbidden).is_some() && self.doubt.allowed() == Say::Over {
            tracing::info!(%kind, scope = %self.scope, "allowed to list again");
        }
    }

    /// Takes in how the reflector fares at `at`, and says so where that is news.
    pub(crate) fn health(&mut self, kind: &Gvk, at: Duration, now: Option<Failure>) {
        let say = self.doubt.hears(at, now.as_ref().map(|failure| failure.trouble));
        match (&now, say) {
            (Some(failure), Say::Trouble) => report(kind, &self.scope, failure),
            (Some(failure), _) => tracing::debug!(%kind, scope = %self.scope, problem = %failure, "not watching"),
            (None, Say::Over) => tracing::info!(%kind, scope = %self.scope, "watching again"),
            (None, _) => tracing::debug!(%kind, scope = %self.scope, "watching again"),
        }
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
            last_error: self.trouble.as_ref().or(self.fault.as_ref()).map(ToString::to_string),
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
        (_, Some(Trouble::Unreachable | Trouble::Unauthorized)) => Phase::Unreachable,
        (State::Waiting(_), _) => Phase::BackingOff,
        (State::New, _) if slot.fault.is_some() => Phase::BackingOff,
        (State::New | State::Discovering, _) => Phase::Starting,
        (State::Listing(_) | State::Asking { .. } | State::Gathering { .. } | State::Committing { .. }, _) => {
            Phase::Listing
        }
        (State::Opening, _) => Phase::Watching,
    }
}

/// One line when trouble lasts.
fn report(kind: &Gvk, scope: &Scope, now: &Failure) {
    match now.trouble {
        Trouble::NotFound => tracing::warn!(
            %kind, %scope, problem = %now,
            "the API server does not serve this kind; waiting for it (is its CustomResourceDefinition installed?)"
        ),
        Trouble::Forbidden => tracing::warn!(
            %kind, %scope, problem = %now,
            "this host may not list and watch the kind; grant its account the verbs list and watch, or name the namespaces it may see"
        ),
        _ => tracing::warn!(%kind, %scope, problem = %now, "the watch is interrupted; trying again"),
    }
}
