//! Keys that go round in circles, as the dispatcher slows them: which, by what, and until when. Pure.
//!
//! Whether a key loops is the gate's to say ([`HotLoops`]); here are the hashes that it goes by, and what becomes of
//! such a key: whatever asks for it, it does not run before its pause is over. It is never stopped, and nothing is
//! dropped.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

use pilothouse_gate::hot_loop::{HotLoops, QUIET, Run, Wrote};
use pilothouse_object::{Gvk, Key, Object, escape_control};

use crate::{
    ControllerId, Dispatcher, Job, What,
    scheduling::changed::{Changed, Field, content, shown},
};

/// Keys of one controller that are slowed at once, at most. The gate knows no more of them than this.
const MAX_HELD: usize = 8_192;

/// A key that its plugin's own writes wake again and again, and nothing comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotLoop {
    /// Whose key.
    pub id: ControllerId,
    /// Which key.
    pub key: Key,
    /// The kind of the object that is written again and again.
    pub kind: Gvk,
    /// Which object.
    pub object: Key,
    /// The fields that flap, at most 8, escaped; none: the object itself is made or removed again and again.
    pub fields: Vec<String>,
    /// The same content comes back; else run after run changes the same fields.
    pub came_back: bool,
    /// Who makes it necessary.
    pub other: Other,
    /// How many runs in a row were part of it since it was found.
    pub rounds: u32,
    /// The key's pause after the last of them.
    pub pause: Duration,
}

/// Who is on the other side of a hot loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// Nobody: the plugin's own writes alone.
    Itself,
    /// This field manager; its name is escaped.
    Manager(String),
    /// Somebody of whom nothing is known.
    Unknown,
}

impl fmt::Display for HotLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = format!("{} {}", self.kind.kind, escape_control(&self.object.to_string()));
        let what = match &self.fields[..] {
            [] => "the object itself".to_owned(),
            fields => fields.join(", "),
        };
        let how = if self.came_back {
            "sets the same again and again"
        } else {
            "changes the same again and again"
        };
        write!(f, "it {how}: {what} of {object}; ")?;
        match &self.other {
            Other::Itself => f.write_str("nobody else writes there, it wakes itself")?,
            Other::Manager(manager) => write!(f, "on the other side is the field manager {manager}")?,
            Other::Unknown => f.write_str("who is on the other side is not known")?,
        }
        write!(
            f,
            "; it runs no sooner than after {:?} now, longer with each time",
            self.pause
        )
    }
}

/// The keys of one controller.
#[derive(Debug, Default)]
pub(crate) struct Slowed {
    loops: HotLoops,
    held: HashMap<Key, Held>,
    /// Runs that were found to be part of a loop.
    pub(crate) runs: u64,
}

#[derive(Debug)]
struct Held {
    until: Duration,
    told: bool,
    fields: Vec<Field>,
    is: HotLoop,
}

impl Slowed {
    /// Nothing is known of any key yet, but of so many runs in loops.
    pub(crate) fn counted(runs: u64) -> Self {
        Self {
            runs,
            ..Self::default()
        }
    }

    /// For how long the key must not run yet.
    pub(crate) fn left(&self, now: Duration, key: &Key) -> Option<Duration> {
        let left = self.held.get(key)?.until.saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// Somebody looks into the key, or it is another plugin's business now.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.held.remove(key);
        self.loops.forget(hash(key));
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.held.keys()
    }

    pub(crate) fn loops(&self, now: Duration) -> impl Iterator<Item = &HotLoop> {
        let held = self.held.values();
        held.filter(move |held| now <= held.until + QUIET).map(|held| &held.is)
    }
}

/// What a run did, as far as loops are concerned.
pub(crate) struct Did<'a> {
    changed: &'a [Changed],
    /// Nothing but the plugin's own writes asked for it.
    own: bool,
    wrote: Vec<Wrote>,
    /// It failed: where it wrote nothing either, it did not come to rest.
    failed: bool,
}

impl<'a> Did<'a> {
    /// What a run of this job changed. Not while the dispatcher is locked: it reads what was written.
    pub(crate) fn of(job: &Job, changed: &'a [Changed], failed: bool) -> Self {
        let causes = &job.taken.causes;
        let all = causes.omitted() == 0 && causes.first().is_some();
        let own = !changed.is_empty() && all && causes.iter().all(|cause| cause.is_of(&job.id.plugin));
        Self {
            changed,
            own,
            wrote: changed.iter().map(|changed| wrote(changed, own)).collect(),
            failed,
        }
    }
}

impl Dispatcher {
    /// A run of the job's key ended, and its verdict has not been told yet. Where it is part of a hot loop the key has
    /// its pause from then on. Answers what is to be told: once for each loop, as soon as it is known who is on the
    /// other side.
    pub(crate) fn ran(&mut self, now: Duration, job: &Job, did: &Did<'_>) -> Option<HotLoop> {
        if did.failed && did.wrote.is_empty() {
            return None;
        }
        let slowed = &mut self.entries.get_mut(&job.id)?.slowed;
        let key = &job.taken.key;
        let run = Run {
            own: did.own,
            wrote: &did.wrote,
        };
        let looping = slowed.loops.ended(now, hash(key), run)?;
        let changed = did.changed.get(looping.write)?;
        slowed.runs += 1;
        let fields = changed.fields();
        let mut other = other(job, changed);
        // Somebody's change may be read before it is heard of: what was written over was not the key's own then.
        let own = |was: &Object| {
            let object = hash(&(&changed.kind, &changed.key));
            slowed.loops.made(hash(key), object, hash(&was.head().version))
        };
        if other == Other::Itself && !changed.before.as_ref().is_none_or(own) {
            other = Other::Unknown;
        }
        let before = slowed.held.get(key).filter(|held| now <= held.until + QUIET);
        let mut told = before.is_some_and(|held| held.told);
        if let (Other::Unknown, Some(before)) = (&other, before) {
            other = before.is.other.clone();
        }
        let is = HotLoop {
            id: job.id.clone(),
            key: key.clone(),
            kind: changed.kind.clone(),
            object: changed.key.clone(),
            fields: fields.iter().map(shown).collect(),
            came_back: looping.came_back,
            other,
            rounds: looping.round,
            pause: looping.pause,
        };
        let tell = (!told && is.other != Other::Unknown).then(|| is.clone());
        told |= tell.is_some();
        let until = now.saturating_add(looping.pause);
        slowed.held.retain(|_, held| now <= held.until + QUIET);
        if slowed.held.len() < MAX_HELD || slowed.held.contains_key(key) {
            slowed.held.insert(
                key.clone(),
                Held {
                    until,
                    told,
                    fields,
                    is,
                },
            );
        }
        tell
    }

    /// The object of which it is to be found out who else writes to it, and in which fields: the key of this job loops,
    /// and somebody whom this host does not know has written there again.
    pub(crate) fn unnamed(&self, job: &Job) -> Option<(Gvk, Key, Vec<Field>)> {
        let held = self.entries.get(&job.id)?.slowed.held.get(&job.taken.key)?;
        let is = &held.is;
        (!held.told).then(|| (is.kind.clone(), is.object.clone(), held.fields.clone()))
    }

    /// That was found out, or could not be. Answers what is to be told.
    pub(crate) fn named(&mut self, job: &Job, other: Other) -> Option<HotLoop> {
        let held = self.entries.get_mut(&job.id)?.slowed.held.get_mut(&job.taken.key)?;
        held.is.other = other;
        (!std::mem::replace(&mut held.told, true)).then(|| held.is.clone())
    }

    pub(crate) fn slowed(&self, id: &ControllerId) -> Option<&Slowed> {
        self.entries.get(id).map(|entry| &entry.slowed)
    }

    /// The keys that go round in circles.
    pub fn hot_loops(&self, now: Duration) -> impl Iterator<Item = &HotLoop> {
        self.entries.values().flat_map(move |entry| entry.slowed.loops(now))
    }
}

fn wrote(changed: &Changed, own: bool) -> Wrote {
    Wrote {
        object: hash(&(&changed.kind, &changed.key)),
        content: changed.after.as_ref().map_or(0, content),
        version: hash(&changed.mark),
        // To compare costs more than to hash, and nobody asks but where own writes woke the key.
        paths: if own { hash(&changed.fields()) } else { 0 },
    }
}

/// Who made the plugin write, by what asked for its run.
fn other(job: &Job, changed: &Changed) -> Other {
    let plugin = &*job.id.plugin;
    let mut all_own = job.taken.causes.omitted() == 0;
    for cause in job.taken.causes.iter() {
        let What::Changed { kind, key, writer, .. } = &cause.what else {
            all_own = false;
            continue;
        };
        match writer {
            Some(writer) if **writer == *plugin => {}
            Some(writer) if *kind == changed.kind && *key == changed.key => {
                return Other::Manager(format!("pilothouse/{writer}"));
            }
            _ => all_own = false,
        }
    }
    if all_own { Other::Itself } else { Other::Unknown }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "hot_loops_tests.rs"]
mod tests;
