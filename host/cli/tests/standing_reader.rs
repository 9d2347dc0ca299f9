//! A reader of `dev`'s stream that stands still, as a terminal does after Ctrl-S.
#![cfg(unix)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Whatever is waited for comes within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until it is so.
#[allow(clippy::disallowed_methods, reason = "a test of a real process bounds its wait")]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error: it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_signal_ends_dev_though_nobody_reads_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    // Far more lines than a pipe holds.
    let mut objects = String::new();
    for number in 0..3_000 {
        objects.push_str(&format!(
            "{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {{\"name\": \"c{number}\"}}}}\n"
        ));
    }
    fs::write(folder.path().join("objects.json"), objects).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args([
            "dev",
            "--plugins",
            "plugins",
            "--log-format",
            "json",
            "--apply",
            "objects.json",
        ])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut dev = Running(child);
    let address = until("the kubeconfig", || {
        let text = fs::read_to_string(folder.path().join(".pilothouse/kubeconfig")).ok()?;
        let (_, rest) = text.split_once("server: http://")?;
        rest.split_once('\n').map(|(address, _)| address.to_owned())
    });
    until("the last object", || {
        let mut stream = TcpStream::connect(&address).ok()?;
        let path = "/api/v1/namespaces/default/configmaps/c2999";
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
    let signal = |dev: &Running| {
        let sent = Command::new("kill")
            .args(["-s", "TERM", &dev.0.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    signal(&dev);
    // It no longer serves, so it heard of the first one.
    until("the end of the local API server", || {
        TcpStream::connect(&address).err().map(drop)
    });
    assert!(dev.0.try_wait().unwrap().is_none(), "it waits for its reader");
    signal(&dev);
    let status = until("the end", || dev.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(130));
}
