use pilothouse_apiclient::Settings;
use pilothouse_informer::{DriverConfig, SharedInformers, TokioClock};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::*;
use crate::api::refusal::hinders;

/// Answers `/quick`, sends away from `/shed`, and lets everything else wait for ever, but tells of it.
#[allow(clippy::disallowed_methods, reason = "a test's server is a driver")]
async fn server() -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).await.unwrap_or_default();
                let path = head[..length].split(|byte| *byte == b' ').nth(1).unwrap_or_default();
                let answer: &[u8] = match path {
                    b"/quick" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
                    b"/shed" => {
                        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\
                          Connection: close\r\n\r\n"
                    }
                    _ => {
                        // An error: the test is over.
                        let _ = heard.send(());
                        std::future::pending().await
                    }
                };
                stream.write_all(answer).await.unwrap();
            });
        }
    });
    (address, hears)
}

fn api(address: &str, config: ApiConfig) -> Api {
    let server = kube::Config::new(address.parse().unwrap());
    let client = pilothouse_apiclient::client(server, Settings::default(), Meter::default()).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let clock = Arc::new(TokioClock::start());
    let informers = SharedInformers::new(client.clone(), DriverConfig::default(), clock, runtime, 1);
    Api::new(client, config, Meter::default(), informers.reach().clone())
}

fn share(requests: Pace) -> Share {
    Share {
        requests,
        writes: Pace::new(0, 1),
        in_flight: u64::MAX,
    }
}

/// One request a second, of which so many have had their turns.
fn spent(turns: u32) -> Pace {
    let mut pace = Pace::new(1, 1);
    for _ in 0..turns {
        pace.turn(Duration::ZERO, Duration::MAX).unwrap();
    }
    pace
}

async fn get(api: &Api, path: &str) -> Result<Vec<u8>, ApiError> {
    api.send(Method::GET, path.into(), None, Vec::new()).await
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test that sends many requests at once")]
async fn a_plugin_whose_requests_wait_for_ever_leaves_room_for_others() {
    let (address, mut heard) = server().await;
    let api = api(&address, ApiConfig::default());
    let share = |name| api.share(name, share(Pace::new(0, 1)));
    let (slow, quick) = (share("slow"), share("quick"));
    for _ in 0..20 {
        let slow = slow.clone();
        tokio::spawn(async move { get(&slow, "/slow").await });
    }
    for _ in 0..12 {
        heard.recv().await.unwrap();
    }
    assert_eq!(get(&quick, "/quick").await, Ok(b"{}".to_vec()));
    assert!(heard.try_recv().is_err(), "no more of the slow ones were sent");
}

#[tokio::test]
async fn a_retry_after_holds_back_whom_it_was_said_to_and_nobody_else() {
    let (address, _heard) = server().await;
    let api = api(&address, ApiConfig::default());
    let share = |name| api.share(name, share(Pace::new(0, 1)));
    let (eager, other) = (share("eager"), share("other"));
    let shed = get(&eager, "/shed").await.unwrap_err();
    assert_eq!((shed.code, shed.retry_after_ms), (429, Some(3_600_000)));
    // An hour is longer than a request may wait, so that it is refused instead.
    let refused = get(&eager, "/quick").await.unwrap_err();
    assert_eq!((refused.code, &*refused.reason), (0, reason::LIMIT));
    assert!(refused.message.starts_with("eager has sent too many"), "{refused:?}");
    assert!(hinders(&refused), "the server asked for the pause");
    assert!(refused.retry_after_ms.unwrap() > 3_500_000 && !refused.maybe_applied);
    assert_eq!(get(&other, "/quick").await, Ok(b"{}".to_vec()));
    assert_eq!(
        get(&api, "/quick").await,
        Ok(b"{}".to_vec()),
        "the host's own requests go on"
    );
}

#[tokio::test]
async fn writes_have_a_bound_of_their_own_and_reads_go_on() {
    let (address, _heard) = server().await;
    let api = api(&address, ApiConfig::default());
    let writes = spent(60);
    let api = api.share(
        "busy",
        Share {
            writes,
            ..share(Pace::new(0, 1))
        },
    );
    let refused = api
        .send(Method::POST, "/quick".into(), None, Vec::new())
        .await
        .unwrap_err();
    assert!(refused.message.contains("too many writes"), "{refused:?}");
    assert!(
        refused.message.contains("raise budget.writesPerSecond (1 now)"),
        "{refused:?}"
    );
    assert!(!refused.maybe_applied);
    assert!(!hinders(&refused), "its own bound is its own doing");
    assert_eq!(get(&api, "/quick").await, Ok(b"{}".to_vec()));
}

#[tokio::test]
async fn a_plugin_whose_bytes_under_way_are_used_up_is_told_which_bound_and_has_them_back_afterwards() {
    let (address, _heard) = server().await;
    let api = api(&address, ApiConfig::default());
    let small = |in_flight| Share {
        in_flight,
        ..share(Pace::new(0, 1))
    };
    let api = api.share("small", small(10));
    let post = |bytes| api.send(Method::POST, "/quick".into(), None, vec![b' '; bytes]);
    let refused = post(11).await.unwrap_err();
    assert!(refused.message.contains("budget.inFlightMiB"), "{refused:?}");
    assert!(!refused.maybe_applied, "nothing was sent");
    let refused = post(9).await.unwrap_err();
    assert!(
        refused.maybe_applied,
        "the answer has no room beside the body: {refused:?}"
    );
    assert_eq!(post(8).await, Ok(b"{}".to_vec()));
    assert_eq!(post(8).await, Ok(b"{}".to_vec()), "the bytes came back");
}

#[tokio::test]
async fn what_would_wait_for_too_long_is_refused_and_says_whose_bound_it_is() {
    let (address, _heard) = server().await;
    let api = api(&address, ApiConfig::default());
    let refused = get(&api.share("busy", share(spent(60))), "/quick").await.unwrap_err();
    assert!(
        refused
            .message
            .contains("raise apiRequestsPerSecond (1 now) in the plugin's part"),
        "{refused:?}"
    );
    assert!(!hinders(&refused), "its own bound is");
    assert_eq!(refused.reason, reason::LIMIT);
    assert_eq!(
        get(&api.share("idle", share(Pace::new(1, 1))), "/quick").await,
        Ok(b"{}".to_vec())
    );
    *lock(&api.host.turns.pace) = spent(60);
    let refused = get(&api.share("idle", share(Pace::new(1, 1))), "/quick")
        .await
        .unwrap_err();
    assert!(
        refused.message.contains("raise host.apiRequestsPerSecond (1 now)"),
        "{refused:?}"
    );
    assert!(hinders(&refused), "the crowd is no plugin's doing");
}

#[tokio::test]
async fn who_has_less_time_left_than_its_own_bound_makes_it_wait_is_refused_at_once() {
    let (address, _heard) = server().await;
    let api = api(&address, ApiConfig::default());
    let api = api.share("paced", share(spent(2)));
    let send = |most| api.send_within(most, Method::GET, "/quick".into(), None, Vec::new());
    let refused = send(Duration::from_millis(100)).await.unwrap_err();
    assert!(refused.message.contains("longer than it may"), "{refused:?}");
    assert!(!hinders(&refused));
    assert_eq!(send(Duration::from_secs(60)).await, Ok(b"{}".to_vec()));
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test that sends many requests at once")]
async fn those_that_wait_by_their_own_bound_take_no_room_from_others_of_the_plugin() {
    let (address, _heard) = server().await;
    let api = api(&address, ApiConfig::default());
    let writes = spent(30);
    let api = api.share(
        "paced",
        Share {
            writes,
            ..share(Pace::new(0, 1))
        },
    );
    let mut paced = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let api = api.clone();
        paced.spawn(async move { api.send(Method::POST, "/quick".into(), None, Vec::new()).await });
    }
    tokio::task::yield_now().await;
    assert_eq!(get(&api, "/quick").await, Ok(b"{}".to_vec()));
    assert!(paced.try_join_next().is_none(), "the writes still wait");
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_may_be_that_of_a_write_that_was_done() {
    let (address, _heard) = server().await;
    let config = ApiConfig {
        answer: Duration::from_millis(20),
        ..ApiConfig::default()
    };
    let api = api(&address, config);
    for (method, maybe) in [(Method::GET, false), (Method::POST, true)] {
        let error = api.send(method, "/slow".into(), None, Vec::new()).await.unwrap_err();
        assert_eq!((&*error.reason, error.maybe_applied), (reason::UNAVAILABLE, maybe));
        assert!(error.message.contains("did not answer within 20ms"), "{error:?}");
    }
}
