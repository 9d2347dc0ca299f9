//! Runs the real kubectl against a served cluster and reads what it prints.
//!
//! kubectl is taken from the environment variable `KUBECTL`, or else from `PATH`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Output, Stdio};

use super::{Server, WIDGETS};

/// What a kubectl call may take before it gives up by itself: a broken watch must fail a test, not hang it.
pub(crate) const PATIENCE: &str = "60s";

pub(crate) struct Ran {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Server {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = std::env::var("KUBECTL")
            .ok()
            .filter(|k| !k.is_empty())
            .unwrap_or_else(|| "kubectl".to_owned());
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("KUBE")) {
            command.env_remove(name);
        }
        command
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.kubeconfig())
            .current_dir(self.home.path())
            .args(args);
        command
    }

    pub(crate) fn spawn(&self, mut command: Command) -> Child {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| {
            panic!(
                "cannot run kubectl ({error}): these tests need one. Run them through `cargo xtask test`, which provides it, \
                 or install kubectl, or set KUBECTL to its path"
            )
        })
    }

    /// Runs `kubectl` with `input` on its standard input.
    pub(crate) fn run(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.spawn(self.command(args));
        // A kubectl that does not read its input closes the pipe: no matter.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        ran(child.wait_with_output().unwrap())
    }

    /// Runs `kubectl` with `args` split at blanks; it must succeed. Returns what it printed.
    pub(crate) fn ok(&self, args: &str) -> String {
        self.ok_with(&args.split(' ').collect::<Vec<_>>(), "")
    }

    pub(crate) fn ok_with(&self, args: &[&str], input: &str) -> String {
        let ran = self.run(args, input);
        assert!(ran.ok, "kubectl {args:?} failed:\n{}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs `kubectl`, which must fail. Returns its standard error.
    pub(crate) fn fails(&self, args: &str) -> String {
        let ran = self.run(&args.split(' ').collect::<Vec<_>>(), "");
        assert!(!ran.ok, "kubectl {args} should have failed, but printed:\n{}", ran.out);
        ran.err
    }

    pub(crate) fn create(&self, yaml: &str) -> String {
        self.ok_with(&["create", "-f", "-"], yaml)
    }

    /// A config map named `name` with `data: {a: "1", b: "2"}`.
    pub(crate) fn config_map(&self, name: &str) {
        let yaml = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: '1', b: '2'}}\n");
        assert_eq!(self.create(&yaml), format!("configmap/{name} created\n"));
    }

    /// The CRD of widgets, established, and one widget `w1`.
    pub(crate) fn widget(&self) {
        assert_eq!(
            self.create(WIDGETS),
            "customresourcedefinition.apiextensions.k8s.io/widgets.ex.io created\n"
        );
        let waited = self.ok(&format!(
            "wait --for=condition=Established crd/widgets.ex.io --timeout={PATIENCE}"
        ));
        assert_eq!(
            waited,
            "customresourcedefinition.apiextensions.k8s.io/widgets.ex.io condition met\n"
        );
        let yaml =
            "apiVersion: ex.io/v1\nkind: Widget\nmetadata: {name: w1, labels: {app: w}}\nspec: {size: 3, color: red}\n";
        assert_eq!(self.create(yaml), "widget.ex.io/w1 created\n");
    }
}

/// A kubectl that watches; dropping it ends it.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0
            .kill()
            .and_then(|()| self.0.wait())
            .expect("kubectl can be ended");
    }
}

impl Running {
    /// Its lines as they come; a watch that is cut is a line that says so.
    pub(crate) fn lines(&mut self) -> impl FnMut() -> String + use<> {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        move || {
            lines
                .next()
                .map_or_else(|| "(kubectl ended)".to_owned(), Result::unwrap)
        }
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    Ran {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The words of each line.
pub(crate) fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// That `text` is a table with this heading and these rows; `*` stands for one word that may be anything (an age).
#[track_caller]
pub(crate) fn assert_table(text: &str, expected: &[&str]) {
    let (found, expected) = (
        words(text),
        expected
            .iter()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .collect::<Vec<_>>(),
    );
    let equal = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(found, expected)| {
            found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| *e == "*" || f == e)
        });
    assert!(equal, "expected {expected:#?}, found\n{text}");
}
