//! The command lines of what operators ask and tell a running host.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::args::{Colour, MetricsAddress};

/// Where a host serves operators' commands.
#[derive(Debug, Default, Args)]
pub(crate) struct AdminServer {
    /// Unix socket where `pilothouse status` and its like reach this host, or `off`. It is made in a directory that must
    /// be this user's alone. Wins over host.adminSocket of the configuration file.
    /// [default: $XDG_RUNTIME_DIR/pilothouse/admin.sock, or /tmp/pilothouse-UID/admin.sock]
    #[arg(verbatim_doc_comment, long, value_name = "PATH", value_parser = path())]
    pub(crate) admin_socket: Option<PathBuf>,

    /// Where the same is served over HTTP, for those who have the token: ADDRESS:PORT, or `off`. Wins over
    /// host.adminAddress. [default: off]
    #[arg(verbatim_doc_comment, long, value_name = "ADDRESS")]
    pub(crate) admin_address: Option<MetricsAddress>,

    /// File with that token, readable by this user alone. Wins over host.adminTokenFile.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub(crate) admin_token_file: Option<PathBuf>,
}

fn path() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    use clap::builder::{NonEmptyStringValueParser, TypedValueParser as _};
    NonEmptyStringValueParser::new().map(PathBuf::from)
}

/// Which host is asked, and how its answer is shown.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// Unix socket of the host, where it was started with another than the default.
    #[arg(long, value_name = "PATH", conflicts_with = "admin_address", value_parser = path())]
    pub(crate) admin_socket: Option<PathBuf>,

    /// Ask over HTTP, at ADDRESS:PORT, with the token of --admin-token-file.
    #[arg(long, value_name = "ADDRESS", requires = "admin_token_file")]
    pub(crate) admin_address: Option<SocketAddr>,

    /// File with the token, readable by this user alone.
    #[arg(long, value_name = "FILE", requires = "admin_address", value_parser = path())]
    pub(crate) admin_token_file: Option<PathBuf>,

    /// Form of the answer: text, wide (text with more columns) or json.
    #[arg(short, long, value_enum, default_value_t = Form::Text, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) output: Form,

    /// Whether to use colours; `auto` does on terminals, and never where NO_COLOR is set.
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Text,
    Wide,
    Json,
}

/// Show what a running host and each of its plugins do.
///
/// Asks the host over its admin socket, which only its own user (and root) can use, or over HTTP with a token.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = STATUS_HELP)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) asking: Asking,
}

const STATUS_HELP: &str = "\
Examples:
  pilothouse status
  pilothouse status -o wide
  pilothouse status -o json | jq '.plugins[] | select(.breaker.state != \"closed\") | .name'
  pilothouse status --admin-address 127.0.0.1:9091 --admin-token-file token

Columns:
  RUN      reconciles that run, of those that may at once
  QUEUE    keys that are ready + keys that become ready later
  PARKED   keys that wait for a change, after failures
  OLDEST   how long the key waits that is ready longest";

/// List the plugins of a running host, look at one, or tell the host what to do with it.
#[derive(Debug, Args)]
#[command(after_help = PLUGINS_HELP)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    pub(crate) what: PluginsWhat,
}

const PLUGINS_HELP: &str = "\
Examples:
  pilothouse plugins list
  pilothouse plugins show greeting
  pilothouse plugins disable greeting
  pilothouse plugins rollback greeting
  pilothouse plugins promote greeting 3f2a9c41d07b
  pilothouse plugins reset greeting       # close its breaker, take it out of quarantine";

#[derive(Debug, Subcommand)]
pub(crate) enum PluginsWhat {
    /// The plugins, as `pilothouse status` shows them.
    List(Asking),
    /// One plugin: versions, why one does not serve, breaker, queue, what it asked for, what happened to it.
    Show(Plugin),
    /// Let it run, whatever its configuration says.
    Enable(Order),
    /// Unload it and keep it so, whatever its configuration says: running reconciles end, nothing new begins.
    Disable(Order),
    /// Let a version serve whatever was said against it: one that is at hand (`plugins show`), or what the directory holds.
    Promote(Promote),
    /// Bring back the version before the one that serves, which is not loaded again by itself.
    Rollback(Order),
    /// Close its breaker, and take it out of quarantine.
    Reset(Order),
}

#[derive(Debug, Args)]
pub(crate) struct Plugin {
    /// The plugin: its file's name without `.wasm`.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Order {
    /// The plugin: its file's name without `.wasm`.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) waiting: Waiting,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Waiting {
    /// Seconds to wait until it is done, 0 to 300; after that the host goes on with it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=300))]
    pub(crate) wait: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The plugin: its file's name without `.wasm`.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The version: the SHA-256 of its module, or at least 6 of its first digits.
    #[arg(value_name = "HASH")]
    pub(crate) hash: String,

    #[command(flatten)]
    pub(crate) waiting: Waiting,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// Show the keys in a plugin's queue: where each is, how often it failed, when it runs, and why it is there.
#[derive(Debug, Args)]
#[command(after_help = QUEUE_HELP)]
pub(crate) struct Queue {
    /// The plugin: its file's name without `.wasm`.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Of this controller of it alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) controller: Option<String>,

    /// Keys of each controller that are shown, 1 to 500: those in work first, then the ready ones, then the delayed ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

const QUEUE_HELP: &str = "\
Examples:
  pilothouse queue greeting
  pilothouse queue greeting --limit 10 -o wide
  pilothouse queue greeting -o json | jq '.controllers[].keys[] | select(.attempts > 3)'";

/// List and look at parked keys, try them again, or drop them.
///
/// A parked key failed for good, or as often as it may, and waits until something changes.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = PARKED_HELP)]
pub(crate) struct Parked {
    #[command(subcommand)]
    pub(crate) what: ParkedWhat,
}

const PARKED_HELP: &str = "\
Examples:
  pilothouse parked list
  pilothouse parked list --plugin greeting
  pilothouse parked show greeting default/world
  pilothouse parked retry greeting default/world
  pilothouse parked retry greeting --all
  pilothouse parked drop greeting default/world    # forget it until something changes";

#[derive(Debug, Subcommand)]
pub(crate) enum ParkedWhat {
    /// The parked keys and why they are.
    List(ParkedList),
    /// One parked key with its last errors.
    Show(ParkedKey),
    /// Try keys again now, with a new round of attempts.
    Retry(ParkedKeys),
    /// Forget keys without running them; they come back with the next change that concerns them.
    Drop(ParkedKeys),
}

#[derive(Debug, Args)]
pub(crate) struct ParkedList {
    /// Of this plugin alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) plugin: Option<String>,

    /// Keys that are shown at most; all of them with 0.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(crate) limit: u32,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct ParkedKey {
    /// The plugin: its file's name without `.wasm`.
    #[arg(value_name = "NAME")]
    pub(crate) plugin: String,

    /// The key: NAMESPACE/NAME, or NAME of what belongs to no namespace.
    #[arg(value_name = "KEY")]
    pub(crate) key: String,

    /// Of this controller of it alone.
    #[arg(long, value_name = "NAME")]
    pub(crate) controller: Option<String>,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct ParkedKeys {
    /// The plugin: its file's name without `.wasm`. With --all it may be left out: then of all plugins.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) plugin: Option<String>,

    /// The key: NAMESPACE/NAME, or NAME of what belongs to no namespace.
    #[arg(value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) key: Option<String>,

    /// All that are parked.
    #[arg(long)]
    pub(crate) all: bool,

    /// Of this controller of it alone.
    #[arg(long, value_name = "NAME", requires = "plugin")]
    pub(crate) controller: Option<String>,

    #[command(flatten)]
    pub(crate) asking: Asking,
}
