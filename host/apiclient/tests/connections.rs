//! How the client treats connections, against a server of the tests' own.
#![allow(
    clippy::disallowed_methods,
    reason = "tests of a driver, with a server that is one too"
)]

mod server;

use std::{error::Error, fs, time::Duration};

use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use pilothouse_apiclient::{Meter, Settings, Unsent, client};

use server::{Options, Server};

/// Far more than anything here takes; a test that hangs fails.
const LONG: Duration = Duration::from_secs(30);

async fn get(client: &Client, path: &str) -> Result<Response<Body>, kube::Error> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    tokio::time::timeout(LONG, client.send(request))
        .await
        .expect("an answer, or an error")
}

async fn text(client: &Client, path: &str) -> String {
    let body = get(client, path).await.unwrap().into_body();
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Waits for something that another task brings about.
async fn until(mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(LONG, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it comes about");
}

fn unsent(error: &kube::Error) -> Option<Unsent> {
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(unsent) = error.downcast_ref::<Unsent>() {
            return Some(unsent.clone());
        }
        source = error.source();
    }
    None
}

fn connect(server: &Server, settings: Settings) -> (Client, Meter) {
    let meter = Meter::default();
    (client(server.config(), settings, meter.clone()).unwrap(), meter)
}

#[tokio::test]
async fn many_requests_at_once_share_one_connection() {
    let server = Server::start(Options::default()).await;
    let (client, meter) = connect(&server, Settings::default());
    let watches = join_all((0..20).map(|_| get(&client, "/watch"))).await;
    assert!(watches.iter().all(Result::is_ok));
    for _ in 0..10 {
        let answers = join_all((0..50).map(|_| text(&client, "/version"))).await;
        assert!(answers.iter().all(|answer| answer == "HTTP/2.0"));
    }
    assert_eq!((server.connections(), meter.connections()), (1, 1));
}

#[tokio::test]
async fn watches_that_fill_a_connection_leave_the_next_to_others() {
    let server = Server::start(Options {
        streams: 10,
        ..Options::default()
    })
    .await;
    let (client, _) = connect(&server, Settings::default());
    // So that it has said how many it takes.
    text(&client, "/version").await;
    let mut watches = Vec::new();
    for _ in 0..25 {
        watches.push(get(&client, "/watch").await.unwrap());
    }
    assert_eq!(text(&client, "/version").await, "HTTP/2.0");
    assert_eq!(server.connections(), 3);
    drop(watches);
    let again = join_all((0..8).map(|_| get(&client, "/watch"))).await;
    assert!(again.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 3, "the room is free again");
}

#[tokio::test]
async fn a_server_of_http_1_alone_is_asked_over_connections_that_are_used_again() {
    let server = Server::start(Options {
        http2: false,
        ..Options::default()
    })
    .await;
    let (client, _) = connect(&server, Settings::default());
    for _ in 0..20 {
        assert_eq!(text(&client, "/version").await, "HTTP/1.1");
    }
    assert_eq!(
        server.connections(),
        2,
        "the one that offered HTTP/2, and the one in use"
    );
}

#[tokio::test]
async fn http_1_is_spoken_where_the_settings_say_so() {
    let server = Server::start(Options::default()).await;
    let settings = Settings {
        http2: false,
        ..Settings::default()
    };
    let (client, _) = connect(&server, settings);
    assert_eq!(text(&client, "/version").await, "HTTP/1.1");
}

#[tokio::test]
async fn watches_that_were_cut_come_back_over_one_connection() {
    let server = Server::start(Options::default()).await;
    let (client, _) = connect(&server, Settings::default());
    let watches = join_all((0..60).map(|_| get(&client, "/watch"))).await;
    server.cut();
    for watch in watches {
        let ended = tokio::time::timeout(LONG, watch.unwrap().into_body().collect()).await;
        assert!(ended.unwrap().is_err(), "a cut is no end");
    }
    let again = join_all((0..60).map(|_| get(&client, "/watch"))).await;
    assert!(again.iter().all(Result::is_ok));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_sends_its_clients_away_loses_no_request() {
    let server = Server::start(Options::default()).await;
    let (client, _) = connect(&server, Settings::default());
    let watch = get(&client, "/watch").await.unwrap();
    for _ in 0..5 {
        server.go_away();
        let answers = join_all((0..20).map(|_| text(&client, "/version"))).await;
        assert!(answers.iter().all(|answer| answer == "HTTP/2.0"));
    }
    assert!(server.connections() >= 2);
    let mut body = watch.into_body();
    assert!(
        futures_util::FutureExt::now_or_never(body.frame()).is_none(),
        "a watch goes on"
    );
}

#[tokio::test]
async fn what_could_not_be_sent_is_told_apart() {
    let server = Server::start(Options::default()).await;
    let (client, _) = connect(&server, Settings::default());
    server.stop().await;
    let error = get(&client, "/version").await.unwrap_err();
    assert!(matches!(unsent(&error), Some(Unsent::Failed(_))), "{error:?}");

    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = deaf.local_addr().unwrap().port();
    let settings = Settings {
        connect: Duration::from_millis(50),
        ..Settings::default()
    };
    for http2 in [true, false] {
        let config = server.config_at(port);
        let client = pilothouse_apiclient::client(config, Settings { http2, ..settings }, Meter::default()).unwrap();
        let error = get(&client, "/version").await.unwrap_err();
        assert!(matches!(unsent(&error), Some(Unsent::TimedOut(_))), "{error:?}");
    }

    let server = Server::start(Options::default()).await;
    let (client, _) = connect(&server, Settings::default());
    text(&client, "/version").await;
    let write = tokio::spawn(async move { get(&client, "/hang").await });
    until(|| server.hanging() == 1).await;
    server.cut();
    let error = write.await.unwrap().unwrap_err();
    assert!(unsent(&error).is_none(), "it may have been done: {error:?}");
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_given_up() {
    let server = Server::start(Options::default()).await;
    let settings = Settings {
        ping: Duration::from_millis(100),
        ping_answer: Duration::from_millis(100),
        ..Settings::default()
    };
    let (client, _) = connect(&server, settings);
    let watch = get(&client, "/watch").await.unwrap();
    server.freeze();
    let ended = tokio::time::timeout(LONG, watch.into_body().collect()).await;
    assert!(ended.unwrap().is_err());
    server.thaw();
    assert_eq!(text(&client, "/version").await, "HTTP/2.0");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_after_a_401_and_open_watches_stay() {
    let server = Server::start(Options {
        client_certificates: true,
        ..Options::default()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (server.client_certificate("one"), server.client_certificate("two"));
    let file = |name: &str| folder.path().join(name);
    let write = |pair: &(String, String)| {
        fs::write(file("crt"), &pair.0).unwrap();
        fs::write(file("key"), &pair.1).unwrap();
    };
    write(&one);
    let mut config = server.config();
    config.auth_info.client_certificate = Some(file("crt").display().to_string());
    config.auth_info.client_key = Some(file("key").display().to_string());
    let client = client(config, Settings::default(), Meter::default()).unwrap();
    let watch = get(&client, "/watch").await.unwrap();
    assert_eq!(watch.status(), StatusCode::OK);
    write(&two);
    server.takes_only(&two.0);
    assert_eq!(
        get(&client, "/version").await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    tokio::time::timeout(LONG, async {
        while get(&client, "/version").await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the new certificate is used");
    assert_eq!(server.connections(), 2);
    let mut body = watch.into_body();
    assert!(
        futures_util::FutureExt::now_or_never(body.frame()).is_none(),
        "the watch goes on"
    );
}

#[tokio::test]
async fn compressed_answers_are_read_like_others_and_watches_are_not_compressed() {
    let server = Server::start(Options::default()).await;
    let settings = Settings {
        compression: true,
        ..Settings::default()
    };
    let (client, _) = connect(&server, settings);
    let answer = get(&client, "/packed").await.unwrap();
    assert!(answer.headers().get(http::header::CONTENT_ENCODING).is_none());
    assert!(answer.headers().get(http::header::CONTENT_LENGTH).is_none());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, vec![b'x'; 1 << 20]);
    assert_eq!(text(&client, "/events?watch=true").await, "nothing");
}

#[tokio::test]
async fn a_connection_over_which_nothing_comes_is_left_by_those_that_follow() {
    let server = Server::start(Options::default()).await;
    let (client, _) = connect(&server, Settings::default());
    text(&client, "/version").await;
    server.freeze();
    let request = Request::get("/version").body(Body::empty()).unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(3_200), client.send(request)).await;
    assert!(given_up.is_err(), "it gets no answer");
    server.thaw();
    // The pings would take 45 seconds.
    assert_eq!(text(&client, "/version").await, "HTTP/2.0");
    assert_eq!(server.connections(), 2);
}
