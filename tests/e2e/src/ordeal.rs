//! The host under a real control plane's faults: plugins and people at work, a proxy in between, and what is measured.
//!
//! Each [`Ordeal`] has a control plane of its own, since it is broken on purpose, and at most [`AT_ONCE`] of them run
//! at a time. The host is the user it would be in production: a service account with the rights it needs and no others.

use std::time::{Duration, Instant};

use pilothouse_realcluster::{ControlPlane, Controllers, Options, Scope, User};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::audit::{Audit, Seen, wall};
use crate::checker::wrong;
use crate::load::{Ended, Load};
use crate::{Api, BEAST_CRD, GREETING_CRD, Host, LOOK, Metrics, Proxy, Scene, free_port, message, yaml};

/// Control planes at a time: each takes 400 MB, and a core while it starts.
const AT_ONCE: usize = 3;

/// What a change calls for on average, and not much more: the most, for a new Greeting, are a finalizer, a ConfigMap, a
/// status and an Event.
const REQUESTS_A_CHANGE: usize = 3;

/// So long the host is looked at when all is right again, and so many requests it may still send: a watch that ends by
/// itself, an Event that waited. What spins sends hundreds.
const QUIET: Duration = Duration::from_secs(2);
const IDLE: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// The longest that it may take until all is right again: what is refused for want of rights is tried again after a
/// minute.
const RECOVERY: Duration = Duration::from_secs(100);

/// The name of the host's service account.
const ACCOUNT: &str = "pilothouse";

/// Where the host's user may do what its plugins need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// In the one namespace, which is what the plugins are granted too.
    Namespace,
    /// In all.
    Cluster,
}

/// How an ordeal begins.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What the host may.
    pub rights: Rights,
    /// What the load does.
    pub seed: u64,
    /// More flags for the API servers.
    pub flags: &'static [&'static str],
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rights: Rights::Namespace,
            seed: 1,
            flags: &[],
        }
    }
}

/// A host with plugins at work on a control plane.
pub struct Ordeal {
    /// The host.
    pub host: Host,
    /// Between the host and the API server.
    pub proxy: Proxy,
    /// The administrator's, past the proxy.
    pub api: Api,
    /// Where everything happens.
    pub namespace: String,
    /// Whom the host is.
    pub user: User,
    /// The control plane.
    pub plane: ControlPlane,
    metrics: String,
    load: Option<Load>,
    audit: Audit,
    rights: Rights,
    _scene: Scene,
    _turn: SemaphorePermit<'static>,
}

/// When a fault began.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    began: Instant,
    wall: u64,
    lines: usize,
    memory: u64,
    changes: usize,
}

impl Fault {
    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }
}

/// What a fault may cost at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests and connections of the host in a second, on average while the fault lasts.
    pub during: f64,
    /// The same from the fault's beginning until all is right again, beyond those that the load's changes call for.
    pub beyond: f64,
    /// Requests and connections in the worst second.
    pub peak: usize,
    /// How much more memory the host holds afterwards, in KiB.
    pub memory: u64,
    /// Warnings and errors in the host's log.
    pub warnings: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            during: 120.0,
            beyond: 20.0,
            // What has gathered meanwhile is worked off at once.
            peak: 600,
            // Measured: at most 2 MiB. What an allocator keeps for itself comes on top on other machines.
            memory: 12 << 10,
            // Five for each controller and reason in half a minute, and what concerns all.
            warnings: 32,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of real processes measures time")]
fn now() -> Instant {
    Instant::now()
}

/// The rules of a role with what greeting and zoo need, and nothing else.
pub(crate) fn rules() -> Value {
    json!([
        {"apiGroups": ["demo.pilothouse.dev"], "resources": ["greetings"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": ["demo.pilothouse.dev"], "resources": ["greetings/status"], "verbs": ["patch"]},
        {"apiGroups": ["zoo.pilothouse.dev"], "resources": ["beasts"], "verbs": ["get", "list", "watch", "patch"]},
        {
            "apiGroups": [""], "resources": ["configmaps"],
            "verbs": ["get", "list", "watch", "create", "patch", "delete"],
        },
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    ])
}

/// What the zoo is granted that takes a word of its own.
fn dangerous() -> Value {
    json!([{"group": "", "kind": "Secret", "verbs": ["get", "patch"], "names": ["open"]}])
}

/// What the plugins are granted in a namespace.
fn grants(namespace: &str) -> Value {
    let all =
        |group: &str, kind: &str| json!({"group": group, "kind": kind, "verbs": ["*"], "namespaces": [namespace]});
    let mut status = all("demo.pilothouse.dev", "Greeting");
    status["subresources"] = json!(["status"]);
    json!({
        "greeting": {"grants": [all("demo.pilothouse.dev", "Greeting"), status, all("", "ConfigMap")]},
        "zoo": {
            "grants": [all("zoo.pilothouse.dev", "Beast"), all("", "ConfigMap"), all("", "Secret")],
            "dangerous": dangerous(),
        },
    })
}

/// Runs what waits for processes without holding up the proxy and the load.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

impl Ordeal {
    /// Waits for its turn, starts everything, and returns once the load has been at work for a while.
    ///
    /// # Panics
    /// If something does not start, as all functions here panic where a test can only fail.
    pub async fn begin(setup: Setup) -> Self {
        let turn = TURNS.acquire().await.expect("never closed");
        let scene = Scene::with_zoo();
        let audit = Audit::in_folder(&scene.path(""));
        let options = Options {
            // As everywhere: a finalizer that is added while its object is being deleted holds nothing, and what its
            // owner made in that moment is for garbage collection.
            controllers: Controllers::GarbageCollection,
            objects: [GREETING_CRD, BEAST_CRD].map(|crd| yaml(crd).to_string()).into(),
            apiserver_flags: audit
                .flags()
                .into_iter()
                .chain(setup.flags.iter().map(|flag| (*flag).to_owned()))
                .collect(),
        };
        let plane = blocking(|| ControlPlane::start(&options)).unwrap_or_else(|error| panic!("{error}"));
        let (namespace, user) = blocking(|| {
            let namespace = plane.namespace("ordeal").unwrap_or_else(|error| panic!("{error}"));
            // In a namespace of its own: what happens to the plugins' is not to take the account along.
            let user = plane.user("default", ACCOUNT).unwrap_or_else(|error| panic!("{error}"));
            (namespace, user)
        });
        let proxy = Proxy::before(plane.apiserver().port()).await;
        let kubeconfig = user
            .kubeconfig_at(proxy.port())
            .unwrap_or_else(|error| panic!("{error}"));
        match setup.rights {
            Rights::Namespace => scene.config(&grants(&namespace)),
            Rights::Cluster => scene.config(
                &json!({"greeting": {"grants": "asked"}, "zoo": {"grants": "asked", "dangerous": dangerous()}}),
            ),
        }
        let metrics = format!("127.0.0.1:{}", free_port());
        let kubeconfig = kubeconfig.display().to_string();
        let host = Host::spawn(scene.pilothouse(&[
            "run",
            "--plugins",
            "plugins",
            "--kubeconfig",
            &kubeconfig,
            "--config",
            "config.yaml",
            "--log-format",
            "json",
            "--metrics-address",
            &metrics,
        ]));
        let client = plane.client();
        let ordeal = Self {
            host,
            proxy,
            api: Api::new(client.clone(), &namespace),
            load: Some(Load::begin(client, &namespace, setup.seed)),
            namespace,
            user,
            plane,
            metrics,
            audit,
            rights: setup.rights,
            _scene: scene,
            _turn: turn,
        };
        ordeal.give_rights();
        ordeal.ready().await;
        ordeal.changes(60).await;
        ordeal
    }

    fn scope(&self) -> Scope<'_> {
        match self.rights {
            Rights::Namespace => Scope::Namespace(&self.namespace),
            Rights::Cluster => Scope::Cluster,
        }
    }

    /// Gives the host's user its role.
    pub fn give_rights(&self) {
        blocking(|| self.plane.grant(&self.user, self.scope(), &rules())).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Takes the role away.
    pub fn take_rights(&self) {
        blocking(|| self.plane.withdraw(&self.user, self.scope())).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until every controller runs.
    #[track_caller]
    pub fn ready(&self) -> impl Future<Output = ()> {
        self.host.until("that the host is ready", async || {
            let (code, _) = crate::get(&self.metrics, "/readyz").await?;
            (code == 200).then_some(())
        })
    }

    /// Waits until the load has made so many more changes.
    #[track_caller]
    pub fn changes(&self, more: usize) -> impl Future<Output = ()> {
        let load = self.load.as_ref().expect("the load is at work");
        let goal = load.changes() + more;
        self.host.until("some more changes", async move || {
            (load.changes() >= goal).then_some(())
        })
    }

    /// The load.
    ///
    /// # Panics
    /// After the end.
    pub fn load(&self) -> &Load {
        self.load.as_ref().expect("the load is at work")
    }

    /// A fault begins now.
    pub fn fault(&self) -> Fault {
        Fault {
            began: now(),
            wall: wall(),
            lines: self.host.log().len(),
            memory: memory(&self.host),
            changes: self.load.as_ref().map_or(0, Load::changes),
        }
    }

    /// Waits until so many connections have come since the fault began.
    #[track_caller]
    pub fn connections(&self, fault: &Fault, count: usize) -> impl Future<Output = ()> {
        let began = fault.began;
        self.host.until("that the host tries again", async move || {
            (self.proxy.came_since(began).len() >= count).then_some(())
        })
    }

    /// Waits until the fault has lasted so long. For what the host must bear for a time, and not until something
    /// happens.
    pub async fn lasts(&self, fault: &Fault, time: Duration) {
        let left = time.saturating_sub(fault.began.elapsed());
        #[expect(clippy::disallowed_methods, reason = "the length of a fault is what is tested")]
        tokio::time::sleep(left).await;
    }

    /// The host's requests since the fault began, as the API server saw them: verb, path with query, code.
    pub fn requests(&self, fault: &Fault) -> Vec<(String, String, Option<u64>)> {
        let seen = self.seen(fault).into_iter();
        seen.map(|seen| (seen.verb, seen.uri, seen.code)).collect()
    }

    fn seen(&self, fault: &Fault) -> Vec<Seen> {
        let user = format!("system:serviceaccount:default:{ACCOUNT}");
        blocking(|| self.audit.of(&user, fault.wall))
    }

    /// The host's warnings and errors since the fault began, but for what is wrong with single Greetings.
    pub fn warnings(&self, fault: &Fault) -> Vec<String> {
        let log = self.host.log();
        let grave = log[fault.lines.min(log.len())..]
            .iter()
            .filter(|line| line["level"] == "WARN" || line["level"] == "ERROR")
            .filter(|line| !message(line).contains("InvalidSpec"));
        grave
            .map(|line| format!("{} {}", message(line), line["fields"]))
            .collect()
    }

    /// Of the host's log lines since the fault began, how many begin with this.
    pub fn said(&self, fault: &Fault, start: &str) -> usize {
        let log = self.host.log();
        let since = &log[fault.lines.min(log.len())..];
        since.iter().filter(|line| message(line).starts_with(start)).count()
    }

    /// The fault is over: lets the load go on for a while, ends it, waits until all is as it should be and the host has
    /// nothing left to do, and checks what the fault has cost.
    pub async fn over(&mut self, name: &str, fault: Fault, bounds: Bounds) {
        let (ended, ended_wall) = (now(), wall());
        let lasted = ended - fault.began;
        self.changes(20).await;
        let load = self.load.take().expect("the load is at work").end().await;
        self.right(&load).await;
        let recovered = ended.elapsed();

        let (seen, came) = (self.seen(&fault), self.proxy.came_since(fault.began));
        // By the second since the fault began.
        let mut seconds: std::collections::BTreeMap<u64, usize> = std::collections::BTreeMap::new();
        let requests = seen.iter().map(|seen| (seen.at - fault.wall) / 1_000_000);
        let connections = came.iter().map(|came| (*came - fault.began).as_secs());
        for second in requests.chain(connections) {
            *seconds.entry(second).or_default() += 1;
        }
        let peak = seconds.values().copied().max().unwrap_or(0);
        let changes = load.0.changes - fault.changes;
        let all = seen.len() + came.len();
        let during =
            seen.iter().filter(|seen| seen.at < ended_wall).count() + came.iter().filter(|came| **came < ended).count();
        let during = during as f64 / lasted.as_secs_f64();
        let beyond = all.saturating_sub(changes * REQUESTS_A_CHANGE) as f64 / (lasted + recovered).as_secs_f64();
        let idle = self.idle().await;
        let (before, after) = (fault.memory, memory(&self.host));
        let warnings = self.warnings(&fault);
        eprintln!(
            "ORDEAL {name}: lasted {:.1} s; right again after {:.1} s; {changes} changes; {during:.1} requests and connections/s \
             during it, {peak} in the worst second, {} + {} in all, {beyond:.1}/s more than the changes call for; memory \
             {before} -> {after} KiB; {} warnings; {idle} requests at rest",
            lasted.as_secs_f64(),
            recovered.as_secs_f64(),
            seen.len(),
            came.len(),
            warnings.len(),
        );
        assert!(load.0.tampered > 0, "{name}: the load has tampered with nothing");
        assert!(
            !seen.is_empty(),
            "{name}: the API server has logged no request of the host's"
        );
        assert!(
            idle <= IDLE,
            "{name}: {idle} requests and connections in {QUIET:?} in which nothing happened: it spins"
        );
        assert!(
            during <= bounds.during,
            "{name}: {during:.1} requests a second\n{seconds:?}"
        );
        assert!(
            beyond <= bounds.beyond,
            "{name}: {beyond:.1} requests a second that nothing calls for: it spins\n{seconds:?}"
        );
        assert!(peak <= bounds.peak, "{name}: {peak} requests in a second\n{seconds:?}");
        assert!(
            after <= before + bounds.memory,
            "{name}: memory did not return: {before} -> {after} KiB"
        );
        assert!(
            warnings.len() <= bounds.warnings,
            "{name}: a storm in the log: {warnings:#?}"
        );
    }

    /// How many requests and connections of the host come while nothing happens.
    async fn idle(&self) -> usize {
        let quiet = self.fault();
        self.lasts(&quiet, QUIET).await;
        self.seen(&quiet).len() + self.proxy.came_since(quiet.began).len()
    }

    /// Waits until what is is what should be, twice with a host at rest in between.
    async fn right(&self, load: &Ended) {
        let (mut calm, began) = (false, now());
        loop {
            let last = match wrong(&self.api, &self.namespace, Some(load)).await {
                wrong if !wrong.is_empty() => wrong,
                _ if !self.at_rest().await => vec!["the host is not at rest".to_owned()],
                _ if calm => return,
                _ => {
                    calm = true;
                    continue;
                }
            };
            calm = false;
            assert!(
                began.elapsed() < RECOVERY,
                "not within {RECOVERY:?}: that all is as it should be: {last:#?}\n{}",
                self.host.said()
            );
            #[expect(clippy::disallowed_methods, reason = "a test of real processes waits for them")]
            tokio::time::sleep(LOOK * 5).await;
        }
    }

    async fn at_rest(&self) -> bool {
        let Some(metrics) = Metrics::scrape(&self.metrics).await else {
            return false;
        };
        metrics.sum("workqueue_depth", &[]) == 0.0 && metrics.sum("workqueue_unfinished_work_seconds", &[]) == 0.0
    }
}

/// What a host holds of the machine's memory, in KiB.
fn memory(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    value.expect("the system says how much memory a process holds")
}
