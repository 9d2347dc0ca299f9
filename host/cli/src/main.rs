//! The binary `pilothouse`: `run`, `dev`, `inspect`, `rbac`, `pack`, and what operators ask a running host.
//!
//! Promises: data goes to stdout and logs to stderr; every error is one message that names what, where and the mend;
//! exit codes mean what `--help` says. Nothing heavy is done before it is needed: the program answers within
//! milliseconds.

mod admin;
mod apply;
mod args;
mod dev;
mod digest_key;
mod documents;
mod exit;
mod front;
mod inspect;
mod kubeconfig;
mod life_events;
mod lives;
mod local;
mod logging;
mod ops;
mod pack;
mod plugins;
mod present;
mod process;
mod quiet;
mod rbac;
mod reach;
mod run;
mod serve;
mod settings;
mod signals;
mod stream;

use std::{
    io::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser as _;
use serde_json::json;

use crate::{
    args::{Cli, Command, LogFormat},
    exit::{FORCED, OK, Stop},
};

/// How long threads that still compute (a compiler, say) may hold up the end.
const LAST_WAIT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the driver's clock")]
    let started = Instant::now();
    let cli = Cli::parse();
    #[cfg(unix)]
    if matches!(cli.command, Command::Compile) {
        // Before there are threads or anything else that its limits would meet.
        return pilothouse_runtime::compile_child_main();
    }
    logging::start(cli.log_format, &cli.log_level);
    let code = match start(&cli, started) {
        Ok(code) => code,
        Err(stop) => {
            tell(&stop, cli.log_format);
            stop.code
        }
    };
    if code == FORCED {
        // Without waiting for anything: a thread may be stuck in a write to a terminal that stands still.
        std::process::exit(FORCED.into());
    }
    ExitCode::from(code)
}

/// The one message, whatever the log level.
fn tell(stop: &Stop, format: LogFormat) {
    let line = match format {
        LogFormat::Text => logging::indented(&format!("error: {stop}")),
        LogFormat::Json => present::json_line(&json!({"level": "ERROR", "fields": {"message": stop.message}})),
    };
    // Nobody is left to tell that nobody reads stderr.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

fn start(cli: &Cli, started: Instant) -> Result<u8, Stop> {
    // A plugin has a file, and so has each connection.
    #[cfg(unix)]
    if let Err(error) = pilothouse_runtime::raise_open_files() {
        tracing::warn!("the limit on open files stays as it is: it can't be raised to the hard one: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format!("the threads that everything runs on can't be started: {error}")))?;
    let result = runtime.block_on(async {
        match &cli.command {
            Command::Run(args) => run::run(args).await.map(|()| OK),
            Command::Dev(args) => dev::dev(args, cli.log_format, logging::plugin_level(&cli.log_level), started)
                .await
                .map(|()| OK),
            Command::Inspect(args) => inspect::inspect(args).await,
            Command::Pack(args) => pack::pack(args).await.map(|()| OK),
            Command::Status(args) => ops::status(args).await,
            Command::Plugins(args) => ops::plugins(args).await,
            Command::Queue(args) => ops::queue(args).await,
            Command::Parked(args) => ops::parked(args).await,
            Command::Compile => Err(Stop::usage(
                "`compile` is for the host to call, and there is no such process here",
            )),
            Command::Rbac(args) => rbac::rbac(args).await,
        }
    });
    runtime.shutdown_timeout(LAST_WAIT);
    result
}
