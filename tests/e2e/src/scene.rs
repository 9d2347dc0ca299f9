//! A folder of its own, with plugins, files, and programs that run in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::host::{Ended, Host};
use crate::wasm;

/// A folder with a plugin directory; gone afterwards.
#[derive(Debug)]
pub struct Scene(tempfile::TempDir);

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// One without any plugin.
    ///
    /// # Panics
    /// If the system gives no folder.
    pub fn new() -> Self {
        let scene = Self(tempfile::tempdir().expect("a temporary folder"));
        std::fs::create_dir(scene.path("plugins")).expect("a folder in it");
        scene
    }

    /// One with the greeting.
    pub fn with_greeting() -> Self {
        let scene = Self::new();
        scene.plugin("greeting", wasm::greeting());
        scene
    }

    /// One with the greeting and the zoo.
    pub fn with_zoo() -> Self {
        let scene = Self::with_greeting();
        scene.plugin("zoo", wasm::zoo());
        scene
    }

    /// Where a file of this name is or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// If it can't be written.
    #[track_caller]
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Puts a plugin into the plugin directory.
    #[track_caller]
    pub fn plugin(&self, name: &str, component: impl AsRef<[u8]>) {
        self.file(&format!("plugins/{name}.wasm"), component);
    }

    /// Writes a configuration file. YAML is a superset of JSON.
    pub fn config(&self, plugins: &Value) {
        self.file(
            "config.yaml",
            json!({"apiVersion": "pilothouse.dev/v1", "plugins": plugins}).to_string(),
        );
    }

    /// The program in this folder, with nothing of the machine's own configuration.
    pub fn pilothouse(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        self.settle(command.args(args));
        command
    }

    /// kubectl in this folder, with the kubeconfig that `pilothouse dev` wrote here.
    pub fn kubectl(&self, args: &[&str]) -> Command {
        let program = std::env::var_os("KUBECTL")
            .filter(|named| !named.is_empty())
            .unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        self.settle(command.args(args))
            .env("KUBECONFIG", self.path(".pilothouse/kubeconfig"));
        command
    }

    fn settle<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (name, _) in std::env::vars_os() {
            let ours = name
                .to_str()
                .is_some_and(|name| name.starts_with("KUBE") || name == "NO_COLOR");
            if ours {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
    }

    /// Runs the program to its end.
    pub async fn run_to_end(&self, args: &[&str]) -> Ended {
        Host::spawn(self.pilothouse(args)).end().await
    }

    /// Runs kubectl to its end, with the arguments split at blanks; it must succeed. Answers what it printed.
    ///
    /// # Panics
    /// If there is no kubectl, or it fails.
    pub async fn kubectl_ok(&self, args: &str) -> String {
        let args: Vec<&str> = args.split(' ').collect();
        let ended = Host::spawn(self.kubectl(&args)).end().await;
        assert_eq!(
            ended.code,
            Some(0),
            "kubectl {args:?}:\n{}{}",
            ended.stdout,
            ended.stderr
        );
        ended.stdout
    }

    /// Starts `pilothouse dev`, whose stream is JSON, with both CustomResourceDefinitions, and waits until every
    /// controller runs. A `config.yaml` in the folder is its configuration.
    pub async fn dev(&self) -> Host {
        self.dev_with(&[]).await
    }

    /// The same with further arguments.
    pub async fn dev_with(&self, more: &[&str]) -> Host {
        self.crds();
        let mut args = vec!["dev", "--plugins", "plugins", "--apply", "crds", "--log-format", "json"];
        if self.path("config.yaml").exists() {
            args.extend(["--config", "config.yaml"]);
        }
        args.extend(more);
        let host = Host::spawn(self.pilothouse(&args));
        host.event("every controller runs", |event| event["event"] == "ready")
            .await;
        host
    }

    /// Writes both CustomResourceDefinitions into the folder `crds`.
    ///
    /// # Panics
    /// If they can't be written.
    pub fn crds(&self) {
        std::fs::create_dir_all(self.path("crds")).expect("a folder for the CRDs");
        self.file("crds/greeting.yaml", crate::GREETING_CRD);
        self.file("crds/beast.yaml", crate::BEAST_CRD);
    }

    /// Starts `pilothouse run` against a server, with JSON log lines of everything that is reconciled. Without a
    /// `config.yaml` in the folder every plugin is granted what it asks for.
    pub fn run(&self, server: &crate::Server, more: &[&str]) -> Host {
        self.file("kubeconfig", server.kubeconfig());
        if !self.path("config.yaml").exists() {
            let plugins = ["greeting", "zoo"]
                .into_iter()
                .filter(|name| self.path(&format!("plugins/{name}.wasm")).exists());
            self.config(
                &plugins
                    .map(|name| (name.to_owned(), json!({"grants": "asked"})))
                    .collect::<Map<_, _>>()
                    .into(),
            );
        }
        let mut args = vec![
            "run",
            "--plugins",
            "plugins",
            "--kubeconfig",
            "kubeconfig",
            "--config",
            "config.yaml",
        ];
        args.extend(["--log-format", "json", "--log-level", "info,pilothouse=debug"]);
        if !more.contains(&"--metrics-address") {
            args.extend(["--metrics-address", "off"]);
        }
        args.extend(more);
        Host::spawn(self.pilothouse(&args))
    }

    /// The same with metrics and health at an address of its own, which is answered too.
    pub fn run_with_metrics(&self, server: &crate::Server, more: &[&str]) -> (Host, String) {
        let address = format!("127.0.0.1:{}", crate::free_port());
        let mut args = vec!["--metrics-address", &address];
        args.extend(more);
        (self.run(server, &args), address)
    }
}

/// The binary under test.
#[track_caller]
fn binary() -> &'static Path {
    // What does not build is built once, and every test says why.
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BINARY.get_or_init(build) {
        Ok(path) => path,
        Err(why) => panic!("{why}"),
    }
}

fn build() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("PILOTHOUSE_BIN").filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        let named = format!("PILOTHOUSE_BIN={}: there is no such file", path.display());
        return path.is_file().then_some(path).ok_or(named);
    }
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells the tests it runs: build scripts that look at it would be run again, and what hangs on them.
    for (name, _) in std::env::vars_os() {
        let about_this_package = name.to_str().is_some_and(|name| {
            let starts = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
            starts.iter().any(|start| name.starts_with(start)) || name == "CARGO_PRIMARY_PACKAGE" || name == "OUT_DIR"
        });
        if about_this_package {
            cargo.env_remove(name);
        }
    }
    cargo.args([
        "build",
        "--package",
        "pilothouse",
        "--bin",
        "pilothouse",
        "--message-format=json-render-diagnostics",
    ]);
    cargo.current_dir(pilothouse_guests::workspace_root());
    let built = cargo
        .output()
        .map_err(|error| format!("cargo can't be started: {error}"))?;
    if !built.status.success() {
        let why = String::from_utf8_lossy(&built.stderr);
        return Err(format!("the binary under test does not build:\n{why}"));
    }
    String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "pilothouse")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo names no binary that it built".to_owned())
}
