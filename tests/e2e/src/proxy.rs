//! A TCP proxy before an API server, which a test can have refuse, hold, slow and cut connections.
//!
//! TLS goes through it: it sees bytes, not requests, and counts connections. It listens as long as it lives; a server
//! that is gone behind it looks like one that hangs up on each connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The most bytes that pass in one piece.
const PIECE: usize = 16 * 1024;

/// What becomes of connections, the open ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All bytes pass.
    Open,
    /// At most so many bytes pass in a second on each connection, in each direction.
    Slow(u32),
    /// Connections are taken, and nothing passes: what an address looks like whose packets get lost.
    Held,
    /// Connections are closed as soon as they come, and open ones are cut.
    Closed,
}

#[derive(Clone, Copy)]
struct Now {
    way: Way,
    /// Where new connections go.
    port: u16,
    /// Connections of an earlier number are cut.
    number: u64,
}

struct Shared {
    now: watch::Sender<Now>,
    /// When connections came.
    came: Mutex<Vec<Instant>>,
    /// From the client's first byte on; the number tells connections apart.
    spoke: Mutex<Vec<(u64, Instant)>>,
    /// Connections that are to be cut alone.
    cut: watch::Sender<Vec<u64>>,
}

/// The proxy; it and its connections end when it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test of real processes counts what comes in a second"
)]
fn now() -> Instant {
    Instant::now()
}

impl Proxy {
    /// A proxy before a port of this machine. Needs a runtime with a thread that the test does not block.
    ///
    /// # Panics
    /// If there is no port for it.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("it listens").port();
        let shared = Arc::new(Shared {
            now: watch::Sender::new(Now {
                way: Way::Open,
                port,
                number: 0,
            }),
            came: Mutex::default(),
            spoke: Mutex::default(),
            cut: watch::Sender::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(serve(listener, shared.clone()));
        Self {
            port: own,
            shared,
            _task: task,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on connections fare like this.
    pub fn be(&self, way: Way) {
        self.shared.now.send_modify(|now| {
            now.way = way;
            now.number += u64::from(way == Way::Closed);
        });
    }

    /// Cuts every connection that is open; new ones are taken as before.
    pub fn cut(&self) {
        self.shared.now.send_modify(|now| now.number += 1);
    }

    /// Cuts the connections on which the client sent something since then; watches are silent on that side.
    pub fn cut_those_that_spoke_since(&self, then: Instant) {
        let spoke = lock(&self.shared.spoke)
            .iter()
            .filter(|(_, at)| *at >= then)
            .map(|(number, _)| *number)
            .collect::<Vec<_>>();
        self.shared.cut.send_modify(|cut| cut.extend(spoke));
    }

    /// New connections go to this port. Those that are open stay where they are.
    pub fn lead_to(&self, port: u16) {
        self.shared.now.send_modify(|now| now.port = port);
    }

    /// When connections came, since then.
    pub fn came_since(&self, then: Instant) -> Vec<Instant> {
        lock(&self.shared.came)
            .iter()
            .filter(|at| **at >= then)
            .copied()
            .collect()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    lock(&shared.came).push(now());
                    number += 1;
                    connections.spawn(connection(stream, number, shared.clone()));
                }
                Err(error) => panic!("the proxy can't accept: {error}"),
            }
        }
    }
}

/// The client sees a reset, as from a machine that knows nothing of the connection.
fn reset(stream: &TcpStream) {
    // An error: it is closed in the usual way instead.
    let _ = stream.set_zero_linger();
}

async fn connection(client: TcpStream, number: u64, shared: Arc<Shared>) {
    let mut at = shared.now.subscribe();
    let mut cut = shared.cut.subscribe();
    let began = at.borrow_and_update().number;
    reset(&client);
    let over = async {
        tokio::select! {
            _ = at.wait_for(|now| now.number > began || now.way == Way::Closed) => {}
            _ = cut.wait_for(|cut| cut.contains(&number)) => {}
        }
    };
    let port = shared.now.borrow().port;
    let passing = async {
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
            return;
        };
        reset(&server);
        // Small pieces are not to wait for others.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let spoke = |at: Instant| {
            let mut spoke = lock(&shared.spoke);
            spoke.retain(|(of, _)| *of != number);
            spoke.push((number, at));
        };
        // Both ends are gone once one of them is.
        tokio::select! {
            () = pass(from_client, to_server, shared.now.subscribe(), spoke) => {}
            () = pass(from_server, to_client, shared.now.subscribe(), |_| ()) => {}
        }
    };
    tokio::select! {
        () = over => {}
        () = passing => {}
    }
    lock(&shared.spoke).retain(|(of, _)| *of != number);
}

async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut at: watch::Receiver<Now>,
    heard: impl Fn(Instant),
) {
    let mut piece = vec![0; PIECE];
    loop {
        // An error: the proxy is gone.
        if at.wait_for(|now| now.way != Way::Held).await.is_err() {
            return;
        }
        let rate = match at.borrow().way {
            Way::Slow(rate) => Some(rate),
            _ => None,
        };
        // A slow connection passes small pieces often rather than large ones seldom.
        let most = rate.map_or(PIECE, |rate| (rate as usize / 20).clamp(1, PIECE));
        let length = match from.read(&mut piece[..most]).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        heard(now());
        if let Some(rate) = rate {
            #[expect(clippy::disallowed_methods, reason = "slowness is what is tested")]
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / f64::from(rate))).await;
        }
        // What was read before it was held must not pass either.
        if at.wait_for(|now| now.way != Way::Held).await.is_err() {
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
