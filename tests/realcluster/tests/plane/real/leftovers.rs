//! What is left when whoever started a control plane is gone.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pilothouse_realcluster::{ControlPlane, Options};

/// Set in the process that is to be killed; it holds a control plane and says what belongs to it.
const VICTIM: &str = "PILOTHOUSE_REALCLUSTER_VICTIM";

/// Starts this very test once more in a process of its own, where it plays the victim.
fn victim(test: &str, how: &str) -> (Child, Vec<String>) {
    let mut child = Command::new(std::env::current_exe().expect("this test's own program"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VICTIM, how)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test's own program starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let belongings = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("BELONGINGS ").map(str::to_owned))
        .expect("the victim says what belongs to it");
    (child, belongings.split(' ').map(str::to_owned).collect())
}

/// What the victim does: it starts a control plane in a thread that ends, since that must change nothing.
fn play(how: &str) -> ! {
    let plane = std::thread::scope(|scope| {
        let starting = scope.spawn(|| ControlPlane::start(&Options::default()).unwrap());
        starting.join().expect("it starts")
    });
    let pids = [plane.apiserver().pid(), Some(plane.etcd().pid())];
    let pids: Vec<String> = pids.into_iter().flatten().map(|pid| pid.to_string()).collect();
    // At the start of a line, whatever the test harness has written.
    println!("\nBELONGINGS {} {}", plane.home().display(), pids.join(" "));
    match how {
        "panic" => panic!("as the test wants"),
        _ => loop {
            std::thread::park();
        },
    }
}

fn assert_nothing_is_left(belongings: &[String]) {
    let [home, pids @ ..] = belongings else {
        panic!("{belongings:?}")
    };
    let left = || {
        let mut left: Vec<&String> = pids.iter().filter(|pid| runs(pid)).collect();
        left.extend(Path::new(home).exists().then_some(home));
        left
    };
    let end = now() + Duration::from_secs(20);
    while !left().is_empty() {
        assert!(now() < end, "still there: {:?}", left());
        pause();
    }
}

/// Whether a process of this number runs; one that has ended and that nobody waited for does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    state.flatten().is_some_and(|state| state != 'Z' && state != 'X')
}

#[test]
fn everything_ends_when_the_test_process_is_killed() {
    if let Ok(how) = std::env::var(VICTIM) {
        play(&how);
    }
    let (mut child, belongings) = victim(
        "real::leftovers::everything_ends_when_the_test_process_is_killed",
        "wait",
    );
    assert_eq!(belongings.len(), 3, "{belongings:?}");
    assert!(belongings[1..].iter().all(|pid| runs(pid)), "{belongings:?}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_nothing_is_left(&belongings);
}

#[test]
fn everything_ends_when_a_test_panics() {
    if let Ok(how) = std::env::var(VICTIM) {
        play(&how);
    }
    let (mut child, belongings) = victim("real::leftovers::everything_ends_when_a_test_panics", "panic");
    assert!(!child.wait().expect("it ends").success());
    assert_nothing_is_left(&belongings);
}

#[expect(clippy::disallowed_methods, reason = "real processes are waited for, within bounds")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "real processes are waited for, within bounds")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
