//! Hosts that are killed at whatever moment of a switch between two versions: the next one needs nobody's help.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use pilothouse_e2e::{Host, Metrics, On, Scene, Server, field, get, message, on_local, wasm};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// So many switches are cut short.
const ROUNDS: u32 = 20;

/// The greeting as another version, which greets with another word.
fn greeting(word: &str) -> Vec<u8> {
    wasm::replaced(wasm::greeting(), "Hello", word)
}

fn word(round: u32) -> String {
    format!("Hi-{round:02}")
}

/// Where a switch writes, and what marks the name of a file that is not yet renamed.
const WRITES: [(&str, &str); 6] = [
    ("state/code", ".new-"),
    ("state/plugins/greeting", ".wasm.new"),
    ("state/plugins/greeting", "life.json.new"),
    ("state/code", ".new-"),
    ("state/plugins/greeting", ".wasm.new"),
    ("state/plugins/greeting", "life.json.new"),
];

/// Waits until such a file is being written, or for so long: it may come and go unseen.
async fn written(directory: &Path, part: &str, most: Duration) {
    let began = moment();
    while began.elapsed() < most {
        let mut entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        if entries.any(|entry| entry.file_name().to_string_lossy().contains(part)) {
            return;
        }
        // The write is short: no sleep.
        tokio::task::yield_now().await;
    }
}

/// Puts a module into place as one should: never seen by halves.
fn put(scene: &Scene, module: &[u8]) {
    let beside = scene.file("plugins/greeting.new", module);
    std::fs::rename(beside, scene.path("plugins/greeting.wasm")).unwrap();
}

#[expect(
    clippy::disallowed_methods,
    reason = "chooses the moment at which a process is killed"
)]
async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long a switch takes, to cut others short"
)]
fn moment() -> Instant {
    Instant::now()
}

/// Which kinds of files lie in a directory: hashes in their names are all the same here.
fn kinds_of_files(directory: &Path) -> BTreeSet<String> {
    let (mut kinds, mut directories) = (BTreeSet::new(), vec![directory.to_owned()]);
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
            let parts = name.split_inclusive(['/', '-', '.']);
            let is_hash = |part: &str| {
                let digits = part.trim_end_matches(['/', '-', '.']);
                digits.len() >= 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            };
            kinds.insert(parts.map(|part| if is_hash(part) { "HASH" } else { part }).collect());
        }
    }
    kinds
}

/// The modules of the greeting that a host let serve by its log, in order.
fn served(log: &[Value]) -> Vec<String> {
    let lines = log.iter().filter(|line| {
        field(line, "plugin") == "greeting" && ["plugin loaded", "plugin exchanged"].contains(&message(line))
    });
    lines.map(|line| field(line, "hash").to_owned()).collect()
}

/// A host that is ready, with the zoo as it was left: in quarantine, with a parked key.
async fn ready(scene: &Scene, server: &Server) -> (Host, String) {
    let (host, address) = scene.run_with_metrics(server, &[]);
    host.until("readiness", async || {
        get(&address, "/readyz").await.filter(|(code, _)| *code == 200)
    })
    .await;
    host.until("the quarantine", async || in_quarantine(&address).await)
        .await;
    assert!(is_parked(scene), "the parked key is kept");
    (host, address)
}

async fn in_quarantine(address: &str) -> Option<()> {
    let labels = [("plugin", "zoo"), ("state", "quarantined")];
    let metrics = Metrics::scrape(address).await?;
    (metrics.value("pilothouse_breaker_state", &labels) == Some(1.0)).then_some(())
}

fn is_parked(scene: &Scene) -> bool {
    let text = std::fs::read_to_string(scene.path("state/parked-keys.jsonl")).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.any(|line| line["key"]["plugin"] == "zoo" && line["key"]["name"] == "lost")
}

/// Waits until a Greeting is greeted with this word, which one version alone has.
async fn greets(server: &Server, host: &Host, name: &str, word: &str) {
    let api = server.api();
    host.until(&format!("a greeting with {word}"), async || {
        api.greeted(name).await.filter(|said| said.contains(word))
    })
    .await;
}

on_local!(a_host_that_is_killed_at_any_moment_of_a_switch_leaves_nothing_to_clean_up);
/// On the local one alone: no API server has a part in it. The moments are spread over the time that a switch takes;
/// some are while a file of the state directory is being written. How many of those were met is printed and not
/// asserted: on a fast disk there may be none.
async fn a_host_that_is_killed_at_any_moment_of_a_switch_leaves_nothing_to_clean_up(on: On) {
    let scene = Scene::with_zoo().on(on);
    let space = [scene.namespace()];
    let plugin = json!({"grants": scene.grants(&space), "dangerous": scene.dangerous(&space)});
    let mut zoo = plugin.clone();
    zoo["breaker"] = json!({"consecutive": 1, "minCalls": 1, "minKeys": 1, "quarantineTrips": 1});
    let config = json!({
        "apiVersion": "pilothouse.dev/v1", "host": {"stateDirectory": "state"},
        "plugins": {"greeting": plugin, "zoo": zoo},
    });
    scene.file("config.yaml", config.to_string());
    put(&scene, &greeting(&word(98)));
    let server = Server::started(&scene).await;
    let api = server.api();
    let (host, address) = scene.run_with_metrics(&server, &[]);
    api.beast("lost", "unheard-of").await;
    host.until("the parked key", async || is_parked(&scene).then_some(()))
        .await;
    api.beast("bad", "trap").await;
    host.until("the quarantine", async || in_quarantine(&address).await)
        .await;
    api.greet("always").await;
    greets(&server, &host, "always", &word(98)).await;

    // One switch that nobody disturbs, for its length and for what it leaves.
    let began = moment();
    put(&scene, &greeting(&word(99)));
    greets(&server, &host, "always", &word(99)).await;
    let length = began.elapsed();
    host.signal("TERM").await;
    assert_eq!(host.end().await.code, Some(0));
    let undisturbed = kinds_of_files(&scene.path("state"));

    // Changes come all the while.
    let mut changes = JoinSet::new();
    let (changing, space) = (api.clone(), scene.namespace().to_owned());
    changes.spawn(async move {
        for number in 0_u64.. {
            let patch = json!({"spec": {"name": format!("n{number}")}});
            changing.merge(pilothouse_e2e::GREETINGS, &space, "always", patch).await;
            wait(Duration::from_millis(10)).await;
        }
    });
    let (mut host, _) = ready(&scene, &server).await;
    let mut good = word(99);
    let (mut cut, mut left) = (0, 0);
    for round in 0..ROUNDS {
        let old = host
            .until("a version that serves", async || served(&host.log()).pop())
            .await;
        // Every fifth is no module, and must never serve.
        let is_half = round % 5 == 4;
        let new = greeting(&word(round));
        put(&scene, if is_half { &new[..new.len() / 2] } else { &new });
        match WRITES.get(round as usize / 3).filter(|_| round % 3 == 2 && !is_half) {
            Some((directory, part)) => written(&scene.path(directory), part, length * 3).await,
            None => wait(length * round / (ROUNDS - 1)).await,
        }
        let killed = host.kill().await;
        cut += usize::from(!is_half && served(&killed.log()).last() == Some(&old));
        left += usize::from(!kinds_of_files(&scene.path("state")).is_subset(&undisturbed));
        if round % 2 == 1 {
            // And so is the next one, while it starts.
            let host = scene.run(&server, &[]);
            wait(length * (ROUNDS - round) / ROUNDS).await;
            host.kill().await;
        }
        (host, _) = ready(&scene, &server).await;
        if is_half {
            let refusal = "plugin greeting was not loaded: compile: ";
            host.logged("the refusal", |line| message(line).starts_with(refusal))
                .await;
        } else {
            good = word(round);
        }
        let fresh = format!("round-{round}");
        api.greet(&fresh).await;
        for name in [&*fresh, "always"] {
            greets(&server, &host, name, &good).await;
        }
        let versions = served(&host.log());
        if is_half {
            assert_eq!(versions, [old], "round {round}: what is no module does not serve");
        } else {
            let new = versions.last().unwrap();
            let known = versions.iter().all(|version| *version == old || version == new);
            assert!(known && *new != old, "round {round}: {old} served, then {versions:?}");
            let refused = host.count(|line| message(line).starts_with("plugin greeting was not loaded"));
            assert_eq!(refused, 0, "round {round}: nothing is wrong with it");
        }
        // What is written is written aside first; whatever is more than that was left by the one that was killed.
        host.until("a state directory without leftovers", async || {
            (kinds_of_files(&scene.path("state")) == undisturbed).then_some(())
        })
        .await;
    }
    println!("a switch takes {length:?}; {cut} of {ROUNDS} were cut short, {left} left files behind for the next host");
    assert!(changes.try_join_next().is_none(), "changes came to the end");
    assert!(cut > 0, "no switch was cut short: this showed nothing");
    let status = scene.run_to_end(&["status"]).await;
    assert_eq!(status.code, Some(0), "its socket is this host's: {}", status.stderr);
    host.signal("TERM").await;
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
