//! A folder of its own, with plugins, files, and programs that run in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pilothouse_realcluster::{ControlPlane, Options};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::binary::binary;
use crate::host::{Ended, Host};
use crate::on::Cluster;
use crate::{On, wasm};

/// A folder with a plugin directory, gone afterwards; and a namespace of a test's own.
#[derive(Debug)]
pub struct Scene {
    folder: tempfile::TempDir,
    cluster: Cluster,
    namespace: String,
}

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
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let scene = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            cluster: Cluster::Local,
            namespace: format!("scene-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        };
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

    /// The same, of a test that meets that API server. Without this it is the local cluster.
    #[must_use]
    pub fn on(self, on: On) -> Self {
        let cluster = match on {
            On::Local => Cluster::Local,
            On::Real => Cluster::Shared,
        };
        Self { cluster, ..self }
    }

    /// The same on an API server that no other test meets, without any controllers; for hosts that see all namespaces.
    ///
    /// # Panics
    /// If it can't be had.
    #[must_use]
    pub fn alone_on(self, on: On) -> Self {
        let cluster = match on {
            On::Local => Cluster::Local,
            On::Real => {
                let plane = ControlPlane::start(&Options::default());
                Cluster::Own(Arc::new(
                    plane.unwrap_or_else(|error| panic!("no real control plane: {error}")),
                ))
            }
        };
        Self { cluster, ..self }
    }

    /// Which API server it is.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The real control plane.
    ///
    /// # Panics
    /// If this test meets the local cluster.
    #[track_caller]
    pub fn control_plane(&self) -> &ControlPlane {
        self.cluster.plane().expect("this test runs on the real one alone")
    }

    /// The namespace that is this test's own. [`crate::Server`] and `dev` create it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A further namespace's name that is this test's own.
    pub fn another_namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// Where a file of this name is or would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
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

    /// Writes a configuration file with what it says of each plugin. Who is granted nothing in particular there is
    /// granted what tests need, in the test's namespace.
    pub fn config(&self, plugins: &Value) {
        let mut plugins = plugins.clone();
        for plugin in plugins.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if plugin["grants"].is_null() {
                plugin["grants"] = self.grants(&[&self.namespace]);
                plugin["dangerous"] = self.dangerous(&[&self.namespace]);
            }
        }
        // YAML is a superset of JSON.
        let config = json!({"apiVersion": "pilothouse.dev/v1", "plugins": plugins});
        self.file("config.yaml", config.to_string());
    }

    /// Everything that the plugins of the tests ask for, in these namespaces.
    pub fn grants(&self, namespaces: &[&str]) -> Value {
        let granted = |group: &str, kind: &str, subresources: &[&str]| {
            let mut grant = json!({"group": group, "kind": kind, "verbs": ["*"], "namespaces": namespaces});
            grant["subresources"] = json!(subresources);
            grant
        };
        json!([
            granted("demo.pilothouse.dev", "Greeting", &[]),
            granted("demo.pilothouse.dev", "Greeting", &["status"]),
            granted("zoo.pilothouse.dev", "Beast", &[]),
            granted("", "ConfigMap", &[]),
            json!({"group": "", "kind": "Secret", "verbs": ["watch"], "namespaces": namespaces}),
            json!({"group": "", "kind": "Secret", "verbs": ["get"], "namespaces": namespaces, "names": ["open"]}),
        ])
    }

    /// What of it is dangerous.
    pub fn dangerous(&self, namespaces: &[&str]) -> Value {
        json!([{"group": "", "kind": "Secret", "verbs": ["patch"], "namespaces": namespaces, "names": ["open"]}])
    }

    /// Writes a configuration file that grants every plugin what tests need, unless there is one.
    fn default_config(&self) {
        if self.path("config.yaml").exists() {
            return;
        }
        let plugins = std::fs::read_dir(self.path("plugins")).expect("the plugin directory");
        let names = plugins.map(|file| file.expect("the plugin directory").path().with_extension(""));
        let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        self.config(&names.map(|name| (name, json!({}))).collect::<Map<_, _>>().into());
    }

    /// The program in this folder, with nothing of the machine's own configuration.
    pub fn pilothouse(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        self.settle(command.args(args));
        command
    }

    /// kubectl in this folder and in the test's namespace, with the kubeconfig that `pilothouse dev` wrote here, or
    /// that of the real control plane.
    pub fn kubectl(&self, args: &[&str]) -> Command {
        let named = std::env::var_os("KUBECTL").filter(|named| !named.is_empty());
        let (program, kubeconfig) = match self.cluster.plane() {
            None => ("kubectl".into(), self.path(".pilothouse/kubeconfig")),
            Some(plane) => (plane.kubectl_path(), plane.kubeconfig().to_owned()),
        };
        let mut command = Command::new(named.map_or(program, PathBuf::from));
        self.settle(command.args(["--namespace", &self.namespace]).args(args))
            .env("KUBECONFIG", kubeconfig);
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
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("XDG_RUNTIME_DIR", self.folder.path())
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

    /// Starts `pilothouse dev`, whose stream is JSON, with both CustomResourceDefinitions and the test's namespace, and
    /// waits until every controller runs. A `config.yaml` in the folder is its configuration.
    pub async fn dev(&self) -> Host {
        self.dev_with(&[]).await
    }

    /// The same with further arguments.
    pub async fn dev_with(&self, more: &[&str]) -> Host {
        self.default_config();
        let args = ["--config", "config.yaml", "--log-format", "json"];
        let host = self.start_dev(&[&args, more].concat()).await;
        host.event("every controller runs", |event| event["event"] == "ready")
            .await;
        host
    }

    /// The same without any configuration, so that all plugins are granted what they ask for. Only for a scene
    /// [alone](Scene::alone_on).
    pub async fn dev_that_grants_everything(&self, more: &[&str]) -> Host {
        let host = self.start_dev(&[&["--log-format", "json"], more].concat()).await;
        host.event("every controller runs", |event| event["event"] == "ready")
            .await;
        host
    }

    /// Runs `pilothouse dev` to its end, with both CustomResourceDefinitions and the test's namespace.
    pub async fn dev_to_end(&self, more: &[&str]) -> Ended {
        self.default_config();
        self.start_dev(&[&["--config", "config.yaml"], more].concat())
            .await
            .end()
            .await
    }

    async fn start_dev(&self, more: &[&str]) -> Host {
        self.objects();
        let mut args: Vec<String> = ["dev", "--plugins", "plugins", "--apply", "objects"]
            .map(str::to_owned)
            .into();
        if let Some(plane) = self.cluster.ready().await {
            args.extend(["--kubeconfig".to_owned(), plane.kubeconfig().display().to_string()]);
        }
        self.spawn(&args, more)
    }

    fn spawn(&self, args: &[String], more: &[&str]) -> Host {
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Host::spawn(self.pilothouse(&args)).of(self.cluster.clone(), &self.namespace)
    }

    /// Writes the CustomResourceDefinitions and the test's namespace into the folder `objects`.
    fn objects(&self) {
        std::fs::create_dir_all(self.path("objects")).expect("a folder for the objects");
        self.file("objects/greeting.yaml", crate::GREETING_CRD);
        self.file("objects/beast.yaml", crate::BEAST_CRD);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        self.file("objects/namespace.yaml", namespace.to_string());
    }

    /// Writes the example's Greeting `world`, in the test's namespace, into `world.yaml`.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn sample(&self) {
        let mut world = crate::yaml(crate::GREETING_SAMPLE);
        world["metadata"]["namespace"] = json!(self.namespace);
        self.file("world.yaml", world.to_string());
    }

    /// Starts `pilothouse run` against a server, with JSON log lines of everything that is reconciled. A `config.yaml`
    /// in the folder is its configuration.
    pub fn run(&self, server: &crate::Server, more: &[&str]) -> Host {
        let kubeconfig = self.file("kubeconfig", server.kubeconfig());
        self.run_as(&kubeconfig, more)
    }

    /// The same against the server that a kubeconfig names.
    pub fn run_as(&self, kubeconfig: &Path, more: &[&str]) -> Host {
        let args = self.run_args(kubeconfig, more);
        self.spawn(&args, more)
    }

    /// The same against the server in memory, with so many open files at most.
    pub fn run_with_open_files(&self, server: &crate::Server, most: u32, more: &[&str]) -> Host {
        let kubeconfig = self.file("kubeconfig", server.kubeconfig());
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &most.to_string()]);
        command.arg(binary()).args(self.run_args(&kubeconfig, more)).args(more);
        self.settle(&mut command);
        Host::spawn(command).of(self.cluster.clone(), &self.namespace)
    }

    fn run_args(&self, kubeconfig: &Path, more: &[&str]) -> Vec<String> {
        self.default_config();
        let args = "run --plugins plugins --config config.yaml --log-format json --log-level info,pilothouse=debug";
        let mut args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        args.extend(["--kubeconfig".to_owned(), kubeconfig.display().to_string()]);
        if !more.contains(&"--metrics-address") {
            args.extend(["--metrics-address", "off"].map(str::to_owned));
        }
        args
    }

    /// The same with metrics and health at an address of its own, which is answered too.
    pub fn run_with_metrics(&self, server: &crate::Server, more: &[&str]) -> (Host, String) {
        let address = format!("127.0.0.1:{}", crate::free_port());
        let mut args = vec!["--metrics-address", &address];
        args.extend(more);
        (self.run(server, &args), address)
    }
}
