//! The work queue of one controller: which key runs next, when it runs again, and which keys wait for something to
//! change.
//!
//! The queue is a step function. It does no I/O, starts no thread, reads no clock and draws no randomness of its own:
//! every operation takes `now`, a monotonic time since an origin that the caller chose, and [`Queue::next_due`] says
//! when time alone will change something. It knows nothing of Kubernetes: keys and causes are type parameters. Both
//! should be cheap to clone (an `Arc` inside), since each [`Queue::get`] clones them.
//!
//! A driver does three things: it calls [`Queue::add`] and its like when something happens, [`Queue::get`] while it has
//! workers to spare, and both again when [`Queue::next_due`] has come. One that is shared by threads needs a lock
//! around it; every operation is short.
//!
//! # What there is
//! - [`Queue::add`], [`Queue::add_after`], [`Queue::get`], [`Queue::done`]: the queue with its priorities and delays. A
//!   delayed key can be cancelled ([`Queue::remove`]) and given another time ([`Queue::reschedule`]); one that should
//!   slow down is held back ([`Queue::hold_back`]). [`Queue::set_lanes`] lets groups of keys take turns.
//! - [`Queue::retry`], [`Queue::forget`]: what follows a failure and a success. How long a failed key waits is said by
//!   [`Limits`]: a back-off for each key, a token bucket for all, an end of attempts, any number of them together.
//!   [`QueueConfig`] is their short form.
//! - [`Queue::park`], [`Queue::wake`]: keys whose attempts have ended, until something changes.
//! - [`Queue::shut_down`], [`Queue::drained`]: the end. Stop adding, let the workers finish, go when it is drained.
//! - [`Queue::stats`] for metrics; [`Queue::entry`], [`Queue::queued`], [`Queue::delayed`], [`Queue::working`],
//!   [`Queue::parked`] to look at what it holds: since when, until when, why, and how often it failed.
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
//! - **Lanes take turns** where they are asked for: within one priority, a lane that has a ready key is passed over at
//!   most once by each other lane, but for the turns that the next promise gives away.
//! - **None starves**: while the key that waits longest has waited for [`AGING`], at least every [`AGED_TURN`]th get
//!   hands out the key that waits longest, whatever its priority.
//! - **Bounded entries**: a key stands in the queue once, whatever is asked of it, with at most [`MAX_CAUSES`] causes,
//!   [`MAX_ERRORS`] errors of at most [`MAX_ERROR`] bytes and a reason of at most [`MAX_REASON`] bytes. Nothing stale
//!   stays behind when a delayed key is cancelled.
//! - **Few allocations**: delayed keys stand on a timer wheel that is threaded through the entries. A key costs its
//!   entry and eight bytes of a hash table, whether it is ready or delayed, and no timer of its own.
//! - **Short operations**: none walks through the keys, but for [`Queue::entries`], [`Queue::parked`] and
//!   [`Queue::shut_down`], and those that take `now` for what fell due since the last one.
//! - The same operations with the same times and the same seed give the same answers.
//!
//! # Not promised
//! - The number of keys is not bounded here: it is that of the keys added. Failed keys are remembered until
//!   [`Queue::forget`], so that their back-off grows; a caller that retries and never forgets grows without end.
//! - `now` must not go backwards. If it does, nothing panics and nothing is lost, but waits are measured wrongly, and a
//!   token bucket gives nothing until the time that it has seen has come again.
//! - It is not persistent: what waits is lost with the process. Whoever fills it lists its objects anew at the start.
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
mod errors;
mod failing;
mod index;
mod inspect;
mod levels;
mod limiter;
mod parking;
mod queue;
mod slab;
mod view;
mod wheel;

pub use causes::{Causes, MAX_CAUSES};
pub use config::QueueConfig;
pub use errors::{Failure, MAX_ERROR, MAX_ERRORS};
pub use limiter::{Limit, LimitError, Limiter, Limits, MAX_LIMITS};
pub use parking::MAX_REASON;
pub use queue::{AGED_TURN, AGING, Queue};
pub use view::{EntryView, Parked, ParkedKey, Retry, State, Stats, Taken};
