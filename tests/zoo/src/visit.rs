//! Lets an animal loose in a host of its own.

use std::cell::Cell;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use pilothouse_e2e::{BEASTS, CONFIG_MAPS, EVENTS, Host, Metrics, NAMESPACES, On, Scene, Server, field, message};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::neighbour::{Neighbour, Served};
use crate::{Animal, Stop};

/// The neighbour serves at least so many objects while the animal is at it.
const MEANWHILE: u32 = 5;
/// An animal is stopped within this time, or it counts as not stopped. Long, since modules are compiled with the lowest
/// priority: on a machine that is busy with other things that takes minutes.
const STOPPED_WITHIN: Duration = Duration::from_secs(240);
/// How often it is looked whether an animal is stopped.
const LOOK: Duration = Duration::from_millis(50);
/// What nobody may see who has no business in the other namespace.
const TREASURE: &str = "gold-of-the-other-namespace";

/// What came of a visit.
#[derive(Clone, Debug)]
pub struct Visit {
    /// What the host said or counted, in the order of [`Animal::stops`].
    pub told: Vec<String>,
    /// How the neighbour fared.
    pub neighbour: Served,
}

/// Lets the animal loose and waits until it is stopped.
///
/// # Panics
/// If it is not stopped as expected, or the neighbour or the host comes to harm.
pub async fn visit(animal: &Animal, on: On) -> Visit {
    let scene = scene(on, animal.host()).await;
    let server = Server::started(&scene).await;
    let (mut host, address) = run(&scene, &server).await;
    let mut neighbour = Neighbour::new(server.api(), &host);
    neighbour.key().await;
    let animals = [Some(animal), animal.with].into_iter().flatten();
    for animal in animals.clone() {
        scene.file(&beside(animal), said_of(&scene, animal).to_string());
        scene.plugin(animal.name, (animal.module)());
    }
    let other = scene.another_namespace("other");
    let api = server.api();
    if let Some((count, behaviour)) = animal.beasts {
        api.create(NAMESPACES, "", &other, json!({})).await;
        api.create(CONFIG_MAPS, &other, "treasure", json!({"data": {"gold": TREASURE}}))
            .await;
        for n in 0..count {
            let spec = json!({"spec": {"do": behaviour, "there": other}});
            api.create(BEASTS, scene.namespace(), &format!("b{n}"), spec).await;
        }
    }
    let stopped = Cell::new(false);
    let stopping = async {
        let (mut told, alone) = (Vec::new(), animal.with.is_none());
        for animal in animals {
            for stop in animal.stops {
                let text = stop_of(animal, *stop, &scene, &host, &address).await;
                told.push(if alone {
                    text
                } else {
                    format!("{}: {text}", animal.name)
                });
            }
        }
        stopped.set(true);
        told
    };
    let going_on = async {
        while !stopped.get() || neighbour.served.keys < MEANWHILE {
            neighbour.key().await;
        }
    };
    let (told, ()) = tokio::join!(stopping, going_on);
    neighbour.key().await;
    neighbour.is_well(&address).await;
    let served = neighbour.served;
    if animal.beasts.is_some() {
        let treasure = api
            .get(CONFIG_MAPS, &other, "treasure")
            .await
            .expect("it is there still");
        assert_eq!(treasure["data"], json!({"gold": TREASURE}), "nothing was written there");
        assert_eq!(api.list(EVENTS, &other).await, [] as [Value; 0]);
    }
    let lines = host.stderr();
    let leaked = |line: &String| line.contains(TREASURE) || line.chars().any(char::is_control);
    let leak = lines.iter().find(|line| leaked(line));
    assert_eq!(
        leak, None,
        "no line shows what it must not, nor gives orders to the terminal"
    );
    assert!(host.is_running(), "the host lives");
    host.signal("TERM").await;
    let ended = host.end().await;
    assert_eq!(ended.code, Some(0), "the host ends as it is told:\n{}", ended.stderr);
    Visit {
        told,
        neighbour: served,
    }
}

/// How the neighbour is served where nobody else is, for so many objects.
///
/// # Panics
/// If it is not served well.
pub async fn quiet(keys: u32) -> Served {
    let scene = scene(On::Local, json!({})).await;
    let server = Server::started(&scene).await;
    let (host, address) = run(&scene, &server).await;
    let mut neighbour = Neighbour::new(server.api(), &host);
    for _ in 0..keys {
        neighbour.key().await;
    }
    neighbour.is_well(&address).await;
    neighbour.served
}

/// A folder with the neighbour, the operator's file, and compiled code of what all animals share.
async fn scene(on: On, host: Value) -> Scene {
    let scene = Scene::with_greeting().on(on);
    let plugins = json!({"greeting": {"grants": scene.grants(&[scene.namespace()])}});
    let config = json!({"apiVersion": "pilothouse.dev/v1", "host": host, "plugins": plugins});
    scene.file("config.yaml", config.to_string());
    static CODE: OnceCell<Vec<(String, Vec<u8>)>> = OnceCell::const_new();
    keep(&scene.path("state"), CODE.get_or_init(compiled).await);
    scene
}

/// The operator's side of an animal: where it stands.
fn beside(animal: &Animal) -> String {
    format!("plugins/{}.yaml", animal.name)
}

/// The operator's side of an animal.
fn said_of(scene: &Scene, animal: &Animal) -> Value {
    let mut set = animal.set();
    if animal.beasts.is_some() {
        set["grants"] = scene.grants(&[scene.namespace()]);
        set["dangerous"] = scene.dangerous(&[scene.namespace()]);
    } else if set.get("grants").is_none() {
        // Who never serves is granted nothing, unless it is another thing that is to stop it.
        set["grants"] = json!([]);
    }
    set
}

/// Starts the host and waits for the neighbour.
async fn run(scene: &Scene, server: &Server) -> (Host, String) {
    let (host, address) = scene.run_with_metrics(server, &["--state-dir", "state"]);
    host.logged("the neighbour", |line| {
        message(line) == "plugin loaded" && field(line, "plugin") == "greeting"
    })
    .await;
    (host, address)
}

/// The code cache of a host that has loaded what all animals share, so that each of their hosts need not compile it.
async fn compiled() -> Vec<(String, Vec<u8>)> {
    let scene = Scene::with_zoo();
    let server = Server::started(&scene).await;
    let host = scene.run(&server, &["--state-dir", "state"]);
    host.until("both plugins", async || {
        (host.count(|line| message(line) == "plugin loaded") == 2).then_some(())
    })
    .await;
    host.signal("TERM").await;
    host.end().await;
    let files = std::fs::read_dir(scene.path("state/code")).expect("the code cache");
    let read = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().expect("a file of the cache");
        (name, std::fs::read(file.path()).expect("a file of the cache"))
    };
    files.map(|file| read(file.expect("the code cache"))).collect()
}

/// Puts that into a state directory.
fn keep(state: &Path, code: &[(String, Vec<u8>)]) {
    let code_directory = state.join("code");
    for directory in [state, &code_directory] {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(directory)
            .expect("a folder");
    }
    for (name, bytes) in code {
        let mut open = std::fs::OpenOptions::new();
        let file = open
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(code_directory.join(name));
        file.and_then(|mut file| file.write_all(bytes))
            .expect("a file of the cache");
    }
}

/// Waits until the host says of a stop.
///
/// # Panics
/// If it does not, with all that it said of the animal.
#[expect(clippy::disallowed_methods, reason = "it bounds a wait for a real process")]
async fn stop_of(animal: &Animal, stop: Stop, scene: &Scene, host: &Host, address: &str) -> String {
    let began = Instant::now();
    let before = ended_calls(animal, address).await;
    loop {
        let told = match stop {
            Stop::GoesOn => {
                let more = ended_calls(animal, address).await - before;
                (more > 0.0).then(|| format!("not for good: {more} more of its calls have ended since"))
            }
            Stop::SaysTheSame => says_the_same(animal, scene, host),
            stop => seen(animal, stop, host, address).await,
        };
        if let Some(told) = told {
            return told;
        }
        if began.elapsed() > STOPPED_WITHIN {
            let mut lines = host.stderr();
            lines.retain(|line| line.contains(animal.name));
            panic!(
                "{} was not stopped by {stop:?}; of it was said:\n{}",
                animal.name,
                lines.join("\n")
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How many calls of the animal ended so far.
async fn ended_calls(animal: &Animal, address: &str) -> f64 {
    let metrics = Metrics::scrape(address).await.expect("the host serves metrics");
    let controller = format!("{}/beast", animal.name);
    metrics.sum("controller_runtime_reconcile_total", &[("controller", &controller)])
}

/// Once it is loaded it is described again, since another configuration is a reload.
///
/// # Panics
/// If it answers something else then.
fn says_the_same(animal: &Animal, scene: &Scene, host: &Host) -> Option<String> {
    let lines = host.log();
    let version = |what: &str| {
        let mut lines = lines.iter();
        let line = lines.find(|line| message(line) == what && field(line, "plugin") == animal.name)?;
        Some(field(line, "version").to_owned())
    };
    let first = version("plugin loaded")?;
    let Some(second) = version("plugin exchanged") else {
        let mut other = said_of(scene, animal);
        other["weight"] = json!(2);
        scene.file(&beside(animal), other.to_string());
        return None;
    };
    assert_eq!(first, second, "{}: its two answers", animal.name);
    Some(format!(
        "no time passes in `describe`, and nothing is random: asked twice, it called itself {first} twice"
    ))
}

/// What the host says of a stop, once it does.
async fn seen(animal: &Animal, stop: Stop, host: &Host, address: &str) -> Option<String> {
    let has = |text: &str, parts: &[&str]| parts.iter().all(|part| text.contains(part));
    // Not what plugins log.
    let all = || host.log().into_iter();
    let own = || {
        host.log()
            .into_iter()
            .filter(|line| line["target"] != "pilothouse::plugin")
    };
    let about = |line: &Value| {
        let controller = field(line, "controller").split('/').next().unwrap_or_default();
        field(line, "plugin") == animal.name || controller == animal.name
    };
    let find = |mut lines: Box<dyn Iterator<Item = Value>>, parts: &[&str]| {
        let found = lines.find(|line| about(line) && has(message(line), parts));
        found.map(|line| message(&line).to_owned())
    };
    match stop {
        Stop::Refused(parts) => {
            let start = format!("plugin {} was not loaded: ", animal.name);
            let refused = own()
                .map(|line| message(&line).to_owned())
                .find(|text| text.starts_with(&start));
            // The first refusal counts: another one is not what was expected.
            refused.inspect(|text| assert!(has(text, parts), "{parts:?} are not in: {text}"))
        }
        Stop::Failed(parts) => {
            let start = "reconcile failed: ";
            find(Box::new(own()), &[&[start], parts].concat()).map(|text| text.replacen(start, "", 1))
        }
        Stop::Said(parts) => find(Box::new(own()), parts),
        Stop::Noted(parts) => find(Box::new(all()), parts),
        Stop::Counted(name, labels) => {
            let metrics = Metrics::scrape(address).await?;
            let plugin = [&[("plugin", animal.name)], labels].concat();
            let count = metrics.sum(name, &plugin);
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, value)| format!("{label}={value:?}"))
                .collect();
            let labels = match &labels[..] {
                [] => String::new(),
                labels => format!("{{{}}}", labels.join(",")),
            };
            (count > 0.0).then(|| format!("{name}{labels} {count}"))
        }
        Stop::Denied(imports) => {
            let report = host.log().into_iter().find(|line| message(line) == "report")?;
            let report: Value = serde_json::from_str(field(&report, "fields")).expect("the report");
            let answer = |import: &&str| report[*import].as_str().unwrap_or_default().to_owned();
            for import in imports {
                let answer = answer(import);
                assert!(answer.starts_with("PilothouseDenied: "), "{import} answered {answer}");
            }
            imports
                .first()
                .map(|first| format!("{} (and {} more)", answer(first), imports.len() - 1))
        }
        Stop::GoesOn | Stop::SaysTheSame => unreachable!("seen over time"),
    }
}
