//! The stream on stdout: takes what happens from the host's tasks and writes it from a thread of its own.
//!
//! Promises: it never blocks the host, and holds a bounded number of bytes. If the reader is slower than what happens,
//! whole pieces are left out, which the stream then says. A reader that goes away ends the stream, and
//! [`Stream::closed`] tells.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pilothouse_controller::{ControllerId, Happening, Observer};
use pilothouse_object::Key;
use tokio::sync::Notify;

use crate::present::{Moment, Note, Presenter};

/// Pieces that wait to be written; more are left out.
const BACKLOG: usize = 8_192;

/// Bytes that wait to be written. A piece for which there is no room any more is left out.
const BACKLOG_BYTES: usize = 16 << 20;

/// How often log lines that waited long enough are looked for.
const TICK: Duration = Duration::from_millis(250);

/// The stream. Clones write to the same one.
#[derive(Clone)]
pub(crate) struct Stream {
    inner: Arc<Inner>,
}

struct Inner {
    presenter: Mutex<Presenter>,
    pieces: SyncSender<Piece>,
    /// Bytes of the pieces that wait.
    waiting: AtomicUsize,
    lost: AtomicU64,
    happened: AtomicU64,
    closed: AtomicBool,
    closing: Notify,
    started: Instant,
}

enum Piece {
    Text(String),
    /// Write what is there and end.
    End,
}

/// The thread that writes; [`Writer::finish`] before the program ends, or the last lines are lost.
pub(crate) struct Writer {
    stream: Stream,
    thread: JoinHandle<()>,
}

impl Stream {
    /// Starts the stream on stdout. `started` is when the program did.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(presenter: Presenter, started: Instant) -> io::Result<(Self, Writer)> {
        let (stream, queue) = Self::new(presenter, started);
        let own = stream.clone();
        let thread = std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || own.write(&queue))?;
        Ok((stream.clone(), Writer { stream, thread }))
    }

    /// The stream and what waits to be written.
    fn new(presenter: Presenter, started: Instant) -> (Self, Receiver<Piece>) {
        let (pieces, queue) = sync_channel(BACKLOG);
        let inner = Inner {
            presenter: Mutex::new(presenter),
            pieces,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            happened: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            started,
        };
        (Self { inner: Arc::new(inner) }, queue)
    }

    /// Shows a thing that the program did.
    pub(crate) fn note(&self, note: &Note<'_>) {
        let text = self.presenter().note(self.now(), note);
        self.push(text);
    }

    /// Ready once nobody reads the stream any more.
    pub(crate) async fn closed(&self) {
        while !self.inner.closed.load(Ordering::Acquire) {
            self.inner.closing.notified().await;
        }
    }

    /// How much has happened: two equal answers mean that nothing did in between.
    pub(crate) fn happenings(&self) -> u64 {
        self.inner.happened.load(Ordering::Acquire)
    }

    /// The objects whose last run failed, or that are parked.
    pub(crate) fn failing(&self) -> BTreeSet<(ControllerId, Key)> {
        self.presenter().failing().clone()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is a driver: it reads the clocks for the presenter"
    )]
    fn now(&self) -> Moment {
        Moment {
            since_start: Instant::now().saturating_duration_since(self.inner.started),
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    fn presenter(&self) -> MutexGuard<'_, Presenter> {
        self.inner.presenter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: String) {
        if text.is_empty() || self.inner.closed.load(Ordering::Acquire) {
            return;
        }
        let length = text.len();
        let before = self.inner.waiting.fetch_add(length, Ordering::AcqRel);
        let sent = if before.saturating_add(length) > BACKLOG_BYTES {
            Err(TrySendError::Full(Piece::Text(text)))
        } else {
            self.inner.pieces.try_send(Piece::Text(text))
        };
        if let Err(error) = sent {
            self.inner.waiting.fetch_sub(length, Ordering::AcqRel);
            if matches!(error, TrySendError::Full(_)) {
                self.inner.lost.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// The thread's work.
    fn write(&self, queue: &Receiver<Piece>) {
        loop {
            let (text, last) = match queue.recv_timeout(TICK) {
                Ok(Piece::Text(text)) => {
                    self.inner.waiting.fetch_sub(text.len(), Ordering::AcqRel);
                    (text, false)
                }
                Ok(Piece::End) => (String::new(), true),
                Err(RecvTimeoutError::Timeout) => (self.presenter().tick(self.now()), false),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let lost = self.inner.lost.swap(0, Ordering::AcqRel);
            let lost = if lost > 0 {
                self.presenter().note(self.now(), &Note::Lost { pieces: lost })
            } else {
                String::new()
            };
            if write(&lost).and_then(|()| write(&text)).is_err() {
                self.inner.closed.store(true, Ordering::Release);
                self.inner.closing.notify_waiters();
                self.inner.closing.notify_one();
                return;
            }
            if last {
                return;
            }
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

impl Observer for Stream {
    fn happened(&self, happening: &Happening) {
        let text = self.presenter().happened(self.now(), happening);
        self.inner.happened.fetch_add(1, Ordering::AcqRel);
        self.push(text);
    }
}

impl Writer {
    /// Writes what is left and ends the stream.
    pub(crate) fn finish(self) {
        // Blocks while the backlog is full, until the thread has made room. An error: the thread has ended already.
        let _ = self.stream.inner.pieces.send(Piece::End);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes the stream panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_runtime::Level;

    use super::*;
    use crate::{args::LogFormat, present::Style};

    #[test]
    fn what_waits_for_a_reader_that_stands_still_is_bounded_in_bytes_and_what_is_left_out_is_counted() {
        let style = Style {
            colour: false,
            unicode: true,
        };
        #[expect(clippy::disallowed_methods, reason = "a stream has a start")]
        let started = Instant::now();
        let (stream, queue) = Stream::new(Presenter::new(LogFormat::Text, style, Level::Info), started);
        let piece = "x".repeat(1 << 20);
        for _ in 0..20 {
            stream.push(piece.clone());
        }
        let kept = queue.try_iter().count();
        assert_eq!((kept, stream.inner.lost.load(Ordering::Acquire)), (16, 4));
    }
}
