//! `pilothouse dev`: the host together with a local cluster, or on one that is given, and a stream of what happens.

use std::{
    io,
    io::IsTerminal as _,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use pilothouse_apiclient::Meter;
use pilothouse_controller::{Host, HostOptions};
use pilothouse_lifecycle::HostConfig;
use pilothouse_object::escape_control;
use pilothouse_runtime::Level;
use tokio::task::JoinSet;

use crate::{
    apply::Applier,
    args::{self, Colour, LogFormat},
    documents::{self, Document},
    exit::{FAILED, FORCED, Stop},
    front::{Front, pause},
    kubeconfig,
    local::Local,
    logging, plugins,
    present::{Note, Presenter, Style},
    reach::reach,
    serve, settings,
    signals::Signals,
    stream::{Stream, Writer},
};

/// Running reconciles may take so long to end.
const GRACE: Duration = Duration::from_secs(5);

/// Nothing may have happened for so long before `--until-idle` believes that nothing is left to do: longer than it
/// takes for an event to come from the local API server into a queue.
const QUIET: Duration = Duration::from_millis(400);

/// How often `--until-idle` looks.
const LOOK: Duration = Duration::from_millis(50);

/// Runs until a signal, or until nothing is left to do.
///
/// # Errors
/// Wrong usage or configuration, no plugin that loads, or with `--until-idle`: it did not go well.
pub(crate) async fn dev(args: &args::Dev, format: LogFormat, level: Level, started: Instant) -> Result<(), Stop> {
    let presenter = Presenter::new(format, style(args.color), level);
    let (stream, writer) = Stream::start(presenter, started)
        .map_err(|error| Stop::failed(format!("no thread can be started: {error}")))?;
    let mut signals = None;
    let result = with_stream(args, &stream, &mut signals).await;
    match &mut signals {
        Some(signals) => finish(writer, result, signals).await,
        // It did not come so far as to have much to say.
        None => {
            writer.finish();
            result
        }
    }
}

/// Waits until the stream is written, but for a signal: a reader that stands still (a terminal after Ctrl-S) must not
/// keep a program alive that is told to end.
async fn finish(writer: Writer, result: Result<(), Stop>, signals: &mut Signals) -> Result<(), Stop> {
    if matches!(result, Err(Stop { code: FORCED, .. })) {
        return result;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this is a driver: the thread may block as long as the reader"
    )]
    let written = tokio::task::spawn_blocking(move || writer.finish());
    tokio::select! {
        biased;
        ended = written => {
            if let Err(error) = ended {
                tracing::error!(%error, "the end of the stream could not be waited for");
            }
            result
        }
        signal = signals.next() => Err(forced(signal, "nobody read the end of the stream on stdout")),
    }
}

/// From the moment that it listens to signals they are in `signals`.
async fn with_stream(args: &args::Dev, stream: &Stream, signals: &mut Option<Signals>) -> Result<(), Stop> {
    let config = plugins::config(args.config.as_deref())?
        .granting_what_is_asked(args.kubeconfig.is_none() && args.context.is_none());
    plugins::check(&args.plugins)?;
    let documents = documents::read(&args.apply).map_err(Stop::usage)?;
    // Not before: until here a signal ends the program by itself, also while it waits for a file.
    let listening = Signals::listen().map_err(|error| Stop::failed(format!("can't listen to signals: {error}")))?;
    let signals = signals.insert(listening);

    let site = Site::find(args, &config.host).await?;
    stream.note(&match &site {
        Site::Local(local) => Note::Serving {
            server: local.server(),
            kubeconfig: &args.kubeconfig_out,
        },
        Site::Given { server, source, .. } => Note::Using { server, source },
    });

    let front = Arc::new(Front::default());
    front.wait_for("the plugins to be loaded");
    let mut health = JoinSet::new();
    if let Some(address) = args.metrics_address.address() {
        let listener = serve::bind(address)
            .await
            .map_err(|error| Stop::usage(format!("metrics: {error}: choose another with --metrics-address")))?;
        health.spawn(serve::serve(listener, front.clone()));
    }

    let work = work(args, stream, &config, &site, documents, &front);
    let ended = tokio::select! {
        biased;
        signal = signals.next() => {
            stream.note(&Note::Stopping { why: signal });
            Ok(())
        }
        () = stream.closed() => Ok(()),
        ended = work => ended,
    };
    let stopped = front.stop(GRACE, signals).await;
    if let Err(Stop { code: FORCED, .. }) = stopped {
        return stopped;
    }
    if let Site::Local(local) = site {
        let cut = |signal| forced(signal, "clients of the local API server were cut off");
        local.stop(signals).await.map_err(cut)?;
    }
    ended.and(stopped)
}

fn forced(signal: &str, what: &str) -> Stop {
    Stop {
        code: FORCED,
        message: format!("forced to end by a second signal ({signal}): {what}"),
    }
}

/// The cluster that the plugins work on.
enum Site {
    /// One in memory, which ends with us.
    Local(Local),
    /// One that people named.
    Given {
        client: Client,
        /// Counts the client's requests.
        meter: Meter,
        server: String,
        /// Where its address came from.
        source: String,
    },
}

impl Site {
    async fn find(args: &args::Dev, config: &HostConfig) -> Result<Self, Stop> {
        if args.kubeconfig.is_none() && args.context.is_none() {
            return Ok(Self::Local(Local::start(args.port, &args.kubeconfig_out).await?));
        }
        let surroundings = kubeconfig::Surroundings::of_process();
        let target = kubeconfig::find(args.kubeconfig.as_deref(), args.context.as_deref(), &surroundings).await?;
        let meter = Meter::default();
        Ok(Self::Given {
            server: target.config.cluster_url.to_string(),
            source: target.source.clone(),
            client: kubeconfig::client(target, settings::connections(config), &meter)?,
            meter,
        })
    }

    /// A client, once the cluster can be reached, and what counts its requests.
    async fn reached(&self, config: &HostConfig) -> Result<(Client, Meter), Stop> {
        match self {
            Self::Local(local) => {
                let meter = Meter::default();
                Ok((local.client(settings::connections(config), &meter)?, meter))
            }
            Self::Given {
                client, meter, server, ..
            } => {
                reach(client, server).await;
                Ok((client.clone(), meter.clone()))
            }
        }
    }

    /// A number that grows with each change, where that can be known.
    fn version(&self) -> Option<u64> {
        match self {
            Self::Local(local) => Some(local.version()),
            Self::Given { .. } => None,
        }
    }
}

/// Everything between the start of the API server and the end. Without `--until-idle` it returns only if something
/// is wrong.
async fn work(
    args: &args::Dev,
    stream: &Stream,
    config: &pilothouse_lifecycle::Config,
    site: &Site,
    documents: Vec<Document>,
    front: &Front,
) -> Result<(), Stop> {
    // What the plugins watch is there before they are, or their first lists would have to be tried again.
    let (first, rest) = documents::split(documents);
    let (client, meter) = site.reached(&config.host).await?;
    let mut applier = Applier::new(client.clone());
    apply_all(stream, &mut applier, &first).await?;
    let modules = plugins::modules(config, None)?;
    let plugins = plugins::load(&modules, &args.plugins, config).await?;
    for plugin in &plugins.loaded {
        let by_operator = config
            .plugins
            .get(&*plugin.name)
            .is_some_and(|own| own.grants.is_some());
        let asked = (!by_operator).then_some(plugin.manifest.permissions.len());
        let version = escape_control(&plugin.manifest.version).into_owned();
        stream.note(&Note::Loaded {
            plugin: &plugin.name,
            version: &version,
            asked,
            local: matches!(site, Site::Local(_)),
        });
    }
    if let Some(stop) = plugins.none_loaded(&args.plugins) {
        // Refused plugins are what one is here for. An empty directory may be meant: the local cluster alone is of use.
        if plugins.refused > 0 {
            return Err(stop);
        }
        tracing::warn!("{stop}; the cluster is without any");
    }
    let mut options = HostOptions::new(fastrand::u64(..), Arc::new(stream.clone()));
    settings::apply(&config.host, &mut options);
    options.meter = meter;
    options.lane = Some(plugins::lane()?);
    front.put(Host::start(client, plugins.loaded, options));
    apply_all(stream, &mut applier, &rest).await?;

    let settled = async {
        front.ready().await;
        stream.note(&Note::Ready);
        if args.until_idle {
            settled(stream, site, front).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let timeout = async {
        if args.until_idle {
            pause(Duration::from_secs(args.timeout.into())).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let in_time = tokio::select! {
        biased;
        () = settled => true,
        () = timeout => false,
    };
    if in_time {
        stream.note(&Note::Settled);
    }
    verdict(args, stream, front, plugins.refused, in_time)
}

/// Returns once nothing has happened for a while and nothing is left to do.
async fn settled(stream: &Stream, site: &Site, front: &Front) {
    let look = || (front.is_idle(), stream.happenings(), site.version());
    let mut last = look();
    let mut quiet = Duration::ZERO;
    while quiet < QUIET {
        pause(LOOK).await;
        let now = look();
        quiet = if now == last && now.0 {
            quiet + LOOK
        } else {
            Duration::ZERO
        };
        last = now;
    }
}

/// How it went, for `--until-idle`.
fn verdict(args: &args::Dev, stream: &Stream, front: &Front, refused: usize, in_time: bool) -> Result<(), Stop> {
    let mut wrong = Vec::new();
    if !in_time {
        wrong.push(format!("it did not settle within {} s", args.timeout));
        wrong.extend(
            serve::Health::waiting_for(front)
                .iter()
                .take(10)
                .map(|line| format!("waiting for {}", escape_control(line))),
        );
    }
    let failing = stream.failing();
    if !failing.is_empty() {
        let shown: Vec<String> = failing
            .iter()
            .take(10)
            .map(|(id, key)| format!("{id} {}", escape_control(&key.to_string())))
            .collect();
        let more = if failing.len() > shown.len() {
            format!(" and {} more", failing.len() - shown.len())
        } else {
            String::new()
        };
        wrong.push(format!("failing: {}{more}", shown.join(", ")));
    }
    if refused > 0 {
        wrong.push(format!("{refused} of the plugins were refused"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Stop {
            code: FAILED,
            message: wrong.join("; "),
        })
    }
}

async fn apply_all(stream: &Stream, applier: &mut Applier, documents: &[Document]) -> Result<(), Stop> {
    for document in documents {
        let applied = applier.apply(document).await.map_err(Stop::usage)?;
        for warning in &applied.warnings {
            tracing::warn!("{}: {warning}", document.place);
        }
        let file = &document.place.file;
        stream.note(&Note::Applied {
            done: applied.done,
            kind: &document.kind,
            key: &applied.key,
            file,
        });
    }
    Ok(())
}

/// How what goes to stdout looks.
pub(crate) fn style(colour: Colour) -> Style {
    let colour = match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
            io::stdout().is_terminal() && !dumb && !logging::no_colour()
        }
    };
    Style {
        colour,
        unicode: is_unicode(|name| std::env::var(name).ok()),
    }
}

/// Whether the locale is a UTF-8 one, by the first of these variables that is set. Where none is set (containers, say)
/// it is taken for one: nothing there is a terminal that can't.
fn is_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    locale.is_none_or(|locale| {
        let locale = locale.to_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_beyond_ascii_are_for_utf_8_locales() {
        let of =
            |name: &'static str, value: &'static str| is_unicode(|asked| (asked == name).then(|| value.to_owned()));
        assert!(of("LANG", "en_GB.UTF-8") && of("LC_ALL", "C.utf8") && of("LANG", ""));
        assert!(!of("LC_ALL", "C") && !of("LANG", "de_DE.ISO-8859-1"));
    }
}
