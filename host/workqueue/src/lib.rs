//! The work queue of one controller: which key runs next, when it runs again, and which keys wait for something to
//! change.
//!
//! The queue is a step function. It does no I/O, starts no thread, reads no clock and draws no randomness of its own:
//! every operation takes `now`, a monotonic time since an origin that the caller chose, and [`Queue::next_due`] says
//! when time alone will change something. It knows nothing of Kubernetes: keys and causes are type parameters. Keys
//! should be cheap to clone (an `Arc` inside), since each is held twice and cloned for each [`Queue::get`].
//!
//! # Promised
//! - **Single flight**: a key that [`Queue::get`] gave out is not given out again before [`Queue::done`]. Any number
//!   of adds while it is in work cause exactly one more run, after `done`.
//! - **Nothing is lost**: a key that was added is given out later, or stands among the parked keys after an attempt
//!   that began later than the add. [`Queue::park`] refuses where a waking add waits. Only [`Queue::remove`],
//!   [`Queue::unpark`] and [`Queue::shut_down`] drop a run.
//! - **Order**: higher priority first, within one priority first come first served; what falls due enters in the order
//!   of its times, before anything that is added later. A second add takes the higher priority (a raised key goes to
//!   the tail of its new level) and the earlier time.
//! - **None starves**: while the key that waits longest has waited for [`AGING`], at least every [`AGED_TURN`]th get
//!   hands out the key that waits longest, whatever its priority.
//! - **Bounded entries**: a key stands in the queue once, whatever is asked of it, with at most [`MAX_CAUSES`] causes
//!   and a reason of at most [`MAX_REASON`] bytes. Nothing stale stays behind when a delayed key is cancelled.
//! - The same operations with the same times and the same seed give the same answers.
//!
//! # Not promised
//! - The number of keys is not bounded here: it is that of the keys added. Failed keys are remembered until
//!   [`Queue::forget`], so that their back-off grows; a caller that retries and never forgets grows without end.
//! - `now` must not go backwards. If it does, nothing panics and nothing is lost, but waits are measured wrongly.
//!
//! # Use
//! ```
//! use pilothouse_workqueue::{Queue, QueueConfig, Retry};
//! use std::time::Duration;
//!
//! let mut queue: Queue<&str, &str> = Queue::new(QueueConfig::default());
//! let mut rng = fastrand::Rng::with_seed(1);
//! let mut now = Duration::ZERO;
//!
//! queue.add(now, "default/web", 0, "created");
//! let taken = queue.get(now).expect("a key was added");
//! assert_eq!((taken.key, taken.attempt), ("default/web", 1));
//!
//! // The attempt failed: say so, then say that the key is no longer in work.
//! let Retry::After(wait) = queue.retry(now, taken.key, &mut rng, "the API server said no") else { unreachable!() };
//! queue.done(now, &taken.key);
//!
//! now += wait;
//! let taken = queue.get(now).expect("its back-off is over");
//! assert_eq!(taken.attempt, 2);
//! queue.forget(&taken.key); // It went well.
//! queue.done(now, &taken.key);
//! assert!(queue.get(now).is_none());
//! ```

mod causes;
mod config;
mod entry;
mod inspect;
mod limiter;
mod parking;
mod queue;
mod slab;
mod view;
mod wheel;

pub use causes::{Causes, MAX_CAUSES};
pub use config::QueueConfig;
pub use limiter::{Limit, LimitError, Limiter, Limits, MAX_LIMITS};
pub use parking::MAX_REASON;
pub use queue::{AGED_TURN, AGING, Queue};
pub use view::{EntryView, Parked, ParkedKey, Retry, State, Stats, Taken};
