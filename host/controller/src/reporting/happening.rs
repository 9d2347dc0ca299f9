//! What happens in the host, for whoever shows or records it (`dev`'s stream, logs).

use std::{fmt, sync::Arc, time::Duration};

use pilothouse_gate::breaker::{Change, Why};
use pilothouse_lifecycle::{Hash, Plugin};
use pilothouse_object::{Gvk, Key, Version};
use pilothouse_runtime::{CallError, Failure, Level, Outcome};

use crate::{Cause, ControllerId, HotLoop};

/// Hears what happens. Called from the host's tasks: it must not block, and what is slow about it delays reconciles.
pub trait Observer: Send + Sync {
    /// One thing happened.
    fn happened(&self, happening: &Happening);
}

/// One thing that happened. Texts of guests and servers in it are as they came: escape them before showing them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Happening {
    /// A controller's informers hold their first lists; it starts to run.
    Started {
        /// Which controller.
        id: ControllerId,
    },
    /// Another version of a plugin serves: no key begins on the one before any more.
    Swapped {
        /// What served until now.
        before: Arc<Plugin>,
        /// What serves.
        now: Arc<Plugin>,
    },
    /// A plugin is gone, with its watches, queues and metrics.
    Unloaded {
        /// Its name.
        plugin: Arc<str>,
    },
    /// A run ended.
    Reconciled(Box<Reconciled>),
    /// A plugin's breaker opened, or let calls through again.
    Breaker {
        /// Which plugin's.
        plugin: Arc<str>,
        /// What it did.
        change: Change,
    },
    /// A key goes round in circles, and is slowed; told once for each time that it is found to.
    HotLoop(HotLoop),
    /// A plugin wrote a log line.
    Logged {
        /// Which controller's run.
        id: ControllerId,
        /// For which object.
        key: Key,
        /// How grave.
        level: Level,
        /// The message.
        message: String,
        /// Its fields.
        fields: Vec<(String, String)>,
    },
}

/// A run that ended.
#[derive(Debug)]
pub struct Reconciled {
    /// Which controller.
    pub id: ControllerId,
    /// Which module ran.
    pub module: Hash,
    /// By which words of the operator's.
    pub configuration: Hash,
    /// The kind it reconciles.
    pub kind: Gvk,
    /// For which object.
    pub key: Key,
    /// The version of the object that it ran on; none where it was gone.
    pub version: Option<Version>,
    /// Why it ran, the first causes first.
    pub causes: Vec<Cause>,
    /// How many more causes there were.
    pub causes_omitted: u64,
    /// 1 for the first try since the key last went well.
    pub attempt: u32,
    /// What the plugin answered, or how the host ended the call.
    pub result: Result<Result<Outcome, Failure>, CallError>,
    /// When it runs again by itself.
    pub again_after: Option<Duration>,
    /// The key stands among the parked ones now.
    pub parked: bool,
    /// From the start of the call to its end.
    pub wall: Duration,
    /// What of it the plugin computed.
    pub cpu: Duration,
    /// What it wrote, in order.
    pub writes: Vec<Written>,
}

/// One write that a run sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// How.
    pub verb: WriteVerb,
    /// The kind written to.
    pub kind: Gvk,
    /// Which object.
    pub key: Key,
    /// Which subresource.
    pub subresource: Option<Arc<str>>,
    /// The paths that a patch names, at most 8; never their values.
    pub paths: Vec<String>,
    /// What became of it.
    pub end: WriteEnd,
}

/// How something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    /// Created.
    Create,
    /// Patched.
    Patch,
    /// Replaced.
    Replace,
    /// Removed.
    Remove,
}

impl WriteVerb {
    /// The verb's past tense, for people.
    pub fn past(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Patch => "patched",
            Self::Replace => "replaced",
            Self::Remove => "removed",
        }
    }
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteEnd {
    /// The server did it; the version it made, where it told one.
    Done(Option<Version>),
    /// The server refused it: the reason and the message.
    Refused(String),
    /// No answer came: it may have happened.
    Unknown(String),
    /// A dry run: checked and not stored.
    DryRun,
    /// Not sent: the same went through before, and the object is still at the version that it had then.
    Repeated(Version),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.verb.past(), self.kind.kind, self.key)?;
        if let Some(subresource) = &self.subresource {
            write!(f, "/{subresource}")?;
        }
        if !self.paths.is_empty() {
            write!(f, " ({})", self.paths.join(", "))?;
        }
        match &self.end {
            WriteEnd::Done(_) => Ok(()),
            WriteEnd::Refused(why) => write!(f, " – refused: {why}"),
            WriteEnd::Unknown(why) => write!(f, " – outcome unknown: {why}"),
            WriteEnd::DryRun => f.write_str(" – dry run"),
            WriteEnd::Repeated(_) => f.write_str(" – not sent: it went through before, and nothing has changed since"),
        }
    }
}

/// What a breaker did, in words for people.
pub fn breaker_words(change: &Change) -> String {
    match change {
        Change::Opened { lasts, why } => {
            let why = why_words(why);
            format!(
                "{why}: its keys wait for {:.1} s, then a few are tried",
                lasts.as_secs_f64()
            )
        }
        Change::HalfOpened => "a few keys are tried again, to see how they go".to_owned(),
        Change::Closed => "keys go well again: what waited is let go, slowly at first".to_owned(),
        Change::Quarantined { why, trips } => format!(
            "{}, for the {trips}th time within a short time: it is quarantined, and its keys wait until a new version, a \
             new configuration or an operator lets it go on",
            why_words(why)
        ),
    }
}

/// Why a breaker opened, in words for people.
pub fn why_words(why: &Why) -> String {
    match why {
        Why::Failures { failed, calls } => format!("{failed} of its last {calls} reconciles failed"),
        Why::Slow { slow, calls } => format!("{slow} of its last {calls} reconciles were slow"),
        Why::InARow { failed } => format!("{failed} reconciles failed in a row"),
        Why::Probes { failed } => format!("{failed} of the keys that were tried again did not go well"),
    }
}
