//! Measures the choices of this crate against a real API server, which it starts: HTTP/1.1 or HTTP/2, windows,
//! compression, protobuf. The figures in the crate's documentation come from it.
//!
//! ```text
//! cargo run --release -p pilothouse-apiclient --example measure [-- writes|watch|lists]
//! ```
#![allow(clippy::disallowed_methods, reason = "a bench: it reads clocks")]

use std::{
    collections::VecDeque,
    fs,
    io::Read as _,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use pilothouse_apiclient::{Meter, Settings};
use pilothouse_realcluster::{ControlPlane, Options};
use serde::Deserialize;

const OBJECTS: usize = 20_000;
const WRITES: usize = 2_000;

fn main() {
    let what = std::env::args().nth(1);
    let wanted = |name: &str| what.as_deref().is_none_or(|what| what == name);
    // Load is what is measured, not how it is shed.
    let flags = [
        "--max-requests-inflight=0",
        "--max-mutating-requests-inflight=0",
        "--enable-priority-and-fairness=false",
    ];
    let plane = ControlPlane::start(&Options {
        apiserver_flags: flags.map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .expect("a control plane");
    let bench = Bench {
        server: plane.apiserver().pid().expect("it runs"),
        kubeconfig: plane.kubeconfig().to_owned(),
    };
    // One thread, so that CPU time is not that of waking others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        if wanted("writes") {
            bench.writes().await;
        }
        if wanted("watch") {
            bench.watch().await;
        }
        if wanted("lists") {
            bench.lists().await;
        }
    });
}

struct Bench {
    server: u32,
    kubeconfig: std::path::PathBuf,
}

/// Time that has gone by: of the clock, of this process's CPU, of the server's.
struct Time(Instant, Duration, Duration);

impl Bench {
    fn start(&self) -> Time {
        Time(Instant::now(), own(), self.of_server())
    }

    fn since(&self, Time(clock, cpu, server): &Time) -> String {
        let ms = |time: Duration| format!("{:>6.0}", time.as_secs_f64() * 1e3);
        let (cpu, server) = (own() - *cpu, self.of_server() - *server);
        format!(
            "{} ms wall, {} ms CPU here, {} ms CPU in the server",
            ms(clock.elapsed()),
            ms(cpu),
            ms(server)
        )
    }

    fn of_server(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.server)).expect("the server runs");
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|t| t.parse::<u64>().ok())
            .sum();
        // USER_HZ is 100 on Linux.
        Duration::from_millis(ticks * 10)
    }

    async fn config(&self) -> kube::Config {
        let file = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
        kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
            .await
            .expect("a config")
    }

    async fn ours(&self, settings: Settings) -> (Client, Meter) {
        let meter = Meter::default();
        (
            pilothouse_apiclient::client(self.config().await, settings, meter.clone()).expect("a client"),
            meter,
        )
    }

    /// The clients that are compared: name, client, what counts its connections.
    async fn clients(&self) -> Vec<(&'static str, Client, Option<Meter>)> {
        let (h1, h1_meter) = self
            .ours(Settings {
                http2: false,
                ..Settings::default()
            })
            .await;
        let (h2, h2_meter) = self.ours(Settings::default()).await;
        let kube = Client::try_from(self.config().await).expect("kube's client");
        vec![
            ("kube 5", kube, None),
            ("http/1.1", h1, Some(h1_meter)),
            ("http/2", h2, Some(h2_meter)),
        ]
    }

    async fn writes(&self) {
        println!("{WRITES} patches of a ConfigMap of 1 KB:");
        let (setup, _) = self.ours(Settings::default()).await;
        // One for each write at once: on a conflict the server tries again by itself.
        for n in 0..WRITES {
            send(&setup, Method::POST, MAPS, Some(map(&format!("w{n}"), 1_000, 0))).await;
        }
        for at_once in [4, 16, WRITES] {
            for round in 0..3 {
                for (name, client, meter) in self.clients().await {
                    let (time, before) = (self.start(), meter.as_ref().map(Meter::connections));
                    let mut running = FuturesUnordered::new();
                    let mut left = (0..WRITES).collect::<VecDeque<_>>();
                    loop {
                        while running.len() < at_once
                            && let Some(n) = left.pop_front()
                        {
                            let client = &client;
                            running.push(async move {
                                let path = format!("{MAPS}/w{n}");
                                let patch = format!(r#"{{"data":{{"n":"{name} {at_once} {round} {n}"}}}}"#);
                                send(client, Method::PATCH, &path, Some(patch)).await
                            });
                        }
                        if running.next().await.is_none() {
                            break;
                        }
                    }
                    let opened = meter
                        .zip(before)
                        .map_or("?".to_owned(), |(m, n)| (m.connections() - n).to_string());
                    println!(
                        "  {name:>9}, {at_once:>4} at once: {}, {opened} connections",
                        self.since(&time)
                    );
                }
            }
        }
    }

    /// From the answer to a write until its event has come, at about 100 writes a second.
    async fn watch(&self) {
        println!("from a write's answer to its event, 500 writes one after the other:");
        for (name, client, _) in self.clients().await {
            let object = format!("e-{}", name.replace(['/', '.', ' '], "-"));
            send(&client, Method::POST, MAPS, Some(map(&object, 1_000, 0))).await;
            let path = format!("{MAPS}?watch=true&fieldSelector=metadata.name%3D{object}");
            let mut events = open(&client, &path, &[]).await;
            let time = self.start();
            let mut late = Vec::new();
            let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
            let reader = async {
                let mut text = Vec::new();
                while let Some(Ok(frame)) = events.frame().await {
                    text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                    while let Some(end) = text.iter().position(|b| *b == b'\n') {
                        text.drain(..=end);
                        if told.send(Instant::now()).is_err() {
                            return;
                        }
                    }
                }
            };
            let writer = async {
                // The object as it was.
                tells.recv().await;
                for n in 0..500 {
                    let patch = format!(r#"{{"data":{{"n":"{name} {n}"}}}}"#);
                    send(&client, Method::PATCH, &format!("{MAPS}/{object}"), Some(patch)).await;
                    let answered = Instant::now();
                    let came = tells.recv().await.expect("its event");
                    late.push(came.saturating_duration_since(answered).as_secs_f64() * 1e3);
                }
            };
            tokio::select! {
                () = reader => {}
                () = writer => {}
            }
            late.sort_by(f64::total_cmp);
            let at = |part: usize| late[late.len() * part / 100];
            println!(
                "  {name:>9}: p50 {:.2} ms, p99 {:.2} ms; {}",
                at(50),
                at(99),
                self.since(&time)
            );
        }
    }

    async fn lists(&self) {
        println!("a list of {OBJECTS} ConfigMaps of about 4 KB, from the watch cache:");
        let (client, _) = self.ours(Settings::default()).await;
        let mut running = FuturesUnordered::new();
        for n in 0..OBJECTS {
            let client = &client;
            running.push(async move { send(client, Method::POST, MAPS, Some(map(&format!("l{n}"), 3_500, n))).await });
            if running.len() == 32 {
                running.next().await;
            }
        }
        while running.next().await.is_some() {}
        const JSON: &str = "application/json";
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        let mut kept = Vec::new();
        for round in 0..3 {
            for (name, http2, window, accept, encoding) in [
                ("http/1.1", false, 2, JSON, "identity"),
                ("http/2, 64 KiB window", true, 0, JSON, "identity"),
                ("http/2, 2 MiB window", true, 2, JSON, "identity"),
                ("http/2, 8 MiB window", true, 8, JSON, "identity"),
                ("gzip", true, 2, JSON, "gzip"),
                ("protobuf", true, 2, PROTOBUF, "identity"),
                ("protobuf, gzip", true, 2, PROTOBUF, "gzip"),
            ] {
                let stream_window = if window == 0 { 65_535 } else { window << 20 };
                let settings = Settings {
                    http2,
                    stream_window,
                    ..Settings::default()
                };
                let (client, _) = self.ours(settings).await;
                send(&client, Method::GET, "/version", None).await;
                let headers = [(header::ACCEPT, accept), (header::ACCEPT_ENCODING, encoding)];
                let time = self.start();
                let mut body = open(&client, &format!("{MAPS}?resourceVersion=0"), &headers).await;
                let mut bytes = 0;
                let mut whole = Vec::new();
                let mut unpacked = flate2::write::GzDecoder::new(Vec::new());
                let mut length = 0;
                while let Some(frame) = body.frame().await {
                    if let Some(data) = frame.expect("the whole list").data_ref() {
                        bytes += data.len();
                        if encoding == "gzip" {
                            std::io::Write::write_all(&mut unpacked, data).expect("gzip");
                            length += std::mem::take(unpacked.get_mut()).len();
                        } else if round == 0 && (name == "protobuf" || name == "http/1.1") {
                            whole.extend_from_slice(data);
                        }
                    }
                }
                let unpacked = if length > 0 {
                    format!(" ({length} unpacked)")
                } else {
                    String::new()
                };
                println!("  {name:>22}: {bytes:>9} bytes{unpacked}, {}", self.since(&time));
                if !whole.is_empty() {
                    kept.push(whole);
                }
            }
        }
        println!("reading the heads of its objects, nothing but name, namespace, uid, version:");
        heads("JSON", &kept[0], json_heads);
        heads("protobuf", &kept[1], protobuf_heads);
    }
}

fn heads(name: &str, list: &[u8], read: fn(&[u8]) -> usize) {
    for _ in 0..3 {
        let cpu = own();
        let objects = read(list);
        let each = (own() - cpu).as_secs_f64() * 1e6 / objects as f64;
        println!("  {name:>9}: {objects} objects, {each:.2} µs each");
    }
}

fn json_heads(list: &[u8]) -> usize {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        items: Vec<&'a serde_json::value::RawValue>,
    }
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        name: String,
        namespace: String,
        uid: String,
        resource_version: String,
    }
    let list: List = serde_json::from_slice(list).expect("a list");
    let heads = list
        .items
        .iter()
        .map(|item| serde_json::from_str::<Object>(item.get()).expect("an object").metadata);
    heads
        .filter(|m| {
            ![&m.name, &m.namespace, &m.uid, &m.resource_version]
                .iter()
                .any(|s| s.is_empty())
        })
        .count()
}

/// The wire format alone, without a schema: field 2 of the list is an object, its field 1 the metadata, and there 1, 3,
/// 5 and 6 are what is wanted.
fn protobuf_heads(list: &[u8]) -> usize {
    fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        fn number(bytes: &mut &[u8]) -> Option<u64> {
            let mut value = 0;
            for shift in (0..64).step_by(7) {
                let mut byte = [0];
                bytes.read_exact(&mut byte).ok()?;
                value |= u64::from(byte[0] & 0x7f) << shift;
                if byte[0] < 0x80 {
                    return Some(value);
                }
            }
            None
        }
        std::iter::from_fn(move || {
            loop {
                let tag = number(&mut bytes)?;
                match tag & 7 {
                    0 => drop(number(&mut bytes)?),
                    2 => {
                        let length = number(&mut bytes)? as usize;
                        let (field, rest) = bytes.split_at_checked(length)?;
                        bytes = rest;
                        return Some((tag >> 3, field));
                    }
                    _ => return None,
                }
            }
        })
    }
    let only = |bytes, wanted| fields(bytes).find(|(n, _)| *n == wanted).map(|(_, field)| field);
    // "k8s" and a zero, then an envelope whose field 2 is the list.
    let list = only(&list[4..], 2).expect("a list");
    let objects = fields(list).filter(|(n, _)| *n == 2);
    let heads = objects.filter_map(|(_, object)| {
        let found = fields(only(object, 1)?).filter(|(n, _)| matches!(n, 1 | 3 | 5 | 6));
        Some(
            found
                .map(|(_, field)| String::from_utf8_lossy(field).into_owned())
                .collect::<Vec<_>>(),
        )
    });
    heads.filter(|head| head.len() == 4).count()
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A ConfigMap whose text is neither random nor the same again and again.
fn map(name: &str, length: usize, seed: usize) -> String {
    const WORDS: [&str; 16] = [
        "server",
        "listen",
        "upstream",
        "timeout",
        "10.0.",
        "cluster",
        "local",
        "retry",
        "true",
        "8080",
        "level",
        "warn",
        "cache",
        "path",
        "/var/lib/",
        "name",
    ];
    let (mut text, mut state) = (String::new(), seed as u64 + 1);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push_str(WORDS[(state >> 60) as usize]);
        text.push_str(&format!("-{:x} ", (state >> 40) & 0xfff));
    }
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","labels":{{"app":"a{}"}}}},"data":{{"text":"{text}"}}}}"#,
        seed % 10
    )
}

async fn open(client: &Client, path: &str, headers: &[(header::HeaderName, &str)]) -> Body {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let answer = client
        .send(request.body(Body::empty()).expect("a request"))
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.into_body()
}

async fn send(client: &Client, method: Method, path: &str, body: Option<String>) {
    let kind = if method == Method::PATCH {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, kind);
    let request = request
        .body(Body::from(body.unwrap_or_default().into_bytes()))
        .expect("a request");
    let answer = client.send(request).await.expect("an answer");
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    assert!(
        status.is_success(),
        "{path}: {status}: {}",
        String::from_utf8_lossy(&body)
    );
}

/// The CPU time of this process.
fn own() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
