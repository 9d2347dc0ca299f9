//! The binary as people and scripts meet it: messages, exit codes, signals.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

/// A folder of its own with an empty plugin directory; gone afterwards.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scene.path("plugins")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The program in that folder, with nothing of the machine's own configuration.
    fn pilothouse(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pilothouse"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("HOME", self.0.path()).env("LC_ALL", "C.UTF-8");
        command.env("XDG_RUNTIME_DIR", self.0.path());
        for name in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "NO_COLOR"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.pilothouse(args).output().unwrap())
    }

    /// Starts `dev` and reads its stream until the event of that name.
    fn dev(&self, args: &[&str]) -> Dev {
        let args: Vec<&str> = ["dev", "--plugins", "plugins", "--log-format", "json"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        let mut child = self
            .pilothouse(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Dev { child, stdout }
    }
}

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It ended with one message of one line.
    #[track_caller]
    fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(
            self.stderr.lines().filter(|line| line.starts_with("error: ")).count(),
            1,
            "{}",
            self.stderr
        );
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {}", self.stderr);
        }
        assert_eq!(self.stdout, "");
    }
}

struct Dev {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Dev {
    fn until(&mut self, event: &str) -> Value {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["event"] == event {
                return value;
            }
            line.clear();
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        panic!("the stream ended before {event}: {stderr}");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn end(mut self) -> Ended {
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended {
            code: self.child.wait().unwrap().code().unwrap(),
            stdout,
            stderr,
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // An error: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status line's code and the body of a GET.
fn get(server: &str, path: &str) -> (u16, Value) {
    let address = server.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        code,
        serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())),
    )
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- {{name: c, cluster: {{server: '{server}'}}}}\ncontexts:\n\
         - {{name: here, context: {{cluster: c}}}}\ncurrent-context: here\n"
    )
}

#[test]
fn help_and_version_are_data() {
    let scene = Scene::new();
    let version = scene.run(&["--version"]);
    assert_eq!(
        (version.code, version.stdout.as_str()),
        (0, concat!("pilothouse ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    for command in [
        &["--help"][..],
        &["run", "--help"],
        &["dev", "--help"],
        &["inspect", "--help"],
    ] {
        let help = scene.run(command);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""));
        assert!(help.stdout.contains("  pilothouse "), "{}", help.stdout);
        assert!(
            help.stdout.lines().all(|line| line.chars().count() <= 125),
            "{}",
            help.stdout
        );
    }
    assert_eq!(scene.run(&[]).code, 2);
    assert_eq!(scene.run(&["sail"]).code, 2);
}

#[test]
fn a_kubeconfig_that_does_not_work_is_named_with_its_mend() {
    let scene = Scene::new();
    let run = |args: &[&str]| scene.run(&[&["run", "--plugins", "plugins"], args].concat());
    run(&[]).refused(2, &["no cluster is configured", "--kubeconfig FILE", "pilothouse dev"]);
    run(&["--kubeconfig", "none"]).refused(2, &["error: none: there is no such file"]);
    scene.file("garbage", "{{{");
    run(&["--kubeconfig", "garbage"]).refused(2, &["error: garbage: is no kubeconfig"]);
    scene.file("good", kubeconfig("http://127.0.0.1:1"));
    run(&["--kubeconfig", "good", "--context", "there"]).refused(
        2,
        &["good: there is no context \"there\": give another with --context (it has here)"],
    );
}

#[test]
fn run_waits_for_plugins_and_tells_at_once_which_it_can_not_load() {
    let scene = Scene::new();
    scene.file("good", kubeconfig("http://127.0.0.1:1"));
    let args = [
        "run",
        "--plugins",
        "plugins",
        "--kubeconfig",
        "good",
        "--metrics-address",
        "off",
    ];
    // Without an API server, too.
    let told = |parts: &[&str]| {
        let mut child = scene.pilothouse(&args).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !parts.iter().all(|part| said.contains(part)) {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        let status = Command::new("kill")
            .args(["-s", "TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    };
    told(&["plugins: no plugin of it runs yet"]);
    scene.file("plugins/bad.wasm", "apiVersion: v1\n");
    told(&[
        "plugin bad was not loaded: compile: ",
        "plugins: no plugin of it runs yet",
    ]);
}

#[test]
fn a_missing_plugin_directory_is_named() {
    let scene = Scene::new();
    for command in ["run", "dev"] {
        scene
            .run(&[command, "--plugins", "none"])
            .refused(2, &["the plugin directory none does not exist"]);
    }
    scene.file("file", "");
    scene
        .run(&["dev", "--plugins", "file"])
        .refused(2, &["file is no directory"]);
}

#[test]
fn a_plugin_directory_that_others_may_write_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    fs::set_permissions(scene.path("plugins"), fs::Permissions::from_mode(0o775)).unwrap();
    for command in ["run", "dev"] {
        scene
            .run(&[command, "--plugins", "plugins"])
            .refused(2, &["plugins: its group may write it", "chmod go-w plugins"]);
    }
}

#[test]
fn a_configuration_with_a_wrong_field_is_named_with_the_right_one() {
    let scene = Scene::new();
    scene.file("c.yaml", "apiVersion: pilothouse.dev/v1\nhost:\n  poolSise: 3\n");
    for command in [
        &["run", "--plugins", "plugins"][..],
        &["dev", "--plugins", "plugins"],
        &["inspect", "c.yaml"],
    ] {
        scene
            .run(&[command, &["--config", "c.yaml"]].concat())
            .refused(2, &["c.yaml:3:", "host: an unknown field", "did you mean `poolSize`?"]);
    }
}

#[test]
fn inspect_tells_why_a_file_would_not_load() {
    let scene = Scene::new();
    scene.file("garbage.wasm", b"\x7fELF\x1b[31m");
    let seen = scene.run(&["inspect", "garbage.wasm"]);
    assert_eq!(seen.code, 1);
    assert!(seen.stdout.contains("would load   no (compile): "), "{}", seen.stdout);
    assert!(
        seen.stdout.contains("ELF") && seen.stdout.contains("wasm32-wasip2"),
        "{}",
        seen.stdout
    );
    assert!(!seen.stdout.contains('\u{1b}'));
    let seen = scene.run(&["inspect", "garbage.wasm", "-o", "json"]);
    assert_eq!(seen.code, 1);
    let json: Value = serde_json::from_str(&seen.stdout).unwrap();
    assert_eq!(
        (&json["wouldLoad"], &json["refusal"]["step"]),
        (&Value::Bool(false), &"compile".into())
    );
    scene
        .run(&["inspect", "none.wasm"])
        .refused(2, &["none.wasm: there is no such file"]);
    scene
        .run(&["inspect", "plugins"])
        .refused(2, &["plugins: is a directory"]);
}

#[test]
fn a_file_that_can_not_be_applied_is_named() {
    let scene = Scene::new();
    scene.file(
        "a.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\nkind: ConfigMap\n",
    );
    scene
        .run(&["dev", "--plugins", "plugins", "--apply", "a.yaml"])
        .refused(2, &["a.yaml: document 2 (line 4): `apiVersion` is missing"]);
    let ended = {
        scene.file("a.yaml", "apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: a}\n");
        scene.run(&["dev", "--plugins", "plugins", "--apply", "a.yaml"])
    };
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .contains("error: a.yaml: document 1 (line 1), Thing a: the cluster serves no x.io/v1 Thing")
    );
}

#[test]
fn dev_serves_a_cluster_and_stops_on_ctrl_c() {
    let scene = Scene::new();
    let objects = scene.path("objects");
    fs::create_dir(&objects).unwrap();
    scene.file(
        "objects/a.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: mine}\ndata: {k: v}\n",
    );
    scene.file(
        "objects/b.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n",
    );
    let mut dev = scene.dev(&["--apply", "objects", "--metrics-address", "off"]);
    let serving = dev.until("serving");
    let server = serving["server"].as_str().unwrap().to_owned();
    dev.until("ready");
    let (code, object) = get(&server, "/api/v1/namespaces/mine/configmaps/a");
    assert_eq!((code, &object["data"]["k"]), (200, &"v".into()));
    let written = fs::read_to_string(scene.path(".pilothouse/kubeconfig")).unwrap();
    assert!(written.contains(&format!("server: {server}\n")), "{written}");
    assert_eq!(fs::read_to_string(scene.path(".pilothouse/.gitignore")).unwrap(), "*\n");
    dev.signal("INT");
    let stopping = dev.until("stopping");
    assert_eq!(stopping["why"], "SIGINT");
    let ended = dev.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(TcpStream::connect(server.strip_prefix("http://").unwrap()).is_err());
}

#[test]
fn dev_stops_on_sigterm_while_a_client_watches() {
    let scene = Scene::new();
    let mut dev = scene.dev(&[]);
    let server = dev.until("serving")["server"].as_str().unwrap().to_owned();
    dev.until("ready");
    let address = server.strip_prefix("http://").unwrap();
    let mut watch = TcpStream::connect(address).unwrap();
    write!(
        watch,
        "GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nHost: {address}\r\n\r\n"
    )
    .unwrap();
    let mut first = [0; 12];
    watch.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    dev.signal("TERM");
    assert_eq!(dev.end().code, 0);
}

#[test]
fn dev_ends_by_itself_once_nothing_is_left_to_do() {
    let scene = Scene::new();
    let file = scene.file("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    let ended = scene.run(&[
        "dev",
        "--plugins",
        "plugins",
        "--until-idle",
        "--apply",
        file.to_str().unwrap(),
    ]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("\n  export KUBECONFIG=/"), "{}", ended.stdout);
    assert!(
        ended
            .stdout
            .contains(&format!("created ConfigMap default/a from {}\n", file.display())),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.ends_with("nothing is left to do\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn dev_with_nothing_but_broken_plugins_says_so_and_ends() {
    let scene = Scene::new();
    scene.file("plugins/bad.wasm", "no component");
    let ended = scene.run(&["dev", "--plugins", "plugins"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("plugin bad was not loaded: compile: "),
        "{}",
        ended.stderr
    );
}

#[test]
fn dev_ends_when_nobody_reads_its_stream() {
    let scene = Scene::new();
    let mut dev = scene.dev(&[]);
    let server = dev.until("serving")["server"].as_str().unwrap().to_owned();
    dev.until("ready");
    drop(std::mem::replace(&mut dev.stdout, BufReader::new(empty_stdout())));
    // The next thing it has to say finds no reader. Stopping is one.
    dev.signal("INT");
    assert_eq!(dev.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(server.strip_prefix("http://").unwrap()).is_err());
}

/// The stdout of a program that says nothing.
fn empty_stdout() -> ChildStdout {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    child.wait().unwrap();
    child.stdout.take().unwrap()
}

#[test]
fn a_port_that_is_taken_is_named() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = scene.run(&["dev", "--plugins", "plugins", "--port", &port]);
    ended.refused(
        2,
        &[&format!("127.0.0.1:{port} is in use by another program"), "--port"],
    );
    scene.file("good", kubeconfig("http://127.0.0.1:1"));
    let address = format!("127.0.0.1:{port}");
    let ended = scene.run(&[
        "run",
        "--plugins",
        "plugins",
        "--kubeconfig",
        "good",
        "--metrics-address",
        &address,
    ]);
    ended.refused(
        2,
        &[
            &format!("metrics: {address} is in use by another program"),
            "--metrics-address off",
        ],
    );
}

#[test]
fn errors_are_json_for_machines_too() {
    let scene = Scene::new();
    let ended = scene.run(&["--log-format", "json", "--log-level", "off", "inspect", "none.wasm"]);
    assert_eq!(ended.code, 2);
    let line: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert!(
        line["fields"]["message"]
            .as_str()
            .unwrap()
            .contains("there is no such file"),
        "{}",
        ended.stderr
    );
}
