//! A transcript: command lines run on both servers, and what differs held against the list.

use std::collections::BTreeMap;
use std::sync::{Once, OnceLock};

use pilothouse_conformance::{Difference, Differences, LocalServer};
use pilothouse_realcluster::{ControlPlane, Controllers, Options};

use crate::compared::{Said, difference};
use crate::side::{Running, Side};

/// The topic of all transcripts in the list of differences.
const TOPIC: &str = "kubectl";

/// The custom resource of the transcripts: with status, scale and columns of its own.
const WIDGETS: &str = include_str!("widgets.yaml");

/// Succeeds once OpenAPI has the custom resource, in both versions.
const EXPLAINS: &str = "kubectl explain widget --output=plaintext-openapiv2 && kubectl explain widget";

/// All transcripts.
const NAMES: [&str; 29] = [
    "apply",
    "apply-server-side",
    "auth",
    "create",
    "definitions",
    "delete",
    "delete-namespace",
    "describe",
    "diff",
    "discovery",
    "edit",
    "events",
    "explain",
    "finalizers",
    "generators",
    "get-columns",
    "get-kinds",
    "get-outputs",
    "get-selectors",
    "labels",
    "patch",
    "patch-strategic",
    "propagation",
    "replace",
    "rollout",
    "scale",
    "wait",
    "watch",
    "watch-widgets",
];

/// The real server. It runs no controllers but those that the local cluster has too.
fn plane() -> &'static ControlPlane {
    static SHARED: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let options = Options {
        controllers: Controllers::GarbageCollection,
        objects: vec![WIDGETS.to_owned()],
        ..Options::default()
    };
    ControlPlane::shared_as(&SHARED, &options)
}

/// Command lines that are run on both servers, in namespaces of the same name.
pub(crate) struct Transcript {
    name: &'static str,
    /// The real server, and ours.
    sides: [Side; 2],
    /// How often each command line was run.
    lines: BTreeMap<String, usize>,
    count: usize,
    found: Vec<Difference>,
    /// Whether what differs was held against the list.
    checked: bool,
    _local: LocalServer,
}

/// A command that runs on both servers.
pub(crate) struct Background {
    request: String,
    running: [Running; 2],
}

impl Transcript {
    /// A transcript in a new namespace of this name.
    pub(crate) fn new(name: &'static str) -> Self {
        assert!(
            NAMES.contains(&name),
            "add {name:?} to NAMES: what the list has of other transcripts is stale"
        );
        let plane = plane();
        let local = LocalServer::start();
        let kubectl = plane.kubectl_path();
        // All of it goes with the servers.
        let real_home = plane.home().join(TOPIC);
        let sides = [
            Side::new("real", &real_home.join(name), &real_home, plane.kubeconfig(), &kubectl),
            Side::new(
                "ours",
                &local.home().join(name),
                local.home(),
                &local.kubeconfig(),
                &kubectl,
            ),
        ];
        static READY: Once = Once::new();
        // It tells of the schemas of custom resources a moment after it serves them.
        READY.call_once(|| {
            sides[0].must(&format!(
                "for i in $(seq 300); do {EXPLAINS} && exit 0; sleep 0.1; done; exit 1"
            ))
        });
        sides[1].file(".widgets.yaml", WIDGETS);
        sides[1].must("kubectl create -f .widgets.yaml");
        let namespace =
            format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{for: {name}}}}}\n");
        for side in &sides {
            side.file(".namespace.yaml", &namespace);
            side.must("kubectl create -f .namespace.yaml");
            side.must(&format!("kubectl config set-context --current --namespace={name}"));
        }
        Self {
            name,
            sides,
            lines: BTreeMap::new(),
            count: 0,
            found: Vec::new(),
            checked: false,
            _local: local,
        }
    }

    /// Puts a file where the commands run.
    pub(crate) fn file(&self, name: &str, text: &str) {
        for side in &self.sides {
            side.file(name, text);
        }
    }

    /// Runs a command line that succeeds on a real server.
    pub(crate) fn run(&mut self, line: &str) {
        let (request, [real, ours]) = self.both(line);
        assert_eq!(
            real.code,
            Some(0),
            "{request} should succeed on a real server: {}",
            real.whole()
        );
        self.compare(request, &real, &ours);
    }

    /// Runs a command line that fails on a real server.
    pub(crate) fn fails(&mut self, line: &str) {
        let (request, [real, ours]) = self.both(line);
        assert_ne!(
            real.code,
            Some(0),
            "{request} should fail on a real server: {}",
            real.whole()
        );
        self.compare(request, &real, &ours);
    }

    fn both(&mut self, line: &str) -> (String, [Said; 2]) {
        let Background { request, running } = self.background(line);
        (request, running.map(Running::end))
    }

    /// Starts a command line on both servers.
    pub(crate) fn background(&mut self, line: &str) -> Background {
        self.count += 1;
        let number = self.count;
        let times = self.lines.entry(line.to_owned()).or_default();
        *times += 1;
        let again = if *times > 1 {
            format!(" ({times})")
        } else {
            String::new()
        };
        Background {
            request: format!("{}: {line}{again}", self.name),
            running: [0, 1].map(|side| self.sides[side].start(line, number)),
        }
    }

    /// Waits until the command's output has this text on both servers. Where it does not come, that shows in what
    /// differs.
    pub(crate) fn shows(&mut self, command: &mut Background, text: &str) {
        self.shows_times(command, text, 1);
    }

    /// The same, for a text that is to stand there so often.
    pub(crate) fn shows_times(&mut self, command: &mut Background, text: &str, times: usize) {
        let [real, ours] = &mut command.running;
        assert!(
            real.shows(text, times),
            "{}: {text:?} should be shown {times} times on a real server",
            command.request
        );
        ours.shows(text, times);
    }

    /// Waits until the command, which has `-v=6`, watches on both servers: what happens then it sees.
    pub(crate) fn watches(&mut self, command: &mut Background) {
        let [real, ours] = &mut command.running;
        assert!(
            real.watches(),
            "{}: a watch should begin on a real server",
            command.request
        );
        ours.watches();
    }

    /// Waits until the command ends by itself, which it does with success on a real server.
    pub(crate) fn ends(&mut self, command: Background) {
        let [real, ours] = command.running.map(Running::end);
        assert_eq!(real.code, Some(0), "{}: {}", command.request, real.whole());
        self.compare(command.request, &real, &ours);
    }

    /// Ends a command that would run on.
    pub(crate) fn stop(&mut self, command: Background) {
        let [real, ours] = command.running.map(Running::stop);
        self.compare(command.request, &real, &ours);
    }

    fn compare(&mut self, request: String, real: &Said, ours: &Said) {
        if let Some([real, ours]) = difference(real, ours) {
            self.found.push(Difference {
                topic: TOPIC.to_owned(),
                request,
                real,
                ours,
            });
        }
    }

    /// Holds what differs against the list.
    pub(crate) fn end(mut self) {
        self.checked = true;
        let mut found = std::mem::take(&mut self.found);
        found.sort_by(|a, b| a.request.cmp(&b.request));
        let own = Differences::load().beginning(TOPIC, &format!("{}: ", self.name));
        if let Err(why) = own.check(TOPIC, &found) {
            panic!(
                "{}: {} of {} commands differ\n{why}",
                self.name,
                found.len(),
                self.count
            );
        }
        println!(
            "{}: {} of {} commands differ, as listed",
            self.name,
            found.len(),
            self.count
        );
    }
}

impl Drop for Transcript {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        assert!(
            failed || self.checked,
            "{}: call `end`, or nothing was tested",
            self.name
        );
    }
}

#[test]
fn everything_listed_is_of_a_transcript() {
    for entry in Differences::load().iter().filter(|entry| entry.topic == TOPIC) {
        let name = entry.request.split(": ").next().unwrap_or_default();
        assert!(
            NAMES.contains(&name),
            "no transcript {name:?}: delete this from the list:\n{entry}"
        );
    }
}
