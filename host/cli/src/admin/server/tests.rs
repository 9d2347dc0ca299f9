//! Clients that mean no good, and some that do, at both doors.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{
    admin::{recent::Recent, socket, token},
    front::Front,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn admin() -> Arc<Admin> {
    let front = Arc::new(Front::default());
    front.wait_for("the plugins\u{1b}[2J");
    Arc::new(Admin {
        front,
        recent: Arc::new(Recent::new()),
        probation_seconds: 600,
    })
}

/// Both doors of a host that is starting.
struct Doors {
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    tasks: JoinSet<()>,
    _guard: socket::Guard,
}

impl Doors {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listener, guard) = socket::bind(&folder.path().join("own/admin.sock")).unwrap().split();
        let file = folder.path().join("token");
        std::fs::write(&file, TOKEN).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(Listener::Unix(listener), admin()));
        tasks.spawn(serve(Listener::Tcp(tcp, token::read(&file).unwrap()), admin()));
        Self {
            folder,
            address,
            tasks,
            _guard: guard,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("own/admin.sock")
    }

    /// What the host answers before it closes the connection.
    async fn at_socket(&self, request: &[u8]) -> String {
        let stream = tokio::net::UnixStream::connect(self.path()).await.unwrap();
        exchange(stream, request).await
    }

    async fn over_http(&self, request: &[u8]) -> String {
        exchange(TcpStream::connect(self.address).await.unwrap(), request).await
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    // Refused before it was read to its end, perhaps.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").into_bytes()
}

#[tokio::test]
async fn at_the_socket_this_user_is_answered_and_the_connection_closed() {
    let doors = Doors::open().await;
    let answer = doors.at_socket(&get("/v1/status", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let status: crate::admin::api::Status = serde_json::from_str(body).unwrap();
    assert_eq!(status.api_version, crate::admin::api::VERSION);
    assert_eq!(status.host.waiting_for, ["the plugins\u{1b}[2J"]);
    assert!(!status.host.ready);
    let answer = doors.at_socket(&get("/v1/parked", "")).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn of_other_users_root_alone_is_let_in() {
    assert!(is_let_in(7, 7) && is_let_in(0, 7) && is_let_in(0, 0));
    assert!(!is_let_in(8, 7) && !is_let_in(7, 0));
}

#[tokio::test]
async fn over_http_nothing_is_answered_without_the_token() {
    let doors = Doors::open().await;
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for more in [
        String::new(),
        bearer(""),
        bearer("wrong"),
        bearer(&TOKEN[1..]),
        bearer(&format!("{TOKEN}0")),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("{}{}", bearer(TOKEN), bearer("wrong")),
    ] {
        for path in ["/v1/status", "/v1/parked/drop?all=true", "/nothing"] {
            let answer = doors.over_http(&get(path, &more)).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{more}: {answer}");
            assert!(!answer.contains("waitingFor"), "{answer}");
        }
    }
    let answer = doors.over_http(&get("/v1/status", &bearer(TOKEN))).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn rubbish_and_what_is_too_long_is_refused_and_others_are_answered_after_it() {
    let doors = Doors::open().await;
    let long_path = get(&format!("/v1/plugins/{}", "x".repeat(2 * HEAD)), "");
    let long_head = get("/v1/status", &format!("X: {}\r\n", "x".repeat(2 * HEAD)));
    let many_heads = get("/v1/status", &"X: x\r\n".repeat(1_000));
    for request in [&long_path, &long_head, &many_heads] {
        let answer = doors.at_socket(request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    for request in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = doors.at_socket(request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // A body is not waited for: what is asked stands in the path.
    let body = b"POST /v1/parked/retry HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx";
    let answer = doors.at_socket(body).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = doors.at_socket(&get("/v1/status", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_has_the_token_gets_in_where_others_hold_every_connection() {
    let mut doors = Doors::open().await;
    // Something is always about to run, so the clock stands still: none of them is cut for the time that it takes.
    doors.tasks.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS + 8 {
        let mut stream = TcpStream::connect(doors.address).await.unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nX: ").await.unwrap();
        slow.push(stream);
    }
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for _ in 0..3 {
        let answer = doors.over_http(&get("/v1/status", &bearer)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // The oldest gave way, the others have the time that any client has.
    let mut rest = Vec::new();
    let _ = slow.remove(0).read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    let newest = slow.pop().unwrap().try_read(&mut [0]);
    assert_eq!(newest.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn clients_that_hold_every_connection_are_cut_and_the_other_door_is_open_all_the_while() {
    let doors = Doors::open().await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(doors.address).await.unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nX: ").await.unwrap();
        slow.push(stream);
    }
    let answer = doors.at_socket(&get("/v1/status", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = doors
        .over_http(&get("/v1/status", &format!("Authorization: Bearer {TOKEN}\r\n")))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for mut stream in slow {
        let mut answer = String::new();
        // Closed by the host, in whatever way.
        let _ = stream.read_to_string(&mut answer).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    drop(doors.tasks);
}
