//! `pilothouse dev`: the host together with a local cluster.

use std::{
    fs, io,
    io::IsTerminal as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kube::Client;
use pilothouse_controller::{Host, HostOptions};
use pilothouse_localcluster::{Cluster, http as face, kubeconfig, shared::SharedCluster};
use pilothouse_object::escape_control;
use pilothouse_runtime::Level;
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet};

use crate::{
    apply,
    args::{self, Colour, LogFormat},
    documents::{self, Document},
    exit::{FAILED, FORCED, Stop},
    front::{Front, pause},
    logging, plugins,
    present::{Note, Presenter, Style},
    serve,
    signals::Signals,
    stream::{Stream, Writer},
};

/// Running reconciles may take so long to end.
const GRACE: Duration = Duration::from_secs(5);

/// Nothing may have happened for so long before `--until-idle` believes that nothing is left to do: longer than it takes
/// for an event to come from the local API server into a queue.
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
    let result = with_stream(args, &stream).await;
    finish(writer, &result);
    result
}

/// A reader that stands still (a terminal after Ctrl-S) must not keep a program alive that was forced to end.
fn finish(writer: Writer, result: &Result<(), Stop>) {
    if !matches!(result, Err(Stop { code: FORCED, .. })) {
        writer.finish();
    }
}

async fn with_stream(args: &args::Dev, stream: &Stream) -> Result<(), Stop> {
    let config = plugins::config(args.config.as_deref())?.granting_what_is_asked();
    plugins::check(&args.plugins)?;
    let documents = documents::read(&args.apply).map_err(Stop::usage)?;
    let mut signals = Signals::listen().map_err(|error| Stop::failed(format!("can't listen to signals: {error}")))?;

    let listener = bind(args.port).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Stop::failed(format!("the local API server: {error}")))?;
    let cluster = SharedCluster::new(Cluster::new(fastrand::u64(..)), wall_clock);
    let mut tasks = JoinSet::new();
    let (shut, shutting) = oneshot::channel::<()>();
    tasks.spawn(face::serve(listener, cluster.clone(), async move {
        // An error: the sender is gone, which means the same.
        let _ = shutting.await;
    }));
    write_kubeconfig(&args.kubeconfig_out, address)?;
    let server = format!("http://{address}");
    stream.note(&Note::Serving {
        server: &server,
        kubeconfig: &args.kubeconfig_out,
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

    let work = work(args, stream, &config, &cluster, &server, documents, &front);
    let ended = tokio::select! {
        biased;
        signal = signals.next() => {
            stream.note(&Note::Stopping { why: signal });
            Ok(())
        }
        () = stream.closed() => Ok(()),
        ended = work => ended,
    };
    let stopped = front.stop(GRACE, &mut signals).await;
    if !matches!(stopped, Err(Stop { code: FORCED, .. })) {
        // An error: the face has ended already.
        let _ = shut.send(());
        tokio::select! {
            biased;
            _ = tasks.join_next() => {}
            _ = signals.next() => {}
        }
    }
    ended.and(stopped)
}

/// Everything between the start of the local API server and the end. Without `--until-idle` it returns only if something
/// is wrong.
async fn work(
    args: &args::Dev,
    stream: &Stream,
    config: &pilothouse_lifecycle::Config,
    cluster: &SharedCluster,
    server: &str,
    documents: Vec<Document>,
    front: &Front,
) -> Result<(), Stop> {
    // What the plugins watch is there before they are, or their first lists would have to be tried again.
    let (first, rest) = documents::split(documents);
    apply_all(stream, cluster, &first)?;
    let plugins = plugins::load(&args.plugins, config).await?;
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
        });
    }
    if let Some(stop) = plugins.none_loaded(&args.plugins) {
        // Refused plugins are what one is here for. An empty directory may be meant: the local cluster alone is of use.
        if plugins.refused > 0 {
            return Err(stop);
        }
        tracing::warn!("{stop}; the local cluster runs alone");
    }
    let mut client = kube::Config::new(
        server
            .parse()
            .map_err(|error| Stop::failed(format!("{server}: {error}")))?,
    );
    client.default_retry = false;
    let client = Client::try_from(client).map_err(|error| Stop::failed(format!("{server}: {error}")))?;
    let mut options = HostOptions::new(fastrand::u64(..), Arc::new(stream.clone()));
    options.pool = config.host.pool_size as usize;
    front.put(Host::start(client, plugins.loaded, options));
    apply_all(stream, cluster, &rest)?;

    let settled = async {
        front.ready().await;
        stream.note(&Note::Ready);
        if args.until_idle {
            settled(stream, cluster, front).await;
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
async fn settled(stream: &Stream, cluster: &SharedCluster, front: &Front) {
    let look = || {
        (
            front.is_idle(),
            stream.happenings(),
            cluster.with(|cluster, _| cluster.version()),
        )
    };
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

fn apply_all(stream: &Stream, cluster: &SharedCluster, documents: &[Document]) -> Result<(), Stop> {
    for document in documents {
        let applied = apply::apply(cluster, document).map_err(Stop::usage)?;
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

async fn bind(port: u16) -> Result<TcpListener, Stop> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    serve::bind(address).await.map_err(|error| {
        Stop::usage(format!(
            "the local API server: {error}: choose another with --port, or leave --port out for a free one"
        ))
    })
}

/// Writes the kubeconfig; its directory is made where it is missing. In the default directory nothing is for version
/// control.
fn write_kubeconfig(path: &Path, address: SocketAddr) -> Result<(), Stop> {
    let failed = |error: io::Error| {
        Stop::usage(format!(
            "{}: can't be written: {error}: choose another place with --kubeconfig-out",
            path.display()
        ))
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(failed)?;
        let ignore = directory.join(".gitignore");
        if directory == Path::new(".pilothouse") && !ignore.exists() {
            fs::write(ignore, "*\n").map_err(failed)?;
        }
    }
    kubeconfig::write(path, address).map_err(|error| Stop::usage(error.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "the driver's wall clock")]
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn style(colour: Colour) -> Style {
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
