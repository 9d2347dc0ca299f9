//! The command line. Its help is what a newcomer works from: each command says what it does and shows it.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::TypedValueParser as _};

use crate::ops::args as ops;
pub(crate) use crate::ops::args::AdminServer;

/// Runs Kubernetes controllers that are plugins: WebAssembly components in a sandbox.
#[derive(Debug, Parser)]
#[command(name = "pilothouse", version, about, propagate_version = true, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Form of logs (stderr) and of `dev`'s stream (stdout); json is one object a line.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,

    /// Least grave log lines shown: off, error, warn, info, debug or trace.
    ///
    /// Also for single parts of the host, as in `info,pilothouse_informer=debug`.
    #[arg(verbatim_doc_comment, long, global = true, default_value = "info", value_name = "LEVEL", value_parser = log_level)]
    pub(crate) log_level: String,
}

const AFTER_HELP: &str = "\
Where to begin:
  Look at a plugin:                     pilothouse inspect greeting.wasm
  Run it without any cluster:           pilothouse dev --plugins DIR --apply crd.yaml --apply objects.yaml
  Run it against your cluster:          pilothouse run --plugins DIR --config pilothouse.yaml
  Look at what a running host does:     pilothouse status

A plugin directory holds files NAME.wasm; a plugin's identity is its file name.

Exit codes:
    0  it ended as asked
    1  something went wrong while running; `inspect`: the module would not load; `pack`: it can't be packed;
       `rbac`: one or more would not load;
       `status`, `plugins`, `queue`, `parked`: no host is there, or it did not come to what was ordered
    2  wrong usage or configuration: command line, configuration file, kubeconfig, files to apply or to embed
    3  `dev`: no plugin could be loaded; `rbac`: there is none, or all are disabled
  130  a second Ctrl-C or SIGTERM forced the end";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Dev(Dev),
    Inspect(Inspect),
    Pack(Pack),
    Status(ops::Status),
    Plugins(ops::Plugins),
    Queue(ops::Queue),
    Parked(ops::Parked),
    /// Compile one module, for the host that starts this: not for people.
    #[command(hide = true)]
    Compile,
    Rbac(Rbac),
}

/// Run the plugins of a directory against a cluster.
///
/// The cluster is found as kubectl finds it: --kubeconfig, the files that KUBECONFIG names, ~/.kube/config, and inside
/// a pod its service account. If the API server isn't there yet, pilothouse waits for it.
///
/// A plugin may do nothing that the configuration file does not grant it; `pilothouse inspect MODULE` writes the grants
/// that it needs, ready to paste. A plugin that can't be loaded is reported, and the others run.
///
/// The directory is watched: a new NAME.wasm is loaded, another version of it takes the place of the old one without a key
/// lost, one that can't be loaded leaves the old one serving, and one that is deleted is unloaded. NAME.yaml beside it may
/// hold what the configuration file would say of it.
///
/// SIGTERM or Ctrl-C stops gracefully: running reconciles may end within the grace period. A second one forces.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = RUN_HELP)]
pub(crate) struct Run {
    /// Directory with the plugins, files NAME.wasm.
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: PathBuf,

    /// Configuration file: grants, configuration and limits of the plugins, settings of the host.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The kubeconfig, instead of KUBECONFIG, ~/.kube/config or a pod's service account.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig, instead of its current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Where /metrics, /healthz and /readyz are served, without authentication: ADDRESS:PORT, or `off`. Wins over
    /// host.metricsAddress of the configuration file. [default: 127.0.0.1:9090]
    #[arg(verbatim_doc_comment, long, value_name = "ADDRESS")]
    pub(crate) metrics_address: Option<MetricsAddress>,

    /// Seconds that running reconciles may take to end after the first signal, 0 to 3600. Wins over
    /// host.gracePeriodSeconds of the configuration file. [default: 30]
    #[arg(verbatim_doc_comment, long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(crate) grace_period: Option<u32>,

    /// Directory of this host alone where its parked keys are kept, so that after a restart those that did not change stay
    /// parked, and the code of its plugins, so that it is not compiled anew. Wins over host.stateDirectory of the
    /// configuration file. [default: none; every key is tried again]
    #[arg(verbatim_doc_comment, long, value_name = "DIR", value_parser = clap::builder::NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub(crate) state_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) admin: AdminServer,
}

const RUN_HELP: &str = "\
Examples:
  pilothouse run --plugins plugins/ --config pilothouse.yaml
  pilothouse run --plugins plugins/ --config pilothouse.yaml --context staging --metrics-address off
  curl http://127.0.0.1:9090/readyz      # what it still waits for, if anything

A configuration file:
  apiVersion: pilothouse.dev/v1
  plugins:
    greeting:                            # for plugins/greeting.wasm
      grants:
      - {group: demo.pilothouse.dev, kind: Greeting, verbs: [watch, patch]}
      - {group: demo.pilothouse.dev, kind: Greeting, verbs: [patch], subresources: [status]}
      - {group: \"\", kind: ConfigMap, verbs: [watch, create, patch, delete]}";

/// Run the plugins of a directory against a cluster in memory: no Kubernetes needed.
///
/// Starts a local API server on the loopback interface, writes a kubeconfig for it and says how kubectl reaches it,
/// then streams what happens: each reconcile with its result, why it ran, and what it wrote. Nothing survives its end.
///
/// With --kubeconfig or --context it works on that cluster instead, with the rights of the kubeconfig's user; what is
/// applied and written there stays.
///
/// Every plugin is granted what it asks for, unless the configuration file has `grants` for it.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = DEV_HELP)]
pub(crate) struct Dev {
    /// Directory with the plugins, files NAME.wasm.
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: PathBuf,

    /// Configuration file: grants, configuration and limits of the plugins.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// YAML or JSON files, or directories of them, to apply at the start; may be given again. CustomResourceDefinitions
    /// and Namespaces of all of them go first.
    #[arg(verbatim_doc_comment, long, value_name = "FILE_OR_DIR")]
    pub(crate) apply: Vec<PathBuf>,

    /// Work on the cluster of this kubeconfig, instead of one in memory.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubeconfig_out", "port"])]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Work on the cluster of this context, of --kubeconfig or of the kubeconfig that kubectl would take.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["kubeconfig_out", "port"])]
    pub(crate) context: Option<String>,

    /// Where the kubeconfig is written; what is there is replaced.
    #[arg(long, value_name = "FILE", default_value = ".pilothouse/kubeconfig")]
    pub(crate) kubeconfig_out: PathBuf,

    /// Port of the local API server on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,

    /// End once everything given was applied and nothing is left to do. The exit code is 0 if all went well, and 1 if a
    /// plugin was refused, an object is parked, or it did not settle in time.
    #[arg(verbatim_doc_comment, long)]
    pub(crate) until_idle: bool,

    /// How long --until-idle waits at most, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "until_idle", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: u32,

    /// Where /metrics, /healthz and /readyz are served: ADDRESS:PORT, or `off`.
    #[arg(long, value_name = "ADDRESS", default_value = "off")]
    pub(crate) metrics_address: MetricsAddress,

    /// Whether to use colours; `auto` does on terminals, and never where NO_COLOR is set.
    #[arg(long, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
}

const DEV_HELP: &str = "\
Examples:
  pilothouse dev --plugins target/plugins --apply crd.yaml --apply examples/
  export KUBECONFIG=$PWD/.pilothouse/kubeconfig     # in another terminal
  kubectl get greetings -w

  pilothouse dev --plugins target/plugins --context kind-kind                  # on a cluster of yours
  pilothouse dev --plugins target/plugins --apply manifests/ --until-idle      # for scripts
  pilothouse dev --plugins target/plugins --log-format json | jq .             # for machines

Reading the stream:
  \u{2713} went well    \u{23f2} went well and runs again later    \u{2717} failed
  why: what put the object into the queue, and after each \u{2190} what led to that
  wrote: what the plugin changed; log: what it said; note: what it waits for";

/// Show what a module is, what it watches and asks for, and whether this host would load it.
///
/// Nothing is run but the module's own description, without access to anything. The exit code is 1 if this host would
/// not load it, with the reason.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = INSPECT_HELP)]
pub(crate) struct Inspect {
    /// The module, a file NAME.wasm.
    #[arg(value_name = "MODULE")]
    pub(crate) module: PathBuf,

    /// Configuration file to hold the module against. Without one, the grants that it needs are written.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Only read what `pilothouse pack` embedded in the module: nothing is compiled or run. What is embedded is the word
    /// of whoever packed it; a host that loads the module asks the module itself, and refuses it if the two differ.
    #[arg(verbatim_doc_comment, long, conflicts_with = "config")]
    pub(crate) no_run: bool,

    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    pub(crate) output: Output,

    /// Write nothing but the grants that the module asks for, ready to paste: `file` as they stand in NAME.yaml beside
    /// the module, `config` as a configuration file. What amounts to more rights than it says stands under `dangerous`.
    #[arg(verbatim_doc_comment, long, value_enum, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "file", conflicts_with_all = ["output", "no_run"])]
    pub(crate) grant: Option<GrantForm>,
}

const INSPECT_HELP: &str = "\
Examples:
  pilothouse inspect plugins/greeting.wasm
  pilothouse inspect plugins/greeting.wasm --config pilothouse.yaml
  pilothouse inspect --no-run plugins/greeting.wasm
  pilothouse inspect plugins/greeting.wasm --grant=config > pilothouse.yaml
  pilothouse inspect plugins/greeting.wasm -o json | jq .manifest.controllers";

/// Make a module ready to be handed on: a component that says what it is without being run.
///
/// A core module for wasm32-wasip1 that was built against wit/plugin.wit becomes a component; what is a component already
/// is taken as it is. The manifest (as the module's own description says it), CustomResourceDefinitions and scenarios are
/// embedded, and `pilothouse inspect` shows them. What was embedded before goes. The same input gives the same bytes.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = PACK_HELP)]
pub(crate) struct Pack {
    /// The module: a component, or a core module for wasm32-wasip1.
    #[arg(value_name = "MODULE")]
    pub(crate) module: PathBuf,

    /// Where the packed module is written; a file there is replaced. [default: MODULE itself]
    #[arg(short, long, value_name = "OUT.wasm")]
    pub(crate) output: Option<PathBuf>,

    /// YAML or JSON files, or directories of them, that hold the CustomResourceDefinitions of the plugin's kinds; may be
    /// given again.
    #[arg(verbatim_doc_comment, long, value_name = "FILE_OR_DIR")]
    pub(crate) crd: Vec<PathBuf>,

    /// Directories whose text files, also those in folders below, are the plugin's scenarios; may be given again.
    #[arg(long, value_name = "DIR")]
    pub(crate) scenarios: Vec<PathBuf>,
}

const PACK_HELP: &str = "\
Examples:
  pilothouse pack greeting.wasm --crd crd.yaml
  pilothouse pack target/wasm32-wasip1/release/greeting.wasm -o plugins/greeting.wasm --crd crd.yaml --scenarios scenarios/
  pilothouse inspect --no-run plugins/greeting.wasm";

/// Print the least roles that the host needs on the cluster for the plugins of a directory.
///
/// For what a plugin is granted, in NAME.yaml beside it or in the configuration file; without either: for all that it asks
/// for. A ClusterRole has what is needed everywhere, a Role of each namespace what is needed there alone. Who the host is
/// and what binds it to them is yours to write. No cluster is asked and nothing of the modules is run but their
/// descriptions.
///
/// For a plugin that acts as another (impersonate) the host's role has what that takes, and a role pilothouse-NAME:account
/// what the other needs, with what binds it.
///
/// The exit code is 1 if a module would not load; its roles are then missing, and the reason is told.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = RBAC_HELP)]
pub(crate) struct Rbac {
    /// Directory with the plugins, files NAME.wasm.
    #[arg(value_name = "DIR")]
    pub(crate) plugins: PathBuf,

    /// Configuration file with what they are granted, but for those with a NAME.yaml beside them.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// YAML or JSON files, or directories of them, with CustomResourceDefinitions: how kinds that are not Kubernetes' own
    /// are called in roles. Of others it is guessed, and said so. May be given again.
    #[arg(verbatim_doc_comment, long, value_name = "FILE_OR_DIR")]
    pub(crate) crd: Vec<PathBuf>,

    /// Roles for each plugin, named pilothouse-PLUGIN, instead of those for all of them together, named pilothouse.
    #[arg(long)]
    pub(crate) per_plugin: bool,

    /// Form of the roles.
    #[arg(short, long, value_enum, default_value_t = RbacOutput::Yaml, value_name = "FORMAT")]
    pub(crate) output: RbacOutput,
}

const RBAC_HELP: &str = "\
Examples:
  pilothouse rbac plugins/ --config pilothouse.yaml --crd crds/ | kubectl apply -f -
  pilothouse rbac plugins/ --config pilothouse.yaml --per-plugin -o json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GrantForm {
    File,
    Config,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RbacOutput {
    Yaml,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

/// Where metrics and health are served, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsAddress {
    Off,
    At(SocketAddr),
}

impl MetricsAddress {
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" | "0" => return Ok(Self::Off),
            _ => {}
        }
        let spelled = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        match spelled.parse() {
            Ok(address) => Ok(Self::At(address)),
            Err(_) if text.starts_with(':') => Err(format!(
                "name the address as well: 127.0.0.1{text} for this machine alone, 0.0.0.0{text} for everybody who \
                 reaches it"
            )),
            Err(_) => Err("an address with its port is needed, as in 127.0.0.1:9090, or `off`".to_owned()),
        }
    }
}

fn log_level(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        // A bare word that is no level would be taken for the name of a part of the host, whatever it is.
        Ok(_) if text.split(',').any(is_level) => Ok(text.to_owned()),
        _ => Err(
            "one of off, error, warn, info, debug and trace is needed, as in `info` or \
                  `info,pilothouse_informer=debug`"
                .to_owned(),
        ),
    }
}

fn is_level(directive: &str) -> bool {
    let level = directive.rsplit('=').next().unwrap_or_default();
    ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|known| level.eq_ignore_ascii_case(known))
}

impl Run {
    /// The grace period: the flag's, or the configuration file's.
    pub(crate) fn grace(&self, configured: Duration) -> Duration {
        self.grace_period
            .map_or(configured, |seconds| Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_in_itself() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_examples_for_every_command() {
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:\n  pilothouse "), "{help}");
        }
    }

    #[test]
    fn the_metrics_address_can_be_an_address_or_off() {
        let read = |text: &str| text.parse::<MetricsAddress>();
        assert_eq!(read("off"), Ok(MetricsAddress::Off));
        assert_eq!(read("0"), Ok(MetricsAddress::Off));
        assert_eq!(read("localhost:1"), Ok(MetricsAddress::At(([127, 0, 0, 1], 1).into())));
        assert_eq!(
            read("0.0.0.0:8080"),
            Ok(MetricsAddress::At(([0, 0, 0, 0], 8080).into()))
        );
        assert!(
            read(":9090")
                .unwrap_err()
                .contains("127.0.0.1:9090 for this machine alone")
        );
        assert!(read("example").unwrap_err().contains("as in 127.0.0.1:9090"));
    }

    #[test]
    fn a_log_level_is_checked_on_the_command_line() {
        let with = |level: &str| Cli::try_parse_from(["pilothouse", "--log-level", level, "inspect", "x.wasm"]);
        assert_eq!(with("debug").unwrap().log_level, "debug");
        assert!(with("info,pilothouse_informer=trace").is_ok());
        let error = with("verbose").unwrap_err().to_string();
        assert!(
            error.contains("one of off, error, warn, info, debug and trace"),
            "{error}"
        );
        assert!(with("info,a=b=c").is_err());
    }

    #[test]
    fn the_grace_period_of_the_command_line_wins() {
        let parse = |more: &[&str]| {
            let args = ["pilothouse", "run", "--plugins", "p"].iter().chain(more);
            match Cli::try_parse_from(args).unwrap().command {
                Command::Run(run) => run.grace(Duration::from_secs(30)),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse(&[]), Duration::from_secs(30));
        assert_eq!(parse(&["--grace-period", "0"]), Duration::ZERO);
    }
}
