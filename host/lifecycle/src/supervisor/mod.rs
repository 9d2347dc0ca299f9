//! The driver of plugins' lives: watches the directory, loads plugins off the threads that serve, and has a [`Stage`]
//! serve them.
//!
//! What it decides, [`Life`], `watch::Settling` and `turns` decide; this reads, waits and hands over. What was decided
//! is written before anything else is done, and before a person is answered: see [`crate::kept`]. The host begins with
//! [`Supervisor::load`], which loads what lies in the directory, and goes on with [`Supervisor::run`].
//!
//! | module | what is in it |
//! |---|---|
//! | `first` | [`Supervisor::load`]: what serves from the start |
//! | `control` | [`Control`]: what others ask and are told |
//! | `turns` | whose load begins next |
//! | `jobs` | what is being done for plugins now |
//! | `loading` | one load, from the bytes to the plugin |
//! | `settled` | only bytes that stand still are loaded |
//! | `keeping` | writes what outlives a restart |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pilothouse_runtime::Modules;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Config;
use crate::directory::{ModuleFile, own_config, without_module};
use crate::kept::{Failures, PluginStore};
use crate::lives::{Act, Candidate, Input, Life, LifeObserver, Mark, Order, OrderError, Rules, Wanted, beyond};
use crate::load::{AtStep, Failed, Hash, Plugin};
use crate::refusal::{Refusal, Step};
use crate::stage::{Stage, Trouble};
use crate::watch::{Seen, Settling, Sighting, Watcher};

#[cfg(test)]
mod tests;

mod control;
mod first;
mod jobs;
mod keeping;
mod loading;
mod settled;
mod turns;

pub use control::{Control, Progress};

use control::Asked;
use jobs::{Doing, Ended, Jobs};
use keeping::Keeping;
use loading::known;
use turns::{Load, Source, Turns};

/// Two looks at the directory that agree must be so far apart.
const SETTLE: Duration = Duration::from_millis(200);

/// Of so many plugins whose files are gone it is remembered what was decided against their versions.
const ABSENT: usize = 256;

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
    turns: Turns,
    jobs: Jobs,
    /// What is known not to compile under [`Supervisor::conditions`].
    failures: Failures,
    /// The engine and the limits of the compiler.
    conditions: Hash,
    /// Until when readiness waits for the first loads; none once it does not any more.
    starting: Option<Duration>,
    settling: Settling,
    keeping: Option<Keeping>,
    clock: Clock,
    orders: mpsc::Receiver<Asked>,
    control: Control,
}

/// The time since the Unix epoch: that of the wall clock when this began, moved on by the monotonic one.
#[derive(Clone, Copy)]
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
    /// One that has not done anything yet.
    pub fn new(options: SupervisorOptions) -> Self {
        let clock = Clock::started();
        let (control, orders) = Control::new(clock);
        Self {
            settling: Settling::new(SETTLE),
            lives: BTreeMap::new(),
            turns: Turns::default(),
            jobs: Jobs::default(),
            failures: Failures::default(),
            conditions: options.modules.conditions().into(),
            starting: None,
            keeping: options.store.clone().map(Keeping::new),
            clock,
            orders,
            control,
            options,
        }
    }

    /// What tells of this and passes on orders.
    pub fn control(&self) -> Control {
        self.control.clone()
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
            if let Some(failures) = self.failures.changed() {
                keeping.write_failures(failures).await;
            }
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
        let mut troubles = true;
        loop {
            self.let_time_pass(&stage);
            self.begin_loads();
            self.started();
            self.keep().await;
            let now = self.clock.now();
            let unwritten = self.keeping.as_ref().and_then(|keeping| keeping.due());
            let of_lives = self.lives.values().filter_map(Life::due).min();
            let due = [of_lives, unwritten, self.turns.due(now), self.starting]
                .into_iter()
                .flatten()
                .min();
            let due = due.map(|due| due.saturating_sub(now));
            tokio::select! {
                biased;
                Some((name, order, answer)) = self.orders.recv() => {
                    let result = self.order(&name, order, &stage);
                    // Not forgotten again once somebody was told.
                    self.keep().await;
                    // Who asked may have gone.
                    let _ = answer.send(result);
                }
                told = trouble.recv(), if troubles => match told {
                    Some(trouble) => self.trouble(&trouble, &stage),
                    // Whoever told has ended: nothing serves any longer, or nobody tells.
                    None => troubles = false,
                },
                Some((name, ended)) = self.jobs.next(), if !self.jobs.is_empty() => {
                    let acts = self.ended(&name, ended);
                    self.act(&name, acts, &stage);
                }
                Some(seen) = sightings.recv() => self.seen(seen, &stage),
                () = pause(due) => {}
            }
        }
    }

    /// Forgets of plugins that are gone what was remembered for a moment, and tries those again for which there was no
    /// room.
    fn let_time_pass(&mut self, stage: &Arc<dyn Stage>) {
        let now = self.clock.now();
        let due = |life: &Life<Arc<Plugin>>| life.due().is_some_and(|due| due <= now);
        let names = self.lives.iter().filter(|(_, life)| due(life));
        for name in names.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let acts = self.step(&name, Input::Passed);
            self.act(&name, acts, stage);
        }
    }

    fn seen(&mut self, seen: Seen, stage: &Arc<dyn Stage>) {
        match seen {
            Seen::Changed(changes) => {
                for (name, sighting) in changes {
                    let acts = self.found(&name, sighting);
                    self.act(&name, acts, stage);
                }
            }
            Seen::Stray(names) => self.warn_of(&names),
            Seen::Blind(error) => {
                let why = error.to_string();
                tracing::warn!("{why}. Until then the plugins stay as they are");
                self.control.told().blind = Some(why);
            }
            Seen::Well => {
                self.control.told().blind = None;
                tracing::info!("the plugin directory can be looked at again: what has changed meanwhile is loaded now");
            }
        }
    }

    fn warn_of(&self, stray: &[String]) {
        for name in stray {
            tracing::warn!("{}", without_module(&self.options.directory, name));
        }
    }

    fn order(&mut self, name: &str, order: Order, stage: &Arc<dyn Stage>) -> Result<(), OrderError> {
        let now = self.clock.now();
        let life = self.lives.get_mut(name).filter(|life| !life.is_over());
        let life = life.ok_or(OrderError::NoPlugin)?;
        let acts = life.order(now, order)?;
        if let Order::Promote(module) = order {
            self.failures.forget(module);
        }
        self.show(name);
        self.act(name, acts, stage);
        Ok(())
    }

    fn trouble(&mut self, trouble: &Trouble, stage: &Arc<dyn Stage>) {
        let mark = Mark {
            module: trouble.hash,
            configuration: trouble.configuration,
        };
        if self.lives.contains_key(&*trouble.plugin) {
            let acts = self.step(&trouble.plugin, Input::Trouble(mark, trouble.what));
            self.act(&trouble.plugin, acts, stage);
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
            keeping.decided(name, life.kept(), life.candidate());
        }
        let mut told = self.control.told();
        if self.lives.get(name).is_none_or(|life| !life.is_busy()) {
            told.starting.remove(name);
            told.steps.remove(name);
        }
        match self.lives.get(name) {
            Some(life) if life.is_over() => {
                told.status.remove(name);
                self.turns.forget(name);
                if life.remembered_since().is_none() {
                    self.lives.remove(name);
                }
            }
            Some(life) => _ = told.status.insert(name.to_owned(), life.status(now)),
            None => {}
        }
    }

    /// Of too many that are gone those are forgotten that went first.
    fn forget_oldest(&mut self) {
        for name in beyond(&self.lives, ABSENT) {
            self.lives.remove(&name);
            if let Some(keeping) = &mut self.keeping {
                keeping.decided(&name, None, None);
            }
        }
    }

    fn act(&mut self, name: &str, acts: Vec<Act<Arc<Plugin>>>, stage: &Arc<dyn Stage>) {
        for act in acts {
            match act {
                Act::Tell(event) => self.options.observer.happened(&event),
                Act::Load(wanted) => self.add(name, wanted, Source::Directory),
                Act::Revive(wanted) => self.add(name, wanted, Source::Store),
                Act::Release => stage.release(name),
                Act::Cancel => self.jobs.cancel(name),
                Act::Adjust(plugin) => stage.adjust(&plugin),
                Act::Serve(plugin) => {
                    self.control.at(name, Some(Step::Serve));
                    let stage = stage.clone();
                    let mark = Candidate::mark(&plugin);
                    let quarantined = self.lives.get(name).is_some_and(|life| life.is_quarantined(mark));
                    self.jobs.spawn(name, Doing::Serve, async move {
                        Ended::Served(stage.serve(plugin, quarantined).await)
                    });
                }
                Act::Withdraw => {
                    let (stage, own) = (stage.clone(), name.to_owned());
                    self.jobs.spawn(name, Doing::Withdraw, async move {
                        // False: it had never come so far as to serve.
                        stage.withdraw(&own).await;
                        Ended::Withdrawn
                    });
                }
            }
        }
    }

    /// What was done for a plugin has ended; what to do next.
    fn ended(&mut self, name: &str, ended: Ended) -> Vec<Act<Arc<Plugin>>> {
        self.control.arrived(name);
        let input = match ended {
            Ended::Loaded(result) => {
                let now = self.clock.now();
                self.turns.ended(now, name);
                match &*result {
                    Ok(plugin) => self.failures.forget(plugin.hash),
                    Err(failed) => {
                        if let Some(module) = failed.hash.filter(|_| failed.lasting) {
                            self.failures.note(now, module, self.conditions, &failed.refusal.why);
                        }
                    }
                }
                match *result {
                    Ok(plugin) => Input::Loaded(Ok(Arc::new(plugin))),
                    Err(failed) if failed.crowded => Input::Crowded(loading::crowded(failed.refusal)),
                    Err(failed) => Input::Loaded(Err(failed.refusal)),
                }
            }
            Ended::Served(result) => Input::Served(result),
            Ended::Withdrawn => Input::Withdrawn,
        };
        let unloaded = matches!(input, Input::Withdrawn);
        let acts = self.step(name, input);
        if unloaded {
            self.tell_of_room();
        }
        acts
    }

    /// A plugin was unloaded: those for which there was no room are tried again soon.
    fn tell_of_room(&mut self) {
        let crowded = self.lives.iter().filter(|(_, life)| life.waits_for_room());
        for name in crowded.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            // Nothing is to be done before its time.
            self.step(&name, Input::Room);
        }
    }

    fn add(&mut self, name: &str, wanted: Wanted, source: Source) {
        self.control.at(name, None);
        self.turns.add(Load {
            name: name.to_owned(),
            wanted,
            source,
        });
    }

    fn steps_of(&self, name: &str) -> AtStep {
        let (control, name) = (self.control.clone(), name.to_owned());
        Arc::new(move |step| control.goes_on(&name, step))
    }

    fn begin_loads(&mut self) {
        let now = self.clock.now();
        while let Some(load) = self.turns.next(now) {
            let name = load.name.clone();
            if let Some(failure) = self.failures.find(now, load.wanted.module, self.conditions) {
                let failed = Failed::refused(known(&name, failure, now));
                self.jobs
                    .spawn(&name, Doing::Load, async { Ended::Loaded(Box::new(Err(failed))) });
                continue;
            }
            let loading = loading::load(
                self.options.modules.clone(),
                self.options.store.clone(),
                ModuleFile::within(&self.options.directory, &name),
                load,
                self.options.config.host.max_module_bytes(),
                self.steps_of(&name),
            );
            self.jobs.spawn(
                &name,
                Doing::Load,
                async move { Ended::Loaded(Box::new(loading.await)) },
            );
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
