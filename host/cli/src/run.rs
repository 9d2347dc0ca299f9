//! `pilothouse run`: the host against a cluster.

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode};
use kube::{Client, client::Body};
use pilothouse_controller::{Happening, Host, HostOptions, Observer};
use pilothouse_object::{escape_control, shorten};
use pilothouse_runtime::Level;
use tokio::task::JoinSet;

use crate::{
    args,
    exit::Stop,
    front::{Front, pause},
    kubeconfig, plugins,
    present::duration,
    serve,
    signals::Signals,
};

/// How often an API server that isn't there is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);

/// Runs until a signal.
///
/// # Errors
/// Wrong usage or configuration, no plugin, or reconciles that were cut at the end.
pub(crate) async fn run(args: &args::Run) -> Result<(), Stop> {
    let config = plugins::config(args.config.as_deref())?;
    plugins::check(&args.plugins)?;
    let surroundings = kubeconfig::Surroundings::of_process();
    let target = kubeconfig::find(args.kubeconfig.as_deref(), args.context.as_deref(), &surroundings).await?;
    let server = target.config.cluster_url.to_string();
    tracing::info!("the cluster is {server} (from {})", target.source);
    let client = kubeconfig::client(target)?;
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

    let started = async {
        let plugins = plugins::load(&args.plugins, &config).await?;
        if let Some(stop) = plugins.none_loaded(&args.plugins) {
            return Err(stop);
        }
        for plugin in &plugins.loaded {
            let version = escape_control(&plugin.manifest.version).into_owned();
            tracing::info!(plugin = &*plugin.name, version, hash = %plugin.hash, "plugin loaded");
        }
        front.wait_for(format!("the API server {server}"));
        reach(&client, &server).await;
        Ok(plugins)
    };
    let plugins = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::info!("stopped by {signal} before anything ran");
            return Ok(());
        }
        started = started => started?,
    };
    let mut options = HostOptions::new(fastrand::u64(..), Arc::new(Log));
    options.pool = config.host.pool_size as usize;
    front.put(Host::start(client, plugins.loaded, options));
    let own = front.clone();
    tasks.spawn(async move {
        own.ready().await;
        tracing::info!("ready: every controller runs");
    });

    let signal = signals.next().await;
    let grace = args.grace(config.host.grace_period());
    tracing::info!(
        "stopping ({signal}): running reconciles have {}; a second signal forces",
        duration(grace)
    );
    front.stop(grace, &mut signals).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Returns once the API server answers. Each different reason why it doesn't is said once.
async fn reach(client: &Client, server: &str) {
    let mut said = String::new();
    loop {
        match attempt(client).await {
            Ok(()) if said.is_empty() => return,
            Ok(()) => {
                tracing::info!("the API server {server} answers");
                return;
            }
            Err(why) => {
                if why != said {
                    tracing::warn!("the API server {server} {why}; waiting for it");
                    said = why;
                }
                pause(TRY_AGAIN).await;
            }
        }
    }
}

/// Whether the server answers. Any answer will do but one that says that nothing will be answered.
async fn attempt(client: &Client) -> Result<(), String> {
    let request = Request::get("/version")
        .body(Body::empty())
        .map_err(|error| format!("can't be asked: {error}"))?;
    #[expect(clippy::disallowed_methods, reason = "this is a driver: the try is bounded in time")]
    let answer = tokio::time::timeout(TRY, client.send(request)).await;
    match answer {
        Err(_) => Err(format!("does not answer within {}", duration(TRY))),
        Ok(Err(error)) => Err(unreachable(&error)),
        Ok(Ok(response)) => match response.status() {
            StatusCode::UNAUTHORIZED => {
                Err("refuses the kubeconfig's credentials (401): renew them, or choose another --context".to_owned())
            }
            status if status.is_server_error() => Err(format!("answers {status}")),
            _ => Ok(()),
        },
    }
}

/// The innermost reason, which is the one that tells, and the mend where it is known.
fn unreachable(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| error.source())
        .last()
        .unwrap_or(error);
    let text = escape_control(&shorten(&innermost.to_string(), 300)).into_owned();
    let mend = if text.contains("UnknownIssuer") {
        ": the kubeconfig's certificate-authority is not the one that signed the server's certificate"
    } else if text.contains("NotValidForName") {
        ": set tls-server-name in the kubeconfig to a name in the server's certificate"
    } else if text.contains("Expired") {
        ": a certificate has expired: renew it"
    } else {
        ""
    };
    format!("can't be reached ({text}){mend}")
}

/// What happens, as log lines: failures are warnings, what went well is for `--log-level debug`.
struct Log;

impl Observer for Log {
    fn happened(&self, happening: &Happening) {
        match happening {
            Happening::Started { id } => tracing::info!(controller = %id, "controller runs"),
            Happening::Reconciled(run) => {
                let object = format!("{} {}", run.kind.kind, run.key);
                let object = &*escape_control(&object);
                let why = || run.causes.first().map(ToString::to_string).unwrap_or_default();
                let failure = match &run.result {
                    Ok(Ok(_)) => {
                        tracing::debug!(
                            controller = %run.id, object, took = %duration(run.wall), writes = run.writes.len(), why = why(),
                            "reconciled"
                        );
                        return;
                    }
                    Ok(Err(failure)) => format!("{}: {}", failure.reason, failure.message),
                    Err(error) => error.to_string(),
                };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);
    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }
    impl std::error::Error for Layer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn what_is_wrong_with_a_connection_is_said_by_its_innermost_reason() {
        let refused = Layer("Connection refused (os error 111)", None);
        let error = Layer(
            "client error",
            Some(Box::new(Layer("connect", Some(Box::new(refused))))),
        );
        assert_eq!(
            unreachable(&error),
            "can't be reached (Connection refused (os error 111))"
        );
        let tls = Layer(
            "tls",
            Some(Box::new(Layer("invalid peer certificate: UnknownIssuer", None))),
        );
        assert!(
            unreachable(&tls).ends_with("certificate-authority is not the one that signed the server's certificate")
        );
    }
}
