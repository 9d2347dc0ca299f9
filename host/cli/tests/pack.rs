//! `pilothouse pack` as people meet it: from what a compiler wrote to a plugin that runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pilothouse_guests::{component, core_module, workspace_root};
use pilothouse_lifecycle::embedded::{self, Embedded};
use serde_json::Value;

/// A folder of its own with a plugin directory and scenarios; gone afterwards.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        fs::create_dir(scene.path("plugins")).unwrap();
        fs::create_dir_all(scene.path("scenarios/first")).unwrap();
        fs::write(scene.path("scenarios/first/world.yaml"), "world: 1\n").unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn copy(&self, from: &Path, name: &str) {
        fs::copy(from, self.path(name)).unwrap();
    }

    /// Runs the program in that folder; its exit code, stdout and stderr.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pilothouse"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("HOME", self.0.path());
        for name in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn well(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {stdout}{stderr}");
        stdout
    }

    #[track_caller]
    fn badly(&self, code: i32, args: &[&str]) -> String {
        let (ended, stdout, stderr) = self.run(args);
        assert_eq!(ended, code, "{args:?}: {stdout}{stderr}");
        format!("{stdout}{stderr}")
    }
}

fn greeting(file: &str) -> String {
    let path = workspace_root().join("examples/rust/greeting").join(file);
    path.to_str().unwrap().to_owned()
}

const SHOWN: &str = "\
embedded     manifest of greeting 0.1.0
             CustomResourceDefinition greetings.demo.pilothouse.dev: Greeting v1
             scenario first/world.yaml: 9 bytes
";

#[test]
fn a_core_module_for_wasip1_becomes_a_plugin_that_runs_and_tells_what_it_is_without_being_run() {
    let scene = Scene::new();
    scene.copy(&core_module("greeting"), "core.wasm");
    let refused = scene.badly(1, &["inspect", "core.wasm"]);
    assert!(
        refused.contains("turn it into a component with `pilothouse pack`"),
        "{refused}"
    );
    assert!(
        scene
            .badly(1, &["inspect", "--no-run", "core.wasm"])
            .contains("`pilothouse pack`")
    );

    let crd = greeting("crd.yaml");
    let packed = scene.well(&[
        "pack",
        "core.wasm",
        "-o",
        "plugins/greeting.wasm",
        "--crd",
        &crd,
        "--scenarios",
        "scenarios",
    ]);
    assert!(packed.starts_with("plugins/greeting.wasm: "), "{packed}");

    let seen = scene.well(&["inspect", "plugins/greeting.wasm"]);
    assert!(seen.contains(SHOWN) && seen.contains("would load   yes"), "{seen}");
    assert!(seen.contains("imports      pilothouse:plugin/"), "{seen}");
    let seen = scene.well(&["inspect", "--no-run", "plugins/greeting.wasm"]);
    assert!(
        seen.contains(SHOWN) && seen.contains("controller   greeting: reconciles"),
        "{seen}"
    );
    assert!(!seen.contains("imports"), "nothing was compiled: {seen}");
    let json: Value =
        serde_json::from_str(&scene.well(&["inspect", "--no-run", "-o", "json", "plugins/greeting.wasm"])).unwrap();
    assert_eq!(json["embedded"]["crds"][0]["kind"], "Greeting");
    assert_eq!(json["embedded"]["scenarios"][0]["bytes"], 9);

    let stream = scene.well(&[
        "dev",
        "--plugins",
        "plugins",
        "--until-idle",
        "--log-format",
        "json",
        "--apply",
        &crd,
        "--apply",
        &greeting("samples/world.yaml"),
    ]);
    let wrote = stream
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .any(|event| event["event"] == "reconciled" && event.to_string().contains("ConfigMap"));
    assert!(wrote, "{stream}");
}

#[test]
fn packing_gives_the_same_bytes_for_the_same_input_and_replaces_what_was_embedded() {
    let scene = Scene::new();
    scene.copy(&component("greeting"), "greeting.wasm");
    let crd = greeting("crd.yaml");
    scene.well(&["pack", "greeting.wasm", "-o", "first.wasm", "--crd", &crd]);
    scene.well(&["pack", "greeting.wasm", "-o", "second.wasm", "--crd", &crd]);
    let bytes = |name: &str| fs::read(scene.path(name)).unwrap();
    assert_eq!(bytes("first.wasm"), bytes("second.wasm"));
    // In place, with other contents: those from before are gone.
    scene.well(&["pack", "second.wasm", "--scenarios", "scenarios"]);
    let embedded = embedded::read(&bytes("second.wasm")).unwrap();
    assert_eq!((embedded.crds.len(), embedded.scenarios.len()), (0, 1));
    scene.well(&["pack", "second.wasm", "--crd", &crd]);
    assert_eq!(bytes("second.wasm"), bytes("first.wasm"));
    // The component itself is what it was.
    let bare = embedded::embed(&bytes("first.wasm"), Embedded::default()).unwrap();
    assert_eq!(bare, bytes("greeting.wasm"));
}

#[test]
fn what_can_not_be_packed_or_embedded_is_named_and_nothing_is_written() {
    let scene = Scene::new();
    scene.copy(&component("greeting"), "greeting.wasm");
    fs::write(scene.path("empty.wasm"), b"\0asm\x01\0\0\0").unwrap();
    fs::write(scene.path("text.wasm"), b"apiVersion: v1\n").unwrap();
    fs::write(
        scene.path("map.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
    )
    .unwrap();
    let out = ["-o", "out.wasm"];
    for (code, args, expected) in [
        (2, &["none.wasm"][..], "none.wasm can't be read"),
        (
            1,
            &["empty.wasm"],
            "empty.wasm: it is a core module without component types",
        ),
        (
            1,
            &["text.wasm"],
            "text.wasm: this is no WebAssembly: it is a text file",
        ),
        (
            2,
            &["greeting.wasm", "--crd", "map.yaml"],
            "map.yaml: document 1 (line 1): is `ConfigMap` of `v1`",
        ),
        (
            2,
            &["greeting.wasm", "--crd", "none.yaml"],
            "none.yaml: there is no such file or directory",
        ),
        (
            2,
            &["greeting.wasm", "--scenarios", "none"],
            "none: there is no such directory",
        ),
        (
            2,
            &["greeting.wasm", "--scenarios", "map.yaml"],
            "map.yaml: there is no such directory",
        ),
        (
            1,
            &["greeting.wasm", "--scenarios", "scenarios", "--scenarios", "scenarios"],
            "pilothouse:scenarios: holds `first/world.yaml` twice",
        ),
    ] {
        let args: Vec<&str> = ["pack"].iter().chain(args).chain(&out).copied().collect();
        let text = scene.badly(code, &args);
        assert!(text.contains(expected), "{text}");
    }
    assert!(!scene.path("out.wasm").exists());
    let text = scene.badly(1, &["pack", "greeting.wasm", "-o", "none/out.wasm"]);
    assert!(text.contains("none/out.wasm: can't be written"), "{text}");
}
