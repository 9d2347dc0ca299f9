//! The wiring: informers on one side, plugins on the other, and between them the way of a key from an event to its
//! outcome.
//!
//! ```text
//! informer ─▶ feed ─▶ router ─▶ dispatcher (queue + gate) ─▶ run ─▶ plugin
//!                                    ▲                        │ │
//!                                    └──── verdict ◀── outcome┘ └─▶ call (backend): reads, writes, Events, log
//! ```
//! Promises: a key that was asked for is reconciled after the last change to it, or stands among the parked keys; no
//! two runs hold one key of one controller; every import call of a plugin is checked against what it asked for and was
//! granted; a write that was sent is finished by the host, and its key stays in work until then; a key does not run
//! again before the caches hold what its last run wrote (at most 5 s); every queue entry carries its cause.
//!
//! Plugins come, are exchanged and go while it runs (`stage`): no key begins on a version after the switch to the next,
//! none is in work on two, and none is lost between them.
//!
//! It does not load plugins, decide what they may do, or know how to show what happens: that is `lifecycle`, and
//! whoever passes an [`Observer`].
//!
//! | room | what is in it | I/O |
//! |---|---|---|
//! | `waking` | from a change to a key in a queue, and why | no |
//! | `scheduling` | which key runs next, and what becomes of it | no |
//! | `calls` | one call, and what its imports reach | through `api` |
//! | `writing` | what plugins write | through `api` |
//! | `versions` | from one version of a plugin to the next | drives |
//! | `access` | what another may see, as whom a plugin acts | asks |
//! | `parked` | parked keys over a restart | reads and writes its file |
//! | `api` | single requests to the API server | yes |
//! | `reporting` | metrics, Events, snapshots | sends |
//! | `host`, `core` | the driver on tokio, and what its tasks share | yes |

mod access;
mod api;
mod calls;
mod core;
mod host;
mod id;
mod lock;
pub mod parked;
mod reporting;
mod scheduling;
mod versions;
mod waking;
mod writing;

pub use access::Standing;
pub use api::requests::ApiConfig;
pub use calls::{digest::DigestKey, lane::Lane};
pub use host::{Host, HostOptions, Stopped, system_time};
pub use id::{ControllerId, Names};
pub use pilothouse_gate::breaker;
pub use reporting::{
    happening::{Happening, Observer, Reconciled, WriteEnd, WriteVerb, Written, breaker_words, why_words},
    metrics::CONTENT_TYPE as METRICS_CONTENT_TYPE,
    notices::{Notice, NoticeSender, Notices, Subject},
    snapshot::{
        Chosen, ControllerSnapshot, KeySnapshot, KeyState, MAX_KEYS, ParkedPage, ParkedSnapshot, PluginSnapshot,
        Spot as ParkedSpot,
    },
};
pub use scheduling::{
    concurrency::ApiLoad,
    dispatcher::{Dispatcher, Finished, Job, LOW_PRIORITY, Verdict},
    hot_loops::{HotLoop, Other},
    outcome::{CallResult, MIN_RETRY, ResultLabel, judge},
};
pub use waking::{
    cause::{Cause, Change, ITSELF, Link, MAX_CHAIN, Waker, What},
    router::{Primaries, Route, change_of},
};
