//! The driver of plugins' lives: watches the directory, loads one plugin at a time off the threads that serve, and has a
//! [`Stage`] serve them.
//!
//! What it decides, [`Life`] and `watch::Settling` decide; this reads, waits and hands over. What was decided is written
//! before anything else is done, and before a person is answered: see [`crate::kept`]. The host begins with
//! [`Supervisor::load`], which loads what lies in the directory, and goes on with [`Supervisor::run`].

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pilothouse_runtime::Modules;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Config;
use crate::directory::{DirectoryError, ModuleFile, own_config, without_module};
use crate::kept::PluginStore;
use crate::lives::{
    Act, Candidate, Input, Life, LifeObserver, LifeStatus, Mark, Order, OrderError, Rules, Wanted, beyond,
};
use crate::load::{Plugin, load_with_bytes};
use crate::refusal::{Refusal, Step};
use crate::stage::{Stage, Trouble};
use crate::watch::{Seen, Settling, Sighting, Watcher, look};

#[cfg(test)]
mod tests;

mod jobs;
mod keeping;
mod settled;

use jobs::{Doing, Ended, Jobs};
use keeping::Keeping;
use settled::settled;

/// Two looks at the directory that agree must be so far apart.
const SETTLE: Duration = Duration::from_millis(200);

/// Of so many plugins whose files are gone it is remembered what was decided against their versions.
const ABSENT: usize = 256;

/// So many orders may wait.
const ORDERS: usize = 16;

/// What a supervisor works on.
pub struct SupervisorOptions {
    /// The plugin directory.
    pub directory: PathBuf,
    /// The operator's file.
    pub config: Config,
    /// What compiles and runs.
    pub modules: Modules,
    /// Hears what happens.
    pub observer: Arc<dyn LifeObserver>,
    /// Where what was decided outlives a restart; none: nowhere.
    pub store: Option<Arc<PluginStore>>,
}

/// See the module's text.
pub struct Supervisor {
    options: SupervisorOptions,
    lives: BTreeMap<String, Life<Arc<Plugin>>>,
    /// What waits to be loaded.
    loads: VecDeque<(String, Wanted, Source)>,
    settling: Settling,
    keeping: Option<Keeping>,
    clock: Clock,
    orders: mpsc::Receiver<Asked>,
    control: Control,
}

/// Where a module is loaded from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Directory,
    Store,
}

type Asked = (String, Order, oneshot::Sender<Result<(), OrderError>>);

/// What a person asks a supervisor, and what it tells. Clones are the same.
#[derive(Clone)]
pub struct Control {
    orders: mpsc::Sender<Asked>,
    status: Arc<Mutex<BTreeMap<String, LifeStatus>>>,
}

impl Control {
    /// Every plugin's state, sorted by name, as it was when something last happened to it.
    pub fn status(&self) -> Vec<LifeStatus> {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Passes a person's order on.
    ///
    /// # Errors
    /// [`OrderError`]: nothing has changed then.
    pub async fn order(&self, plugin: &str, order: Order) -> Result<(), OrderError> {
        let (answer, answered) = oneshot::channel();
        let asked = self.orders.send((plugin.to_owned(), order, answer)).await;
        asked.map_err(|_| OrderError::Stopping)?;
        answered.await.map_err(|_| OrderError::Stopping)?
    }
}

/// The time since the Unix epoch: that of the wall clock when this began, moved on by the monotonic one.
struct Clock {
    began: Duration,
    origin: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "a driver: its clocks")]
    fn started() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            began: since.unwrap_or_default(),
            origin: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.began + self.origin.elapsed()
    }
}

impl Supervisor {
    /// Looks at the directory and loads what lies there, one after another. Answers with the plugins that may serve: the
    /// caller starts the host with them, and then has this [run](Supervisor::run). Needs a tokio runtime.
    ///
    /// # Errors
    /// The directory as a whole can't be looked at. What is wrong with a plugin is told to the observer.
    pub async fn load(options: SupervisorOptions) -> Result<(Self, Vec<Arc<Plugin>>), DirectoryError> {
        let (send, orders) = mpsc::channel(ORDERS);
        let control = Control {
            orders: send,
            status: Arc::default(),
        };
        let mut own = Self {
            settling: Settling::new(SETTLE),
            lives: BTreeMap::new(),
            loads: VecDeque::new(),
            keeping: options.store.clone().map(Keeping::new),
            clock: Clock::started(),
            orders,
            control,
            options,
        };
        let plugins = own.first().await?;
        Ok((own, plugins))
    }

    /// What tells of this and passes on orders.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    async fn first(&mut self) -> Result<Vec<Arc<Plugin>>, DirectoryError> {
        let (directory, most) = (
            self.options.directory.clone(),
            self.options.config.host.max_module_bytes(),
        );
        let before = self.settling.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a driver: reads files on a thread that serves nobody"
        )]
        let looked = tokio::task::spawn_blocking(move || look(&directory, most, &before)).await;
        let (looked, stray) = looked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        self.warn_of(&stray);
        let names = looked.keys().map(String::as_str);
        for warning in self.options.config.without_module(names) {
            tracing::warn!("{warning}");
        }
        self.settling.take(looked.clone());
        self.restore(|name| looked.contains_key(name)).await;
        let mut plugins = Vec::new();
        for (name, sighting) in looked {
            let mut acts = self.found(&name, Some(sighting));
            let mut serves = false;
            // One step after the other until nothing is left to do for it. The host is not there yet: whatever may serve
            // will, as soon as it starts.
            while let Some(act) = acts.pop() {
                let input = match act {
                    // What served last does again, and this follows it: in front of a host that runs.
                    Act::Load(wanted) if serves => {
                        self.loads.push_back((name.clone(), wanted, Source::Directory));
                        continue;
                    }
                    Act::Load(wanted) => {
                        Input::Loaded(self.loading(&name, &wanted, Source::Directory).await.map(Arc::new))
                    }
                    Act::Revive(wanted) => {
                        Input::Loaded(self.loading(&name, &wanted, Source::Store).await.map(Arc::new))
                    }
                    Act::Serve(plugin) => {
                        plugins.push(plugin);
                        serves = true;
                        Input::Served(Ok(()))
                    }
                    Act::Tell(event) => {
                        self.options.observer.happened(&event);
                        continue;
                    }
                    Act::Cancel | Act::Adjust(_) | Act::Release => continue,
                    Act::Withdraw => Input::Withdrawn,
                };
                acts.extend(self.step(&name, input));
            }
        }
        self.keep().await;
        Ok(plugins)
    }

    /// Takes up what the last host left of plugins' lives. Of those whose files are gone so much stays as is remembered of
    /// what is gone.
    async fn restore(&mut self, lies_there: impl Fn(&str) -> bool) {
        let rules = self.rules();
        let Some(keeping) = &mut self.keeping else { return };
        let home = self.options.config.host.namespace.clone();
        for (name, mut kept) in keeping.read().await {
            kept.at_home_in(home.as_deref());
            let is_there = lies_there(&name);
            self.lives.insert(name.clone(), Life::restored(&name, rules, kept));
            if !is_there {
                // Nothing serves yet: there is nothing to do about it.
                self.step(&name, Input::Gone);
            }
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            stored: self.options.store.is_some(),
            ..self.options.config.host.life_rules()
        }
    }

    /// Writes what was decided since the last time.
    async fn keep(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.write(self.clock.now()).await;
        }
    }

    /// The plugins of those that [`Supervisor::load`] answered with that are to be served in quarantine.
    pub fn quarantined(&self) -> Vec<String> {
        let names = self.lives.iter().filter(|(_, life)| life.serves_in_quarantine());
        names.map(|(name, _)| name.clone()).collect()
    }

    /// Watches, loads and exchanges until it is dropped. `trouble` brings what goes wrong with plugins that serve.
    pub async fn run(mut self, stage: Arc<dyn Stage>, mut trouble: mpsc::Receiver<Trouble>) {
        let host = &self.options.config.host;
        let mut watcher = Watcher::new(
            &self.options.directory,
            host.max_module_bytes(),
            host.plugin_poll(),
            self.settling.clone(),
        );
        // A task of its own: what it heard must not be lost while something else is listened to.
        let (seen, mut sightings) = mpsc::channel(1);
        let mut watching = JoinSet::new();
        watching.spawn(async move { while seen.send(watcher.next().await).await.is_ok() {} });
        let mut jobs = Jobs::default();
        let mut troubles = true;
        loop {
            self.let_time_pass();
            self.begin_load(&mut jobs);
            self.keep().await;
            let kept = self.keeping.as_ref().and_then(|keeping| keeping.due());
            let due = self.lives.values().filter_map(Life::due).chain(kept).min();
            let due = due.map(|due| due.saturating_sub(self.clock.now()));
            tokio::select! {
                biased;
                Some((name, order, answer)) = self.orders.recv() => {
                    let result = self.order(&name, order, &stage, &mut jobs);
                    // Not forgotten again once somebody was told.
                    self.keep().await;
                    // Who asked may have gone.
                    let _ = answer.send(result);
                }
                told = trouble.recv(), if troubles => match told {
                    Some(trouble) => self.trouble(&trouble, &stage, &mut jobs),
                    // Whoever told has ended: nothing serves any longer, or nobody tells.
                    None => troubles = false,
                },
                Some((name, ended)) = jobs.next(), if !jobs.is_empty() => {
                    let input = match ended {
                        Ended::Loaded(result) => Input::Loaded(result.map(Arc::new)),
                        Ended::Served(result) => Input::Served(result),
                        Ended::Withdrawn => Input::Withdrawn,
                    };
                    let acts = self.step(&name, input);
                    self.act(&name, acts, &stage, &mut jobs);
                }
                Some(seen) = sightings.recv() => self.seen(seen, &stage, &mut jobs),
                () = pause(due) => {}
            }
        }
    }

    /// Forgets of plugins that are gone what was remembered for a moment. Nothing of them runs: there is nothing to do.
    fn let_time_pass(&mut self) {
        let now = self.clock.now();
        let due = |life: &Life<Arc<Plugin>>| life.due().is_some_and(|due| due <= now);
        let names = self.lives.iter().filter(|(_, life)| due(life));
        for name in names.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.step(&name, Input::Passed);
        }
    }

    fn seen(&mut self, seen: Seen, stage: &Arc<dyn Stage>, jobs: &mut Jobs) {
        match seen {
            Seen::Changed(changes) => {
                for (name, sighting) in changes {
                    let acts = self.found(&name, sighting);
                    self.act(&name, acts, stage, jobs);
                }
            }
            Seen::Stray(names) => self.warn_of(&names),
            Seen::Blind(error) => tracing::warn!("{error}. Until then the plugins stay as they are"),
        }
    }

    fn warn_of(&self, stray: &[String]) {
        for name in stray {
            tracing::warn!("{}", without_module(&self.options.directory, name));
        }
    }

    fn order(&mut self, name: &str, order: Order, stage: &Arc<dyn Stage>, jobs: &mut Jobs) -> Result<(), OrderError> {
        let now = self.clock.now();
        let life = self.lives.get_mut(name).filter(|life| !life.is_over());
        let life = life.ok_or(OrderError::NoPlugin)?;
        let acts = life.order(now, order)?;
        self.show(name);
        self.act(name, acts, stage, jobs);
        Ok(())
    }

    fn trouble(&mut self, trouble: &Trouble, stage: &Arc<dyn Stage>, jobs: &mut Jobs) {
        let mark = Mark {
            module: trouble.hash,
            configuration: trouble.configuration,
        };
        if self.lives.contains_key(&*trouble.plugin) {
            let acts = self.step(&trouble.plugin, Input::Trouble(mark, trouble.what));
            self.act(&trouble.plugin, acts, stage, jobs);
        }
    }

    /// What the directory holds for a plugin now.
    fn found(&mut self, name: &str, sighting: Option<Sighting>) -> Vec<Act<Arc<Plugin>>> {
        let input = match sighting {
            None => Input::Gone,
            Some(sighting) => match self.wanted(name, &sighting) {
                Ok(wanted) => Input::Found(wanted),
                Err(refusal) => Input::Unfit(refusal),
            },
        };
        if matches!(input, Input::Gone) && !self.lives.contains_key(name) {
            return Vec::new();
        }
        self.step(name, input)
    }

    fn wanted(&self, name: &str, sighting: &Sighting) -> Result<Wanted, Refusal> {
        let module = sighting.module.clone()?.hash;
        let directory = &self.options.directory;
        let beside = sighting
            .beside
            .as_ref()
            .map(|beside| beside.as_ref().map_err(Clone::clone))
            .transpose()?;
        let text = beside.map(|beside| &*beside.text);
        let config = own_config(&self.options.config, directory, name, text)?;
        Ok(Wanted {
            module,
            config: Arc::new(config),
        })
    }

    fn step(&mut self, name: &str, input: Input<Arc<Plugin>>) -> Vec<Act<Arc<Plugin>>> {
        let now = self.clock.now();
        let rules = self.rules();
        let life = self
            .lives
            .entry(name.to_owned())
            .or_insert_with(|| Life::new(name, rules));
        let gone = matches!(input, Input::Gone | Input::Withdrawn);
        let acts = life.step(now, input);
        self.show(name);
        if gone {
            self.forget_oldest();
        }
        acts
    }

    /// Brings what is told of a plugin up to date.
    fn show(&mut self, name: &str) {
        let now = self.clock.now();
        if let (Some(keeping), Some(life)) = (&mut self.keeping, self.lives.get(name)) {
            keeping.decided(name, life.kept(), life.is_busy());
        }
        let mut status = self.control.status.lock().unwrap_or_else(PoisonError::into_inner);
        match self.lives.get(name) {
            Some(life) if life.is_over() => {
                status.remove(name);
                if life.remembered_since().is_none() {
                    self.lives.remove(name);
                }
            }
            Some(life) => _ = status.insert(name.to_owned(), life.status(now)),
            None => {}
        }
    }

    /// Of too many that are gone those are forgotten that went first.
    fn forget_oldest(&mut self) {
        for name in beyond(&self.lives, ABSENT) {
            self.lives.remove(&name);
            if let Some(keeping) = &mut self.keeping {
                keeping.decided(&name, None, false);
            }
        }
    }

    fn act(&mut self, name: &str, acts: Vec<Act<Arc<Plugin>>>, stage: &Arc<dyn Stage>, jobs: &mut Jobs) {
        for act in acts {
            match act {
                Act::Tell(event) => self.options.observer.happened(&event),
                Act::Load(wanted) => self.loads.push_back((name.to_owned(), wanted, Source::Directory)),
                // What serves waits for it, or nothing serves: it goes before those that are new.
                Act::Revive(wanted) => self.loads.push_front((name.to_owned(), wanted, Source::Store)),
                Act::Release => stage.release(name),
                Act::Cancel => jobs.cancel(name),
                Act::Adjust(plugin) => stage.adjust(&plugin),
                Act::Serve(plugin) => {
                    let stage = stage.clone();
                    let mark = Candidate::mark(&plugin);
                    let quarantined = self.lives.get(name).is_some_and(|life| life.is_quarantined(mark));
                    jobs.spawn(name, Doing::Serve, async move {
                        Ended::Served(stage.serve(plugin, quarantined).await)
                    });
                }
                Act::Withdraw => {
                    let (stage, own) = (stage.clone(), name.to_owned());
                    jobs.spawn(name, Doing::Withdraw, async move {
                        // False: it had never come so far as to serve.
                        stage.withdraw(&own).await;
                        Ended::Withdrawn
                    });
                }
            }
        }
    }

    /// One at a time: compiling is what costs, and what serves has the machine first.
    fn begin_load(&mut self, jobs: &mut Jobs) {
        if jobs.loads() {
            return;
        }
        if let Some((name, wanted, source)) = self.loads.pop_front() {
            let loading = self.loading(&name, &wanted, source);
            jobs.spawn(
                &name,
                Doing::Load,
                async move { Ended::Loaded(Box::new(loading.await)) },
            );
        }
    }

    fn loading(
        &self,
        name: &str,
        wanted: &Wanted,
        source: Source,
    ) -> impl Future<Output = Result<Plugin, Refusal>> + Send + use<> {
        let modules = self.options.modules.clone();
        let file = ModuleFile::within(&self.options.directory, name);
        let (wanted, most) = (wanted.clone(), self.options.config.host.max_module_bytes());
        let store = self.options.store.clone();
        async move {
            let file = match (source, &store) {
                (Source::Directory, _) => settled(file, wanted.module, most, SETTLE).await?,
                (Source::Store, Some(store)) => {
                    let bytes = keeping::get(store.clone(), &file.name, wanted.module, most).await;
                    let bytes = bytes.map_err(|why| {
                        let why = format!("the version that was kept can't be brought back: {why}");
                        let mend = "put its file into the plugin directory";
                        Refusal::new(&file.name, Step::Read, why, mend)
                    })?;
                    file.holding(bytes)
                }
                (Source::Store, None) => {
                    let why = "no version is kept over a restart";
                    return Err(Refusal::new(&file.name, Step::Read, why, "set host.stateDirectory"));
                }
            };
            let (plugin, bytes) = load_with_bytes(&modules, &file, &wanted.config, most).await?;
            if let Some(store) = store.filter(|_| source == Source::Directory) {
                keeping::put(store, &file.name, plugin.hash, bytes).await;
            }
            Ok(plugin)
        }
    }
}

/// Waits so long; without end where there is none.
#[expect(clippy::disallowed_methods, reason = "a driver: waits")]
async fn pause(length: Option<Duration>) {
    match length {
        Some(length) => tokio::time::sleep(length).await,
        None => std::future::pending().await,
    }
}
