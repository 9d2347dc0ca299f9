//! A program that runs: its lines as they come, signals, and its end.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::on::Cluster;
use crate::{Api, PATIENCE, within_patience};

/// The last lines of each stream that a failed test shows.
const SHOWN: usize = 60;

/// What a stream has had so far.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Every whole line.
    fn lines(&self) -> Vec<String> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    async fn read(self, mut stream: impl AsyncRead + Unpin) {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut piece).await {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(&piece[..length]);
        }
    }
}

/// A program that runs; killed when it is dropped.
pub struct Host {
    child: Child,
    out: Said,
    err: Said,
    readers: JoinSet<()>,
    cluster: Cluster,
    namespace: String,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl Host {
    /// Starts it; stdout and stderr must be piped.
    ///
    /// # Panics
    /// If it can't be started.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{program} can't be started ({error}). Tests that run kubectl need one: `cargo xtask test` provides it, or \
                 install it, or set KUBECTL to its path"
            )
        });
        let (out, err, mut readers) = (Said::default(), Said::default(), JoinSet::new());
        readers.spawn(out.clone().read(child.stdout.take().expect("piped")));
        readers.spawn(err.clone().read(child.stderr.take().expect("piped")));
        Self {
            child,
            out,
            err,
            readers,
            cluster: Cluster::Local,
            namespace: "default".to_owned(),
        }
    }

    /// The same, of a test that meets that API server and has that namespace for its own.
    pub(crate) fn of(mut self, cluster: Cluster, namespace: &str) -> Self {
        self.cluster = cluster;
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// The lines on stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.out.lines()
    }

    /// The lines on stderr so far.
    pub fn stderr(&self) -> Vec<String> {
        self.err.lines()
    }

    /// What `dev --log-format json` streamed so far.
    pub fn events(&self) -> Vec<Value> {
        parsed(&self.stdout())
    }

    /// What was logged as JSON so far.
    pub fn log(&self) -> Vec<Value> {
        parsed(&self.stderr())
    }

    /// How many of the log lines so far are of this kind.
    pub fn count(&self, is_meant: impl Fn(&Value) -> bool) -> usize {
        self.log().iter().filter(|line| is_meant(line)).count()
    }

    /// The runs of an object in the test's namespace that ended so far, as `dev` streams them.
    pub fn runs(&self, kind: &str, name: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|e| {
            e["event"] == "reconciled" && e["kind"] == kind && e["namespace"] == self.namespace && e["name"] == name
        });
        events
    }

    /// Waits until `look` answers something.
    ///
    /// # Panics
    /// After [`PATIENCE`], or once the program has ended, with what it said.
    #[track_caller]
    pub fn until<T>(&self, what: &str, look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        async move {
            match within_patience(look).await {
                Some(found) => found,
                None => panic!("{caller}: not within {PATIENCE:?}: {what}\n{}", self.said()),
            }
        }
    }

    /// Waits for an event of `dev`'s stream.
    #[track_caller]
    pub fn event(&self, what: &str, is_meant: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
        self.until(what, async move || {
            self.events().into_iter().find(|event| is_meant(event))
        })
    }

    /// Waits for a log line.
    #[track_caller]
    pub fn logged(&self, what: &str, is_meant: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
        self.until(what, async move || self.log().into_iter().find(|line| is_meant(line)))
    }

    /// Waits for the end of a run of an object in the test's namespace, as `dev` streams it.
    #[track_caller]
    pub fn run_of(&self, kind: &str, name: &str, is_meant: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
        let what = format!("a run of {kind} {}/{name} that is meant here", self.namespace);
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let caller = std::panic::Location::caller();
        async move {
            let look = async || self.runs(&kind, &name).into_iter().find(|run| is_meant(run));
            match within_patience(look).await {
                Some(found) => found,
                None => panic!("{caller}: not within {PATIENCE:?}: {what}\n{}", self.said()),
            }
        }
    }

    /// Waits until a Greeting in the test's namespace is as it should be; answers what it says.
    #[track_caller]
    pub fn greeted(&self, api: &Api, name: &str) -> impl Future<Output = String> {
        let (api, name) = (api.clone(), name.to_owned());
        self.until("a Greeting that is ready", async move || api.greeted(&name).await)
    }

    /// A client of the API server that `dev` runs, or of the real one that it was given.
    ///
    /// # Panics
    /// If this is no `dev`, or none that serves yet.
    #[track_caller]
    pub fn api(&self) -> Api {
        if let Some(plane) = self.cluster.plane() {
            return Api::new(plane.client(), &self.namespace);
        }
        let serving = self.events().into_iter().find(|event| event["event"] == "serving");
        let serving = serving.expect("`dev` has said where it serves");
        Api::at(serving["server"].as_str().expect("an address"), &self.namespace)
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it has ended and was waited for.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it still runs")
    }

    /// Sends a signal: `TERM`, `INT`.
    ///
    /// # Panics
    /// If the program is gone.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it still runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await;
        assert!(sent.expect("`kill` can be run").success(), "no {name} could be sent");
    }

    /// Kills it by SIGKILL, at once, and waits until it is gone.
    ///
    /// # Panics
    /// If it ended otherwise, or does not.
    pub async fn kill(mut self) -> Ended {
        // An error: it has ended already, which shows below.
        let _ = self.child.start_kill();
        let ended = self.end().await;
        assert_eq!(ended.code, None, "a signal ended it");
        ended
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system doesn't say.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the system knows its children").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within [`PATIENCE`].
    pub async fn end(mut self) -> Ended {
        let ended = async {
            let status = self.child.wait().await.expect("the system knows its children");
            // Grandchildren may hold the streams open: none here has any.
            while self.readers.join_next().await.is_some() {}
            status
        };
        #[expect(clippy::disallowed_methods, reason = "a test of a real process bounds its wait")]
        let status = tokio::time::timeout(PATIENCE, ended).await;
        let Ok(status) = status else {
            panic!("it did not end within {PATIENCE:?}\n{}", self.said())
        };
        Ended {
            code: status.code(),
            stdout: self.out.text(),
            stderr: self.err.text(),
        }
    }

    /// The end of what it said, for people.
    pub(crate) fn said(&self) -> String {
        let mut said = String::new();
        for (name, lines) in [("stdout", self.stdout()), ("stderr", self.stderr())] {
            let skipped = lines.len().saturating_sub(SHOWN);
            // Writing to a String can't fail.
            let _ = writeln!(said, "--- {name} ({} lines):", lines.len());
            for line in &lines[skipped..] {
                let _ = writeln!(said, "{line}");
            }
        }
        said
    }
}

impl Drop for Host {
    /// Waits for the end, so that no zombie stays where nobody collects them.
    fn drop(&mut self) {
        // An error: it has ended already.
        let _ = self.child.start_kill();
        for _ in 0..1_000 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "a killed process ends within milliseconds")]
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Ended {
    /// What was logged as JSON.
    pub fn log(&self) -> Vec<Value> {
        parsed(&self.stderr.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    /// The message with which a plugin was refused.
    ///
    /// # Panics
    /// If it wasn't.
    #[track_caller]
    pub fn refusal(&self, plugin: &str) -> String {
        let start = format!("plugin {plugin} was not loaded: ");
        let found = self
            .log()
            .iter()
            .map(|line| message(line).to_owned())
            .find(|message| message.starts_with(&start));
        found.unwrap_or_else(|| panic!("{plugin} was not refused:\n{}", self.stderr))
    }

    /// It ended with that code and one error message that holds these parts.
    ///
    /// # Panics
    /// If it didn't.
    #[track_caller]
    pub fn told(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        let errors: Vec<&str> = self
            .stderr
            .lines()
            .filter_map(|line| line.strip_prefix("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "one message: {}", self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {}", self.stderr);
        }
    }
}

/// Each line that is JSON; others are for people (as what a panicking host would say).
fn parsed(lines: &[String]) -> Vec<Value> {
    lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The message of a log line.
pub fn message(line: &Value) -> &str {
    field(line, "message")
}

/// A field of a log line, as text.
pub fn field<'a>(line: &'a Value, name: &str) -> &'a str {
    line["fields"][name].as_str().unwrap_or_default()
}
