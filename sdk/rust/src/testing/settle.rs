//! Running a plugin until it has nothing more to do.

use super::Fake;
use super::cluster::Place;
use super::select::labels_match;
use crate::error::{Failure, Outcome};
use crate::manifest::ControllerEntry;
use crate::wire::ObjectRef;

/// After this many rounds a plugin that still writes is taken to run in circles.
const ROUNDS: usize = 50;

/// One run of one controller for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The controller's name.
    pub controller: String,
    /// The object.
    pub key: ObjectRef,
    /// What came of it.
    pub result: Result<Outcome, Failure>,
}

/// What [`Fake::settle`] saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Every run, oldest first.
    pub runs: Vec<Run>,
    /// What came of the last round, in which nothing changed: one run for each object.
    pub last: Vec<Run>,
}

impl Settled {
    /// What still failed in the end.
    pub fn failures(&self) -> Vec<&Failure> {
        self.last.iter().filter_map(|run| run.result.as_ref().err()).collect()
    }
}

impl Fake {
    /// Runs all controllers for all their objects, and the garbage collector, in rounds until a round changes nothing.
    /// Objects that vanished are run once as gone. Failed runs are run again in the next round, whatever they said about
    /// when.
    ///
    /// # Panics
    /// If the plugin still writes after 50 rounds: it runs in circles, and the message shows its last writes.
    #[track_caller]
    pub fn settle(&self) -> Settled {
        let mut settled = Settled::default();
        for _ in 0..ROUNDS {
            let before = self.state().cluster.version();
            settled.last.clear();
            for entry in &self.plugin.manifest().controllers {
                for key in self.keys(entry) {
                    let result = self.run(&entry.name, key.clone());
                    settled.last.push(Run {
                        controller: entry.name.clone(),
                        key,
                        result,
                    });
                }
            }
            settled.runs.extend_from_slice(&settled.last);
            self.run_gone(&mut settled);
            let now = self.now();
            self.state().cluster.collect_garbage(now);
            let state = self.state();
            if state.cluster.version() == before && state.cluster.gone.is_empty() {
                return settled;
            }
        }
        let writes = self.writes();
        let last: Vec<String> = writes[writes.len().saturating_sub(4)..]
            .iter()
            .map(|write| format!("{:?} {}: {}", write.verb, write.target, write.body))
            .collect();
        panic!(
            "the plugin still writes after {ROUNDS} rounds; its last writes:\n{}",
            last.join("\n")
        );
    }

    fn keys(&self, entry: &ControllerEntry) -> Vec<ObjectRef> {
        let state = self.state();
        let objects = state.cluster.of_kind(&entry.kind.group, &entry.kind.kind);
        objects
            .filter(|(place, object)| {
                in_namespaces(entry, place)
                    && labels_match(&entry.selector, &object["metadata"]["labels"]).unwrap_or_default()
            })
            .map(|(place, _)| key(entry, place))
            .collect()
    }

    fn run_gone(&self, settled: &mut Settled) {
        let gone = std::mem::take(&mut self.state().cluster.gone);
        for place in gone {
            for entry in &self.plugin.manifest().controllers {
                if (&entry.kind.group, &entry.kind.kind) == (&place.0, &place.1) && in_namespaces(entry, &place) {
                    let key = key(entry, &place);
                    let result = self.run(&entry.name, key.clone());
                    settled.runs.push(Run {
                        controller: entry.name.clone(),
                        key,
                        result,
                    });
                }
            }
        }
    }
}

fn in_namespaces(entry: &ControllerEntry, place: &Place) -> bool {
    entry.namespaces.is_empty()
        || place
            .2
            .as_ref()
            .is_some_and(|namespace| entry.namespaces.contains(namespace))
}

fn key(entry: &ControllerEntry, place: &Place) -> ObjectRef {
    ObjectRef {
        kind: entry.kind.clone(),
        namespace: place.2.clone(),
        name: place.3.clone(),
    }
}
