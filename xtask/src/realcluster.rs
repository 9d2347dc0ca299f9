//! `cargo xtask realcluster`: a real control plane for a person.

use std::time::{Duration, Instant};

use anyhow::Result;
use pilothouse_realcluster::{Binaries, Binary, ControlPlane, Controllers, Go, Options};

use crate::run;

/// How often to look whether it still runs, and whether somebody wants it to end.
const LOOK: Duration = Duration::from_millis(200);

/// Starts one and stays until Ctrl-C.
///
/// # Errors
/// It can't be built or started, or a part of it ends by itself.
pub(crate) fn realcluster() -> Result<()> {
    println!("Building etcd, kube-apiserver, kube-controller-manager and kubectl, or taking those built before:");
    let (plane, took) = start()?;
    println!(
        "\nThe control plane is up ({:.1} s), at {}. In another terminal:\n\n  export KUBECONFIG='{}'\n  {} get namespaces\n\n\
         It stays up until Ctrl-C, and then all of it is gone. Its logs are in {}.",
        took.as_secs_f64(),
        plane.apiserver().url(),
        plane.kubeconfig().display(),
        plane.kubectl_path().display(),
        plane.home().display(),
    );
    while !run::interrupted() {
        plane.must_run()?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Builds one if need be, and starts it with all controllers; answers how long the start took.
///
/// # Errors
/// It can't be built or started.
pub(crate) fn start() -> Result<(ControlPlane, Duration)> {
    build(&mut |line| println!("  {line}"))?;
    let began = Instant::now();
    let plane = ControlPlane::start(&Options {
        controllers: Controllers::All,
        ..Options::default()
    })?;
    Ok((plane, began.elapsed()))
}

/// Builds its programs, or finds those built before; fetches a Go where there is none.
///
/// # Errors
/// There is no Go and none can be fetched, or something does not compile.
pub(crate) fn build(tell: &mut dyn FnMut(&str)) -> Result<()> {
    let go = Go::fetch(tell)?;
    Binaries::built(&go, &Binary::ALL, tell)?;
    Ok(())
}
