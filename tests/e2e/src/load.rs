//! People at work: Greetings and Beasts are made, changed and deleted, and what belongs to them is tampered with, all
//! the time and whatever the API server does meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{BEASTS, CONFIG_MAPS, GREETINGS, Kind};

/// Between two of its steps.
const PACE: Duration = Duration::from_millis(25);

/// A request that takes longer is given up.
const BOUND: Duration = Duration::from_secs(3);

/// So many Greetings there are at most.
const MOST: usize = 60;

/// What the load knows of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its creation was acknowledged, and nobody deleted it.
    Here,
    /// Its deletion was acknowledged.
    Gone,
    /// A request got no answer: it may be here or not.
    Unknown,
}

/// What the load has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    pub(crate) greetings: BTreeMap<String, Fate>,
    pub(crate) beasts: BTreeMap<String, Fate>,
    /// Requests that were answered with success.
    pub(crate) changes: usize,
    /// Of those, changes of ConfigMaps.
    pub(crate) tampered: usize,
    /// Requests that failed.
    pub(crate) failed: usize,
}

/// A load; it ends when it is dropped.
pub struct Load {
    done: Arc<Mutex<Done>>,
    rest: watch::Sender<bool>,
    task: JoinSet<()>,
}

fn lock(done: &Mutex<Done>) -> std::sync::MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Begins. The same seed does the same, as far as the server lets it.
    pub(crate) fn begin(client: Client, namespace: &str, seed: u64) -> Self {
        let done = Arc::new(Mutex::new(Done::default()));
        let rest = watch::Sender::new(false);
        let worker = Worker {
            client,
            namespace: namespace.to_owned(),
            done: done.clone(),
            random: fastrand::Rng::with_seed(seed),
            next: 0,
        };
        let mut task = JoinSet::new();
        task.spawn(worker.work(rest.subscribe()));
        Self { done, rest, task }
    }

    /// What it has done so far.
    pub(crate) fn done(&self) -> Done {
        lock(&self.done).clone()
    }

    /// Somebody else removes things: of what there is now nobody knows any more whether it stays.
    pub fn doubt(&self) {
        let mut done = lock(&self.done);
        let Done { greetings, beasts, .. } = &mut *done;
        for fate in greetings.values_mut().chain(beasts.values_mut()) {
            *fate = Fate::Unknown;
        }
    }

    /// So many changes went well so far.
    pub fn changes(&self) -> usize {
        lock(&self.done).changes
    }

    /// Lets it finish what it has under way, and ends it.
    ///
    /// # Panics
    /// If it panicked.
    pub async fn end(mut self) -> Ended {
        self.rest.send_replace(true);
        while let Some(ended) = self.task.join_next().await {
            ended.expect("the load does not panic");
        }
        Ended(self.done())
    }
}

/// What an ended load has done.
#[derive(Clone, Debug)]
pub struct Ended(pub(crate) Done);

struct Worker {
    client: Client,
    namespace: String,
    done: Arc<Mutex<Done>>,
    random: fastrand::Rng,
    next: usize,
}

/// A request's end.
enum Answer {
    Done,
    /// The server refused: nothing happened.
    Refused(u16),
    /// Nobody knows.
    None,
}

impl Worker {
    async fn work(mut self, mut rest: watch::Receiver<bool>) {
        loop {
            self.step().await;
            #[expect(clippy::disallowed_methods, reason = "a load has a pace")]
            let paused = tokio::time::timeout(PACE, rest.wait_for(|rest| *rest)).await;
            if paused.is_ok() {
                return;
            }
        }
    }

    async fn step(&mut self) {
        let here = self.here();
        let some = (!here.is_empty()).then(|| here[self.random.usize(..here.len())].clone());
        match (self.random.u8(..100), some) {
            (0..30, _) | (_, None) if here.len() < MOST => self.make_greeting().await,
            (30..55, Some(name)) => {
                let salutation = format!("Salute {}", self.random.u32(..));
                let patch = json!({"spec": {"salutation": salutation}});
                self.patch(GREETINGS, &name, &patch).await;
            }
            (55..70, Some(name)) => {
                self.patch(CONFIG_MAPS, &name, &json!({"data": {"message": "Go away"}}))
                    .await
            }
            (70..80, Some(name)) => {
                let answer = self
                    .send(Method::DELETE, &CONFIG_MAPS.path_of(&self.namespace, &name), None)
                    .await;
                self.count(&answer, true);
            }
            (80..95, Some(name)) => self.delete_greeting(&name).await,
            _ => self.make_beast().await,
        }
    }

    fn here(&self) -> Vec<String> {
        let done = lock(&self.done);
        let here = done.greetings.iter().filter(|(_, fate)| **fate == Fate::Here);
        here.map(|(name, _)| name.clone()).collect()
    }

    fn name(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}-{}", self.next)
    }

    fn count(&self, answer: &Answer, tampered: bool) {
        let mut done = lock(&self.done);
        match answer {
            Answer::Done => {
                done.changes += 1;
                done.tampered += usize::from(tampered);
            }
            // Somebody was faster: the plugin has deleted it, or not made it yet.
            Answer::Refused(404) => {}
            Answer::Refused(_) | Answer::None => done.failed += 1,
        }
    }

    async fn make_greeting(&mut self) {
        let name = self.name("g");
        // Now and then one that makes no sense, and one that shares its text with others.
        let whom = match self.random.u8(..10) {
            0 => " ".to_owned(),
            1 => "everybody".to_owned(),
            _ => name.clone(),
        };
        let fate = self.make(GREETINGS, &name, &json!({"name": whom})).await;
        lock(&self.done).greetings.extend(fate.map(|fate| (name, fate)));
    }

    async fn make_beast(&mut self) {
        let name = self.name("b");
        let fate = self.make(BEASTS, &name, &json!({"do": "create-once"})).await;
        lock(&self.done).beasts.extend(fate.map(|fate| (name, fate)));
    }

    async fn make(&self, kind: Kind, name: &str, spec: &Value) -> Option<Fate> {
        let object = json!({
            "apiVersion": kind.api_version, "kind": kind.kind,
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        let answer = self
            .send(Method::POST, &kind.path(&self.namespace), Some(&object))
            .await;
        self.count(&answer, false);
        match answer {
            Answer::Done => Some(Fate::Here),
            Answer::Refused(_) => None,
            Answer::None => Some(Fate::Unknown),
        }
    }

    async fn patch(&self, kind: Kind, name: &str, patch: &Value) {
        let answer = self
            .send(Method::PATCH, &kind.path_of(&self.namespace, name), Some(patch))
            .await;
        self.count(&answer, kind.kind == CONFIG_MAPS.kind);
    }

    async fn delete_greeting(&self, name: &str) {
        let answer = self
            .send(Method::DELETE, &GREETINGS.path_of(&self.namespace, name), None)
            .await;
        self.count(&answer, false);
        let fate = match answer {
            Answer::Done | Answer::Refused(404) => Fate::Gone,
            Answer::Refused(_) => return,
            Answer::None => Fate::Unknown,
        };
        lock(&self.done).greetings.insert(name.to_owned(), fate);
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let content_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(body)
            .expect("a request");
        #[expect(clippy::disallowed_methods, reason = "a test of real processes bounds its waits")]
        let answer = tokio::time::timeout(BOUND, self.client.request::<Value>(request)).await;
        match answer {
            Ok(Ok(_)) => Answer::Done,
            Ok(Err(kube::Error::Api(status))) if status.code < 500 => Answer::Refused(status.code),
            Ok(Err(_)) | Err(_) => Answer::None,
        }
    }
}
