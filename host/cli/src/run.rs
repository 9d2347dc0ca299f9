//! `pilothouse run`: the host against a cluster.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use pilothouse_apiclient::Meter;
use pilothouse_controller::{
    Happening, Host, HostOptions, Observer,
    breaker::Change,
    breaker_words,
    parked::{self, StateDirectory},
};
use pilothouse_lifecycle::{Supervisor, SupervisorOptions, kept::PluginStore};
use pilothouse_object::{escape_control, shorten};
use pilothouse_runtime::Level;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    admin::{Doors, Places, answers::Admin, recent::Recent},
    args, digest_key,
    exit::Stop,
    front::Front,
    kubeconfig, life_events,
    lives::Lives,
    plugins,
    present::duration,
    quiet::Quiet,
    reach::reach,
    serve, settings,
    signals::Signals,
};

/// So much trouble of plugins may wait to be judged.
const TROUBLES: usize = 1_024;

/// Runs until a signal.
///
/// # Errors
/// Wrong usage or configuration, or reconciles that were cut at the end. No plugin that loads is no error: it may come.
pub(crate) async fn run(args: &args::Run) -> Result<(), Stop> {
    let config = plugins::config(args.config.as_deref())?;
    plugins::check(&args.plugins)?;
    let state_directory = args.state_dir.as_deref().or(config.host.state_directory.as_deref());
    let state = state(state_directory)?;
    // Once the directory is this host's alone.
    let key = state_directory.map(digest_key::keep).transpose()?;
    let surroundings = kubeconfig::Surroundings::of_process();
    let target = kubeconfig::find(args.kubeconfig.as_deref(), args.context.as_deref(), &surroundings).await?;
    let server = target.config.cluster_url.to_string();
    tracing::info!("the cluster is {server} (from {})", target.source);
    let meter = Meter::default();
    let client = kubeconfig::client(target, settings::connections(&config.host), &meter)?;
    let mut signals = Signals::listen().map_err(|error| Stop::failed(format!("can't listen to signals: {error}")))?;

    let front = Arc::new(Front::default());
    front.wait_for("the plugins to be loaded");
    let mut tasks = JoinSet::new();
    let address = args
        .metrics_address
        .map_or(config.host.metrics_address, args::MetricsAddress::address);
    if let Some(address) = address {
        let listener = serve::bind(address).await.map_err(|error| {
            Stop::usage(format!(
                "metrics: {error}: choose another with --metrics-address, or `--metrics-address off`"
            ))
        })?;
        // Port 0 means a free one: say which it became.
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!("metrics and health at http://{address}");
        tasks.spawn(serve::serve(listener, front.clone()));
    }

    let recent = Arc::new(Recent::new());
    let doors = Doors::open(Places::find(&args.admin, &config.host)).await?;
    let admin = Arc::new(Admin {
        front: front.clone(),
        recent: recent.clone(),
        probation_seconds: config.host.probation_seconds.into(),
    });
    // Until the end, however this ends.
    let _socket = doors.serve(&admin, &mut tasks);

    let lives = Arc::new(Lives::default());
    let observer = recent.observing_lives(lives.clone());
    // Held until the host is there to send them.
    let (observer, notices) = life_events::telling(observer, config.host.namespace.as_deref());
    let supervised = SupervisorOptions {
        directory: args.plugins.clone(),
        modules: plugins::modules(&config, state_directory)?,
        config: config.clone(),
        observer,
        store: state_directory.map(store).transpose()?,
    };
    let mut supervisor = Supervisor::new(supervised);
    // Who looks during the start sees how far each plugin is.
    front.supervise(lives, supervisor.control());
    let started = async {
        let plugins = supervisor.load().await;
        let plugins = plugins.map_err(|error| Stop::usage(error.to_string()))?;
        if plugins.is_empty() {
            tracing::warn!(
                "{}: no plugin of it runs yet: what is put there, or mended, is loaded as it comes",
                escape_control(&args.plugins.display().to_string())
            );
        }
        front.wait_for(format!("the API server {server}"));
        reach(&client, &server).await;
        Ok::<_, Stop>(plugins)
    };
    let plugins = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!("stopped by {signal} before anything ran");
            return Ok(());
        }
        started = started => started?,
    };
    let mut options = HostOptions::new(fastrand::u64(..), recent.observing(Arc::new(Log::new())));
    settings::apply(&config.host, &mut options);
    options.meter = meter;
    options.parked = state;
    options.notices = notices;
    options.lane = Some(plugins::lane()?);
    options.quarantined = supervisor.quarantined();
    // What goes wrong with plugins that serve. Full: the same plugin's trouble is told a thousand times already.
    let (tell, troubles) = mpsc::channel(TROUBLES);
    options.trouble = Arc::new(move |trouble| _ = tell.try_send(trouble));
    if let Some(key) = key {
        options.digest_key = key;
    }
    let host = front.put(Host::start(client, plugins, options));
    let supervising = tasks.spawn(supervisor.run(host, troubles));
    let own = front.clone();
    tasks.spawn(async move {
        own.ready().await;
        tracing::info!("ready: {}", own.who_runs());
    });

    let signal = signals.next().await;
    // No plugin comes or goes any more.
    supervising.abort();
    let grace = args.grace(config.host.grace_period());
    tracing::info!(
        "stopping ({signal}): running reconciles have {}; a second signal forces",
        duration(grace)
    );
    front.stop(grace, &mut signals).await?;
    tracing::info!("stopped");
    Ok(())
}

/// The state directory with what the last host kept there, if there is to be one.
///
/// # Errors
/// It can't be used: better told now than found out after the next restart.
fn state(path: Option<&Path>) -> Result<Option<parked::State>, Stop> {
    let Some(path) = path else { return Ok(None) };
    let (directory, kept) = StateDirectory::open(path)
        .map_err(|error| Stop::usage(format!("state directory (--state-dir, host.stateDirectory): {error}")))?;
    let keys = kept.records.len();
    tracing::info!(
        keys,
        "parked keys are kept in {}",
        escape_control(&path.display().to_string())
    );
    let file = Arc::new(directory);
    Ok(Some(parked::State { file, kept }))
}

/// Where what is decided of plugins lies in the state directory, which this host has locked.
///
/// # Errors
/// It can't be used, or others might have written there.
fn store(state_directory: &Path) -> Result<Arc<PluginStore>, Stop> {
    let store = PluginStore::open(&state_directory.join("plugins"));
    let store = store.map_err(|error| Stop::usage(format!("plugins' versions in the state directory: {error}")))?;
    Ok(Arc::new(store))
}

/// What happens, as log lines: failures are warnings, what went well is for `--log-level debug`.
struct Log {
    began: Instant,
    quiet: Mutex<Quiet>,
}

impl Log {
    #[expect(clippy::disallowed_methods, reason = "this is a driver: its clock")]
    fn new() -> Self {
        Self {
            began: Instant::now(),
            quiet: Mutex::default(),
        }
    }
}

impl Observer for Log {
    fn happened(&self, happening: &Happening) {
        match happening {
            Happening::Started { id } => tracing::info!(controller = %id, "controller runs"),
            // Of versions that come and go `Lives` tells, which knows why.
            Happening::Swapped { .. } | Happening::Unloaded { .. } => {}
            Happening::Reconciled(run) => {
                let object = format!("{} {}", run.kind.kind, run.key);
                let object = &*escape_control(&object);
                let why = || run.causes.first().map(ToString::to_string).unwrap_or_default();
                let (reason, failure) = match &run.result {
                    Ok(Ok(_)) => {
                        tracing::debug!(
                            controller = %run.id, object, took = %duration(run.wall), writes = run.writes.len(), why = why(),
                            "reconciled"
                        );
                        return;
                    }
                    Ok(Err(failure)) => (&*failure.reason, format!("{}: {}", failure.reason, failure.message)),
                    Err(error) => (error.kind(), error.to_string()),
                };
                // The reason is the plugin's word.
                let kind = format!("{} {}", run.id, shorten(reason, 64));
                let told = {
                    let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
                    quiet.tell(self.began.elapsed(), &kind)
                };
                let Some(others) = told else {
                    tracing::debug!(controller = %run.id, object, "reconcile failed: {}", escape_control(&failure));
                    return;
                };
                if others > 0 {
                    tracing::warn!(
                        controller = %run.id, others,
                        "more reconciles failed like this one, and were not told one by one"
                    );
                }
                let next = match run.again_after {
                    _ if run.parked => "parked until something changes".to_owned(),
                    Some(after) => format!("again in {}", duration(after)),
                    None => "not again by itself".to_owned(),
                };
                tracing::warn!(
                    controller = %run.id, object, attempt = run.attempt, next, why = why(),
                    "reconcile failed: {}", escape_control(&shorten(&failure, 2_000))
                );
            }
            Happening::Breaker { plugin, change } => {
                let words = breaker_words(change);
                match change {
                    Change::Opened { .. } | Change::Quarantined { .. } => {
                        tracing::warn!(plugin = &**plugin, "breaker open: {words}");
                    }
                    Change::HalfOpened => tracing::info!(plugin = &**plugin, "breaker half-open: {words}"),
                    Change::Closed => tracing::info!(plugin = &**plugin, "breaker closed: {words}"),
                }
            }
            Happening::HotLoop(found) => {
                let object = found.key.to_string();
                tracing::warn!(controller = %found.id, object = &*escape_control(&object), "a key loops: {found}");
            }
            Happening::Logged {
                id,
                key,
                level,
                message,
                fields,
            } => {
                let object = key.to_string();
                let object = &*escape_control(&object);
                // In one field of their own, so that a plugin's fields never shadow the host's.
                let fields: serde_json::Map<String, serde_json::Value> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().into()))
                    .collect();
                let fields = serde_json::Value::Object(fields).to_string();
                let fields = &*escape_control(&fields);
                let message = escape_control(message);
                macro_rules! line {
                    ($level:ident) => {
                        tracing::$level!(target: "pilothouse::plugin", controller = %id, object, fields, "{message}")
                    };
                }
                match level {
                    Level::Error => line!(error),
                    Level::Warn => line!(warn),
                    Level::Info => line!(info),
                    Level::Debug => line!(debug),
                    Level::Trace => line!(trace),
                }
            }
            _ => {}
        }
    }
}
