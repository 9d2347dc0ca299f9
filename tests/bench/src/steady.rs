//! A quiet plugin under a steady load, and how long each change waited: what others do beside it is seen there.
//!
//! The load is open: changes come at their time, however long those before them take. Each waits from the moment at
//! which it is handed to the host's watch until its reconcile has ended.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use pilothouse_controller::{Happening, Observer};

use crate::{OBJECTS, now, server::Server};

/// Changes a second: some percent of what one core does.
pub const RATE: u32 = 1_000;

/// Sends changes of the plugin `bench` and hears how long each waited.
pub struct Steady {
    waits: Arc<Waits>,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

/// The observer's side.
pub struct Waits {
    origin: Instant,
    /// Of each object: when its oldest change that nobody has seen was sent, in nanoseconds since the origin; else 0.
    sent: Vec<AtomicU64>,
    /// What was waited, with the moment of sending.
    waited: Mutex<Vec<(Duration, Duration)>>,
    swaps: Mutex<Vec<Duration>>,
    /// Runs of others, and how many of them failed.
    others: [AtomicU64; 2],
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            origin: now(),
            sent: (0..OBJECTS).map(|_| AtomicU64::new(0)).collect(),
            waited: Mutex::default(),
            swaps: Mutex::default(),
            others: Default::default(),
        }
    }
}

impl Waits {
    /// Time since this was made: all moments here are counted so.
    pub fn now(&self) -> Duration {
        now().duration_since(self.origin)
    }

    /// When another version began to serve, each time.
    pub fn swaps(&self) -> Vec<Duration> {
        self.swaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs of other plugins, and how many of them did not go well.
    pub fn others(&self) -> [u64; 2] {
        [0, 1].map(|i| self.others[i].load(Ordering::Relaxed))
    }

    /// How long the changes waited that were sent in this span, sorted. Those that still wait are not among them: ask a
    /// while later.
    pub fn between(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
        let mut within: Vec<Duration> = waited
            .iter()
            .filter(|(sent, _)| (from..to).contains(sent))
            .map(|(_, waited)| *waited)
            .collect();
        within.sort_unstable();
        within
    }
}

impl Observer for Waits {
    fn happened(&self, happening: &Happening) {
        match happening {
            Happening::Reconciled(run) if &*run.id.plugin == "bench" => {
                let number = run.key.name.trim_start_matches('o').parse::<usize>().ok();
                let Some(sent) = number.and_then(|number| self.sent.get(number)) else {
                    return;
                };
                let sent = Duration::from_nanos(sent.swap(0, Ordering::AcqRel));
                if &*run.id.controller == "empty" && !sent.is_zero() {
                    assert!(matches!(run.result, Ok(Ok(_))), "{:?}", run.result);
                    let waited = self.now() - sent;
                    self.waited
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((sent, waited));
                }
            }
            Happening::Reconciled(run) => {
                self.others[0].fetch_add(1, Ordering::Relaxed);
                if !matches!(run.result, Ok(Ok(_))) {
                    self.others[1].fetch_add(1, Ordering::Relaxed);
                }
            }
            Happening::Swapped { .. } => {
                let now = self.now();
                self.swaps.lock().unwrap_or_else(PoisonError::into_inner).push(now);
            }
            _ => {}
        }
    }
}

impl Steady {
    /// Begins to send.
    pub fn start(server: Server, waits: Arc<Waits>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (own, stopped) = (waits.clone(), stop.clone());
        #[allow(
            clippy::disallowed_methods,
            reason = "a bench: it sends from outside of what it measures"
        )]
        let sender = std::thread::spawn(move || {
            let begun = own.now();
            for number in 0_u32.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let due = begun + number * (Duration::from_secs(1) / RATE);
                std::thread::sleep(due.saturating_sub(own.now()));
                let i = number as usize % OBJECTS;
                let now = u64::try_from(own.now().as_nanos()).unwrap_or(u64::MAX);
                // One that waits already waits from its first change on.
                let _ = own.sent[i].compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
                server.change("empties", i);
            }
        });
        Self {
            waits,
            stop,
            sender: Some(sender),
        }
    }

    /// What was waited.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            // Its body can't panic; and if it did, the bench has no figures and says so.
            let _ended = sender.join();
        }
    }
}
