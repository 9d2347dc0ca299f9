//! The driver of plugins' lives: watches the directory, loads one plugin at a time off the threads that serve, and has a
//! [`Stage`] serve them.
//!
//! What it decides, [`Life`] and `watch::Settling` decide; this reads, waits and hands over. The host begins with
//! [`Supervisor::load`], which loads what lies in the directory, and goes on with [`Supervisor::run`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pilothouse_runtime::Modules;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::config::Config;
use crate::directory::{Directory, DirectoryError, ModuleFile, own_config, without_module};
use crate::lives::{Act, Input, Life, LifeObserver, LifeStatus, Mark, Order, OrderError, Wanted};
use crate::load::{Hash, Plugin, load};
use crate::refusal::{Refusal, Step};
use crate::stage::{NotServed, Stage, Trouble};
use crate::watch::{Seen, Settling, Sighting, Watcher, look};

#[cfg(test)]
mod tests;

/// Two looks at the directory that agree must be so far apart.
const SETTLE: Duration = Duration::from_millis(200);

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
}

/// See the module's text.
pub struct Supervisor {
    options: SupervisorOptions,
    lives: BTreeMap<String, Life<Arc<Plugin>>>,
    /// What waits to be loaded.
    loads: VecDeque<(String, Wanted)>,
    settling: Settling,
    origin: Instant,
    orders: mpsc::Receiver<Asked>,
    control: Control,
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

/// What was done for a plugin, and how it ended.
enum Ended {
    Loaded(Box<Result<Plugin, Refusal>>),
    Served(Result<(), NotServed>),
    Withdrawn,
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Load,
    Serve,
    Withdraw,
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
            #[expect(clippy::disallowed_methods, reason = "a driver: its clock")]
            origin: Instant::now(),
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
        let mut plugins = Vec::new();
        for (name, sighting) in looked {
            let mut acts = self.found(&name, Some(sighting));
            // One step after the other until nothing is left to do for it. The host is not there yet: whatever may serve
            // will, as soon as it starts.
            while let Some(act) = acts.pop() {
                let input = match act {
                    Act::Load(wanted) => Input::Loaded(self.loading(&name, &wanted).await.map(Arc::new)),
                    Act::Serve(plugin) => {
                        plugins.push(plugin);
                        Input::Served(Ok(()))
                    }
                    Act::Tell(event) => {
                        self.options.observer.happened(&event);
                        continue;
                    }
                    Act::Cancel | Act::Adjust(_) => continue,
                    Act::Withdraw => Input::Withdrawn,
                };
                acts.extend(self.step(&name, input));
            }
        }
        Ok(plugins)
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
            self.begin_load(&mut jobs);
            tokio::select! {
                biased;
                Some((name, order, answer)) = self.orders.recv() => self.order(&name, order, answer, &stage, &mut jobs),
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
            }
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

    fn order(
        &mut self,
        name: &str,
        order: Order,
        answer: oneshot::Sender<Result<(), OrderError>>,
        stage: &Arc<dyn Stage>,
        jobs: &mut Jobs,
    ) {
        let ordered = match self.lives.get_mut(name) {
            Some(life) => life.order(order),
            None => Err(OrderError::NoPlugin),
        };
        let result = ordered.map(|acts| {
            self.show(name);
            self.act(name, acts, stage, jobs);
        });
        // Who asked may have gone.
        let _ = answer.send(result);
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
        let beside = match sighting.beside.clone().transpose()? {
            None => None,
            // Small enough to be read right here; it settled a moment ago.
            Some(print) => {
                let open = Directory::open(directory);
                let open = open.map_err(|error| Refusal::new(name, Step::Read, error.to_string(), ""))?;
                let read = open.beside(name)?.map(|(bytes, _)| bytes);
                match read.filter(|bytes| Hash::of(bytes) == print.hash) {
                    Some(bytes) => Some(bytes),
                    None => {
                        let why = format!("{name}.yaml changed while it was read");
                        return Err(Refusal::new(name, Step::Read, why, "nothing: it is looked at again"));
                    }
                }
            }
        };
        let config = own_config(&self.options.config, directory, name, beside.as_deref())?;
        Ok(Wanted {
            module,
            config: Arc::new(config),
        })
    }

    fn step(&mut self, name: &str, input: Input<Arc<Plugin>>) -> Vec<Act<Arc<Plugin>>> {
        let now = self.origin.elapsed();
        let rules = self.options.config.host.life_rules();
        let life = self
            .lives
            .entry(name.to_owned())
            .or_insert_with(|| Life::new(name, rules));
        let acts = life.step(now, input);
        self.show(name);
        acts
    }

    /// Brings what is told of a plugin up to date.
    fn show(&mut self, name: &str) {
        let now = self.origin.elapsed();
        let mut status = self.control.status.lock().unwrap_or_else(PoisonError::into_inner);
        match self.lives.get(name) {
            Some(life) if life.is_over() => {
                self.lives.remove(name);
                status.remove(name);
            }
            Some(life) => _ = status.insert(name.to_owned(), life.status(now)),
            None => {}
        }
    }

    fn act(&mut self, name: &str, acts: Vec<Act<Arc<Plugin>>>, stage: &Arc<dyn Stage>, jobs: &mut Jobs) {
        for act in acts {
            match act {
                Act::Tell(event) => self.options.observer.happened(&event),
                Act::Load(wanted) => self.loads.push_back((name.to_owned(), wanted)),
                Act::Cancel => jobs.cancel(name),
                Act::Adjust(plugin) => stage.adjust(&plugin),
                Act::Serve(plugin) => {
                    let stage = stage.clone();
                    jobs.spawn(
                        name,
                        Doing::Serve,
                        async move { Ended::Served(stage.serve(plugin).await) },
                    );
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
        if let Some((name, wanted)) = self.loads.pop_front() {
            let loading = self.loading(&name, &wanted);
            jobs.spawn(
                &name,
                Doing::Load,
                async move { Ended::Loaded(Box::new(loading.await)) },
            );
        }
    }

    fn loading(&self, name: &str, wanted: &Wanted) -> impl Future<Output = Result<Plugin, Refusal>> + Send + use<> {
        let modules = self.options.modules.clone();
        let file = ModuleFile::within(&self.options.directory, name);
        let (config, most) = (wanted.config.clone(), self.options.config.host.max_module_bytes());
        async move { load(&modules, &file, &config, most).await }
    }
}

/// What is being done for plugins.
#[derive(Default)]
struct Jobs {
    set: JoinSet<Ended>,
    of: HashMap<tokio::task::Id, (String, Doing, AbortHandle)>,
}

impl Jobs {
    fn spawn(&mut self, name: &str, doing: Doing, job: impl Future<Output = Ended> + Send + 'static) {
        let handle = self.set.spawn(job);
        self.of.insert(handle.id(), (name.to_owned(), doing, handle));
    }

    fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    fn loads(&self) -> bool {
        self.of.values().any(|(_, doing, _)| *doing == Doing::Load)
    }

    /// Ends the switch of this plugin. It answers all the same: with how it ended, if it was there first.
    fn cancel(&self, name: &str) {
        for (_, _, handle) in self
            .of
            .values()
            .filter(|(own, doing, _)| own == name && *doing == Doing::Serve)
        {
            handle.abort();
        }
    }

    /// The next that ends.
    async fn next(&mut self) -> Option<(String, Ended)> {
        let (id, ended) = match self.set.join_next_with_id().await? {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error.is_panic())),
        };
        let (name, doing, _) = self.of.remove(&id)?;
        let ended = ended.unwrap_or_else(|panicked| {
            let why = if panicked {
                "the host failed at this step"
            } else {
                "something newer was there before it"
            };
            let mend = "if it comes again, report it with the module: it is a bug of this host";
            match doing {
                Doing::Load => Ended::Loaded(Box::new(Err(Refusal::new(&name, Step::Read, why, mend)))),
                Doing::Serve => Ended::Served(Err(NotServed {
                    why: why.to_owned(),
                    mend: mend.to_owned(),
                })),
                Doing::Withdraw => Ended::Withdrawn,
            }
        });
        Some((name, ended))
    }
}
