//! Rubbish, oversized and slow requests to the HTTP face: each gets a plain error or its connection closed, the
//! server goes on, and everybody else is served as before.
#![allow(clippy::disallowed_methods, reason = "tests of the real face need real sockets")]

mod served;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use pilothouse_localcluster::MAX_BODY;
use pilothouse_localcluster::http::Limits;
use serde_json::{Value, json};
use served::Server;

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends `bytes` on a connection of their own and returns all that comes back until the server closes it.
    fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // The server may refuse and close before it has read everything.
        let _ = stream.write_all(bytes);
        read_all(&mut stream)
    }

    /// The same, but says that nothing follows. The server may then take the client for gone, and answer nothing.
    fn send_and_end(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        read_all(&mut stream)
    }

    fn request(&self, head: &str, body: &[u8]) -> (u16, Value) {
        let mut bytes = format!(
            "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        answer(&self.send(&bytes))
    }

    /// Somebody else is still served, and nothing was created.
    #[track_caller]
    fn is_well(&self) {
        let (code, list) = self.request("GET /api/v1/namespaces/default/configmaps HTTP/1.1", b"");
        assert_eq!((code, &list["items"]), (200, &json!([])), "{list}");
    }
}

fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        // Closed with unread bytes of ours: the system may cut the connection instead of ending it.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("the server neither answers nor closes: {error}"),
    }
    all
}

/// Status code and JSON body of an answer that is not chunked; null where the body is no JSON.
#[track_caller]
fn answer(bytes: &[u8]) -> (u16, Value) {
    let text = String::from_utf8_lossy(bytes);
    let code = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        code.unwrap_or_else(|| panic!("no answer: {text:?}")),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

#[track_caller]
fn assert_status((code, body): (u16, Value), what: &str) -> u16 {
    assert!((400..500).contains(&code), "{what}: {code} {body}");
    assert_eq!(
        (&body["kind"], &body["code"]),
        (&json!("Status"), &json!(code)),
        "{what}: {body}"
    );
    assert!(
        !body["message"].as_str().unwrap_or_default().is_empty(),
        "{what}: {body}"
    );
    code
}

#[test]
fn requests_that_mean_nothing_get_a_plain_status() {
    let server = Server::start();
    for line in [
        "FOO /api/v1/namespaces/default/configmaps HTTP/1.1",
        "get /api/v1/namespaces/default/configmaps HTTP/1.1",
        "TRACE /api/v1/namespaces/default/configmaps HTTP/1.1",
        "OPTIONS /api/v1/namespaces/default/configmaps HTTP/1.1",
        "GET /api/v1/namespaces/%zz/configmaps HTTP/1.1",
        "GET /api/v1/namespaces/%ff/configmaps HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps/%00 HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps/..%2f..%2fsecrets HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps/% HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps?labelSelector=%zz HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps?labelSelector=%ff HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps?labelSelector=((( HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps?limit=many HTTP/1.1",
        "GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=soon HTTP/1.1",
    ] {
        assert_status(server.request(line, b""), line);
    }
    let with_header = |header: &[u8]| {
        let mut bytes = b"GET /api/v1/configmaps HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n\r\n");
        answer(&server.send(&bytes))
    };
    assert_eq!(
        assert_status(with_header(b"Accept: \xff\xfe"), "an Accept header that is no text"),
        400
    );
    assert_eq!(
        assert_status(
            with_header(b"Accept: image/png"),
            "an Accept header that can't be served"
        ),
        406
    );
    assert_eq!(
        assert_status(with_header(b"Content-Encoding: gzip"), "an encoded body"),
        415
    );
    server.is_well();
}

#[test]
fn bodies_that_mean_nothing_get_a_plain_status() {
    let server = Server::start();
    let deep = "[".repeat(200_000);
    let deep_object = r#"{"a":"#.repeat(100_000);
    let bodies: [&[u8]; 11] = [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b"\"\xed\xa0\x80\"",
        br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":7}"#,
        deep.as_bytes(),
        deep_object.as_bytes(),
    ];
    for body in bodies {
        let what = String::from_utf8_lossy(body.get(..60).unwrap_or(body)).into_owned();
        for type_ in [
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "text/plain",
            "",
            "/",
        ] {
            let head = format!("POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nContent-Type: {type_}");
            assert_status(server.request(&head, body), &what);
        }
        for type_ in [
            "application/merge-patch+json",
            "application/json-patch+json",
            "application/apply-patch+yaml",
        ] {
            let head = format!("PATCH /api/v1/namespaces/default/configmaps/none HTTP/1.1\r\nContent-Type: {type_}");
            assert_status(server.request(&head, body), &what);
        }
    }
    server.is_well();
}

#[test]
fn what_is_too_large_is_refused_and_not_kept() {
    let server = Server::start();
    let post = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nContent-Type: application/json";
    // Announced: refused before it is sent.
    let announced = format!("{post}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{{", MAX_BODY + 1);
    assert_eq!(
        assert_status(answer(&server.send(announced.as_bytes())), "a large body announced"),
        413
    );
    // Not announced: refused while it is read. The chunk is longer than the limit and never ends.
    let mut chunked = format!("{post}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n").into_bytes();
    chunked.resize(chunked.len() + MAX_BODY + 1, b' ');
    assert_eq!(
        assert_status(answer(&server.send(&chunked)), "a large body in chunks"),
        413
    );
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000));
    let long_header = format!("GET /api HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    let many_headers = format!("GET /api HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(500));
    for head in [long_target, long_header, many_headers] {
        let answered = server.send(head.as_bytes());
        // The system may lose the answer when the server closes with our bytes unread.
        if !answered.is_empty() {
            let (code, _) = answer(&answered);
            assert!(matches!(code, 400 | 414 | 431), "{code}");
        }
    }
    server.is_well();
}

#[test]
fn bytes_that_are_no_http_harm_nobody() {
    let server = Server::start();
    let cases: [&[u8]; 10] = [
        b"",
        b"\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    ];
    let mut rng = fastrand::Rng::with_seed(42);
    let valid = b"POST /api/v1/namespaces/default/configmaps?fieldManager=x HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\
                  Content-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    let mutated = (0..300).map(|_| {
        let mut bytes = valid.to_vec();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(0..bytes.len());
            match rng.u8(0..3) {
                0 => bytes[at] = rng.u8(..),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, rng.u8(..)),
            }
        }
        bytes
    });
    for bytes in cases.iter().map(|case| case.to_vec()).chain(mutated) {
        let answered = server.send_and_end(&bytes);
        if !answered.is_empty() {
            let (code, _) = answer(&answered);
            // A mutation may hit what does not matter, or make it a GET: then it may be answered.
            assert!(
                (200..500).contains(&code) && code != 201,
                "{code} for {}",
                bytes.escape_ascii()
            );
        }
    }
    server.is_well();
}

#[test]
fn slow_clients_lose_their_connection_and_nobody_else_does() {
    let time = Duration::from_millis(100);
    let server = Server::start_with(Limits {
        head_time: time,
        body_time: time,
        ..Limits::default()
    });
    let mut slow_head = server.connect();
    slow_head.write_all(b"GET /api HTTP/1.1\r\nHost:").unwrap();
    let mut silent = server.connect();
    let mut slow_body = server.connect();
    slow_body
        .write_all(b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        .unwrap();
    assert_eq!(
        assert_status(answer(&read_all(&mut slow_body)), "a body that does not come"),
        408
    );
    let head = read_all(&mut slow_head);
    assert!(head.is_empty() || answer(&head).0 == 408, "{}", head.escape_ascii());
    assert_eq!(read_all(&mut silent), b"");
    server.is_well();
}

#[test]
fn connections_over_the_limit_wait_their_turn() {
    let server = Server::start_with(Limits {
        connections: 1,
        ..Limits::default()
    });
    let mut first = server.connect();
    first.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut some = [0; 8];
    first.read_exact(&mut some).unwrap();
    let mut second = server.connect();
    second
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let early = second.read(&mut some).unwrap_err();
    assert!(
        matches!(early.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{early}"
    );
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(answer(&read_all(&mut second)).0, 200);
}

#[test]
fn stopping_ends_open_watches_and_frees_the_port() {
    let mut server = Server::start();
    let mut watch = server.connect();
    watch
        .write_all(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut start = [0; 15];
    watch.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    server.stop();
    let rest = read_all(&mut watch);
    assert!(
        rest.ends_with(b"0\r\n\r\n"),
        "the body is ended, not cut: {}",
        rest.escape_ascii()
    );
    let refused = TcpStream::connect(server.address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn the_watches_of_clients_that_hang_up_are_closed() {
    let server = Server::start();
    let mut watch = server.connect();
    watch
        .write_all(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    watch.read_exact(&mut [0; 15]).unwrap();
    let open = || server.cluster.with(|cluster, _| cluster.open_watches());
    assert_eq!(open(), 1);
    drop(watch);
    let started = std::time::Instant::now();
    while open() > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "the watch stays open");
        std::thread::yield_now();
    }
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start();
    let mut stream = server.connect();
    for _ in 0..3 {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answered = Vec::new();
        while !answered.ends_with(b"\r\n\r\nok") {
            let mut some = [0; 256];
            let n = stream.read(&mut some).unwrap();
            assert_ne!(n, 0, "the connection was closed after {}", answered.escape_ascii());
            answered.extend_from_slice(&some[..n]);
        }
    }
}
