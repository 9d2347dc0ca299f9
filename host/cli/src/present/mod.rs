//! From what happens in the host to lines that people or machines read. Pure: times come from outside, text goes out.
//!
//! Promises: foreign text (of plugins and servers) is bounded and shown with its control characters escaped; every JSON
//! object stands on one line of its own. A plugin's log lines are shown with the run they belong to: they wait for its
//! end, but at most [`LOG_PATIENCE`].

mod json;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use pilothouse_controller::{ControllerId, Happening};
use pilothouse_object::{Gvk, Key};
use pilothouse_runtime::Level;

pub(crate) use json::{harmless, json_line};
pub(crate) use text::{Ink, Style, duration};

use crate::args::LogFormat;

/// So long a plugin's log line waits for the end of its run before it is shown alone.
pub(crate) const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// When something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the program started.
    pub(crate) since_start: Duration,
    /// Since the Unix epoch.
    pub(crate) wall: Duration,
}

/// One thing that the program itself did, for the same stream.
#[derive(Debug)]
pub(crate) enum Note<'a> {
    /// The local API server answers.
    Serving {
        /// Its address: `http://127.0.0.1:PORT`.
        server: &'a str,
        /// Where the kubeconfig was written.
        kubeconfig: &'a Path,
    },
    /// A given cluster is used.
    Using {
        /// Its address.
        server: &'a str,
        /// Where that came from: `~/.kube/config, context kind`.
        source: &'a str,
    },
    /// A plugin was loaded.
    Loaded {
        /// Its name.
        plugin: &'a str,
        /// Its own version.
        version: &'a str,
        /// How many things it may do because it asked, where nobody granted anything; none: the operator granted.
        asked: Option<usize>,
        /// Whether the cluster is one in memory.
        local: bool,
    },
    /// An object of a file was applied.
    Applied {
        /// What became of it: `created`, `configured` or `unchanged`.
        done: &'static str,
        /// Its kind.
        kind: &'a Gvk,
        /// Which object.
        key: &'a Key,
        /// The file it stands in.
        file: &'a Path,
    },
    /// Everything that was waited for is there.
    Ready,
    /// Nothing is left to do.
    Settled,
    /// The end has begun.
    Stopping {
        /// Why: a signal's name, or what else.
        why: &'a str,
    },
    /// Lines were left out since the reader was too slow.
    Lost {
        /// How many pieces.
        pieces: u64,
    },
}

/// Makes the stream. One for each stream: it holds log lines back until their run ends.
pub(crate) struct Presenter {
    format: LogFormat,
    style: Style,
    /// Log lines less grave than this are left out.
    level: Level,
    held: BTreeMap<(ControllerId, Key), Held>,
    failing: BTreeSet<(ControllerId, Key)>,
}

/// Log lines of a run that hasn't ended.
struct Held {
    since: Duration,
    /// Rendered, without indentation.
    lines: Vec<String>,
}

impl Presenter {
    pub(crate) fn new(format: LogFormat, style: Style, level: Level) -> Self {
        Self {
            format,
            style,
            level,
            held: BTreeMap::new(),
            failing: BTreeSet::new(),
        }
    }

    /// What is shown of a happening; may be empty.
    pub(crate) fn happened(&mut self, at: Moment, happening: &Happening) -> String {
        if let Happening::Reconciled(run) = happening {
            let run_of = (run.id.clone(), run.key.clone());
            if run.parked || !matches!(run.result, Ok(Ok(_))) {
                self.failing.insert(run_of);
            } else {
                self.failing.remove(&run_of);
            }
        }
        if let Happening::Logged { level, .. } = happening
            && gravity(*level) > gravity(self.level)
        {
            return String::new();
        }
        if self.format == LogFormat::Json {
            return json::happening(at, happening)
                .map(|value| json_line(&value))
                .unwrap_or_default();
        }
        match happening {
            Happening::Reconciled(run) => {
                let held = self.held.remove(&(run.id.clone(), run.key.clone()));
                text::reconciled(self.style, at, run, held.as_ref().map_or(&[], |held| &held.lines))
            }
            Happening::Logged {
                id,
                key,
                level,
                message,
                fields,
            } => {
                let line = text::log_line(self.style, *level, message, fields);
                let held = self.held.entry((id.clone(), key.clone()));
                held.or_insert_with(|| Held {
                    since: at.since_start,
                    lines: Vec::new(),
                })
                .lines
                .push(line);
                String::new()
            }
            Happening::Started { id } => text::started(self.style, at, id),
            Happening::Swapped { now, .. } => text::swapped(self.style, at, now),
            Happening::Unloaded { plugin } => text::unloaded(self.style, at, plugin),
            Happening::HotLoop(found) => text::hot_loop(self.style, at, found),
            _ => String::new(),
        }
    }

    /// Log lines that have waited long enough; call it a few times a second.
    pub(crate) fn tick(&mut self, at: Moment) -> String {
        let late: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| at.since_start.saturating_sub(held.since) >= LOG_PATIENCE)
            .map(|(run, _)| run.clone())
            .collect();
        let mut out = String::new();
        for run in late {
            if let Some(held) = self.held.remove(&run) {
                out.push_str(&text::still_running(self.style, at, &run.0, &run.1, &held.lines));
            }
        }
        out
    }

    /// What is shown of a thing that the program did.
    pub(crate) fn note(&self, at: Moment, note: &Note<'_>) -> String {
        match self.format {
            LogFormat::Json => json_line(&json::note(at, note)),
            LogFormat::Text => text::note(self.style, at, note),
        }
    }

    /// The objects whose last run failed, or that are parked.
    pub(crate) fn failing(&self) -> &BTreeSet<(ControllerId, Key)> {
        &self.failing
    }
}

/// 0 for the gravest.
fn gravity(level: Level) -> u8 {
    match level {
        Level::Error => 0,
        Level::Warn => 1,
        Level::Info => 2,
        Level::Debug => 3,
        Level::Trace => 4,
    }
}

/// A level's name.
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

#[cfg(test)]
pub(crate) mod tests;
