//! What is being done for plugins: loading, switching, unloading.

use std::collections::HashMap;

use tokio::task::{AbortHandle, JoinSet};

use crate::load::{Failed, Plugin};
use crate::refusal::{Refusal, Step};
use crate::stage::NotServed;

/// What was done for a plugin, and how it ended.
pub(super) enum Ended {
    Loaded(Box<Result<Plugin, Box<Failed>>>),
    Served(Result<(), NotServed>),
    Withdrawn,
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Load,
    Serve,
    Withdraw,
}

/// What is being done for plugins.
#[derive(Default)]
pub(super) struct Jobs {
    set: JoinSet<Ended>,
    of: HashMap<tokio::task::Id, (String, Doing, AbortHandle)>,
}

impl Jobs {
    pub(super) fn spawn(&mut self, name: &str, doing: Doing, job: impl Future<Output = Ended> + Send + 'static) {
        let handle = self.set.spawn(job);
        self.of.insert(handle.id(), (name.to_owned(), doing, handle));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Ends the switch of this plugin. It answers all the same: with how it ended, if it was there first.
    pub(super) fn cancel(&self, name: &str) {
        for (_, _, handle) in self
            .of
            .values()
            .filter(|(own, doing, _)| own == name && *doing == Doing::Serve)
        {
            handle.abort();
        }
    }

    /// The next that ends.
    pub(super) async fn next(&mut self) -> Option<(String, Ended)> {
        let (id, ended) = match self.set.join_next_with_id().await? {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error.is_panic())),
        };
        let (name, doing, _) = self.of.remove(&id)?;
        let ended = ended.unwrap_or_else(|panicked| {
            let why = if panicked {
                "the host failed at this step"
            } else {
                "something newer was there before it"
            };
            let mend = "if it comes again, report it with the module: it is a bug of this host";
            match doing {
                Doing::Load => {
                    let refusal = Refusal::new(&name, Step::Read, why, mend);
                    Ended::Loaded(Box::new(Err(Failed::refused(refusal))))
                }
                Doing::Serve => Ended::Served(Err(NotServed {
                    why: why.to_owned(),
                    mend: mend.to_owned(),
                })),
                Doing::Withdraw => Ended::Withdrawn,
            }
        });
        Some((name, ended))
    }
}
