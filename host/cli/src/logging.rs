//! The program's own log, on stderr: stdout is for data.

use std::io::IsTerminal as _;

use pilothouse_runtime::Level;
use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// kube logs every failed request as an error of its own; what fails is told by whoever sent the request.
const QUIET: [&str; 2] = ["kube_client::client::builder=off", "hyper_util=warn"];

/// Starts logging. `level` was checked by the command line. Called once.
pub(crate) fn start(format: LogFormat, level: &str) {
    let filter = QUIET
        .iter()
        .filter_map(|directive| directive.parse().ok())
        .fold(EnvFilter::builder().parse_lossy(level), EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && !no_colour();
            builder.with_ansi(colour).with_target(false).init();
        }
        LogFormat::Json => builder.json().flatten_event(false).init(),
    }
}

/// Whether the environment asks for no colours (<https://no-color.org>: set and not empty).
pub(crate) fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Which of a plugin's log lines `dev` shows: those that `--log-level` names without a part of the host.
pub(crate) fn plugin_level(level: &str) -> Level {
    let bare = level
        .split(',')
        .rfind(|directive| !directive.contains('='))
        .unwrap_or("info");
    match bare.trim().to_ascii_lowercase().as_str() {
        "off" | "error" => Level::Error,
        "warn" => Level::Warn,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => Level::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_of_plugins_is_the_one_without_a_part() {
        assert_eq!(plugin_level("debug"), Level::Debug);
        assert_eq!(plugin_level("pilothouse_informer=trace,warn"), Level::Warn);
        assert_eq!(plugin_level("pilothouse_informer=trace"), Level::Info);
    }
}
