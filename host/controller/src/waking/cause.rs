//! Why a key stands in a queue: the chain from what happened to what it led to (design, decision 21).

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use pilothouse_object::{Gvk, Key, Version, escape_control, shorten};

/// A chain is cut after so many links: what came before is counted, not kept.
pub const MAX_CHAIN: usize = 8;

/// What put a key into its queue. Cheap to clone, which each run does several times: all is shared.
#[derive(Clone, PartialEq)]
pub struct Cause(Arc<Link>);

/// What a [`Cause`] says.
#[derive(Debug, PartialEq)]
pub struct Link {
    /// What happened.
    pub what: What,
    /// What led to that, where it is known: the cause of the run whose write or outcome this is.
    pub because: Option<Cause>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// An object changed that maps to the key.
    Changed {
        /// The object's kind.
        kind: Gvk,
        /// Which object.
        key: Key,
        /// How it changed.
        change: Change,
        /// The version that the change made; for a deletion the last one known.
        version: Version,
        /// How the object maps to the key: `itself`, `owner (controller)`, `index NAME`, …
        via: Arc<str>,
        /// The plugin that wrote this version, where it was one of this host's.
        writer: Option<Arc<str>>,
    },
    /// The controller's resync came round.
    Resync,
    /// The last run asked to be run again after this time.
    Requeue {
        /// The time it asked for.
        after: Duration,
    },
    /// The last run failed.
    Retry {
        /// How often it has failed in a row.
        failures: u32,
        /// Its reason, shortened.
        reason: Arc<str>,
    },
    /// The key was parked and is tried again, or another version of its plugin serves; no change of an object was seen.
    Woken {
        /// By what.
        by: Waker,
    },
}

/// What woke a key, other than a change of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waker {
    /// Somebody said so.
    Person,
    /// The plugin's module is another than when the key was parked, or last ran.
    NewModule,
    /// What the operator's file says of the plugin is something else than when the key was parked, or last ran.
    NewConfiguration,
    /// The object was there when the key was parked, and went while no host ran or the plugin was away.
    Vanished,
}

impl Waker {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "a person",
            Self::NewModule => "a new module",
            Self::NewConfiguration => "new configuration",
            Self::Vanished => "the object's deletion while it was not watched",
        }
    }
}

/// How an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was there when the host began to watch.
    Found,
    /// It was created, or came into the plugin's view.
    Created,
    /// It was changed.
    Updated,
    /// Its deletion was asked for, and a finalizer still holds it.
    Deleting,
    /// It was deleted, or left the plugin's view.
    Deleted,
}

impl Change {
    /// The change in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleting => "being deleted",
            Self::Deleted => "deleted",
        }
    }
}

impl Cause {
    /// A cause with what led to it; the chain is cut at [`MAX_CHAIN`].
    pub fn new(what: What, because: Option<&Cause>) -> Self {
        let because = because.and_then(|cause| cause.truncated(MAX_CHAIN - 1));
        Self(Arc::new(Link { what, because }))
    }

    /// Whether a plugin's own write did this: it made the change itself, or another plugin of this host answered its
    /// write to the object with one of its own; or a run that this asked for failed, and is tried again.
    pub(crate) fn is_of(&self, plugin: &str) -> bool {
        if let (What::Retry { .. }, Some(because)) = (&self.what, &self.because) {
            return because.is_of(plugin);
        }
        let wrote = |what: &What| match what {
            What::Changed {
                kind,
                key,
                writer: Some(writer),
                ..
            } => Some((kind.clone(), key.clone(), **writer == *plugin)),
            _ => None,
        };
        let Some((kind, key, own)) = wrote(&self.what) else {
            return false;
        };
        own || self.because.as_ref().and_then(|because| wrote(&because.what)) == Some((kind, key, true))
    }

    /// Itself and what lies behind it, nearest first.
    pub fn chain(&self) -> impl Iterator<Item = &Cause> {
        std::iter::successors(Some(self), |cause| cause.because.as_ref())
    }

    fn truncated(&self, links: usize) -> Option<Self> {
        if links == 0 {
            return None;
        }
        if self.chain().nth(links).is_none() {
            return Some(self.clone());
        }
        let because = self.because.as_ref().and_then(|cause| cause.truncated(links - 1));
        let what = self.what.clone();
        Some(Self(Arc::new(Link { what, because })))
    }
}

impl Deref for Cause {
    type Target = Link;
    fn deref(&self) -> &Link {
        &self.0
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed {
                kind,
                key,
                change,
                via,
                writer,
                ..
            } => {
                write!(
                    f,
                    "{} {} {}",
                    kind.kind,
                    escape_control(&key.to_string()),
                    change.as_str()
                )?;
                if &**via != ITSELF {
                    write!(f, " [{}]", escape_control(via))?;
                }
                if let Some(writer) = writer {
                    write!(f, " by {writer}")?;
                }
                Ok(())
            }
            Self::Resync => f.write_str("resync"),
            Self::Woken { by } => write!(f, "woken by {}", by.as_str()),
            Self::Requeue { after } => write!(f, "asked to run again after {after:?}"),
            Self::Retry { failures, reason } => {
                write!(f, "retry {failures} after {}", escape_control(&shorten(reason, 120)))
            }
        }
    }
}

impl fmt::Display for Cause {
    /// The chain on one line, nearest first: `ConfigMap a/b updated [owner (controller)] ← Greeting a/b created`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, cause) in self.chain().enumerate() {
            if i > 0 {
                f.write_str(" ← ")?;
            }
            write!(f, "{}", cause.what)?;
        }
        Ok(())
    }
}

/// The `via` of a primary object's own change.
pub const ITSELF: &str = "itself";

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, via: &str) -> What {
        What::Changed {
            kind: Gvk::new("", "v1", "ConfigMap"),
            key: Key::new(Some("ns"), name),
            change: Change::Updated,
            version: Version::new("1"),
            via: via.into(),
            writer: None,
        }
    }

    #[test]
    fn a_chain_reads_from_the_nearest_cause_back() {
        let first = Cause::new(changed("a", ITSELF), None);
        let second = Cause::new(changed("b", "owner (controller)"), Some(&first));
        assert_eq!(
            second.to_string(),
            "ConfigMap ns/b updated [owner (controller)] ← ConfigMap ns/a updated"
        );
    }

    #[test]
    fn a_chain_never_grows_beyond_its_bound() {
        let mut cause = Cause::new(What::Resync, None);
        for _ in 0..100 {
            cause = Cause::new(
                What::Requeue {
                    after: Duration::from_secs(1),
                },
                Some(&cause),
            );
            assert!(cause.chain().count() <= MAX_CHAIN);
        }
        assert_eq!(cause.chain().count(), MAX_CHAIN);
    }

    #[test]
    fn foreign_text_in_a_cause_is_escaped() {
        let retry = What::Retry {
            failures: 2,
            reason: "\u{1b}[31mred".into(),
        };
        assert_eq!(retry.to_string(), "retry 2 after \\u{1b}[31mred");
    }
}
