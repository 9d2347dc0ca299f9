//! The wiring: informers on one side, plugins on the other, and between them the way of a key from an event to its
//! outcome.
//!
//! ```text
//! informer ─▶ feed ─▶ router ─▶ dispatcher (queue + gate) ─▶ run ─▶ plugin
//!                                    ▲                        │ │
//!                                    └──── verdict ◀── outcome┘ └─▶ call (backend): reads, writes, Events, log
//! ```
//! Promises: a key that was asked for is reconciled after the last change to it, or stands among the parked keys; no two
//! runs hold one key of one controller; every import call of a plugin is checked against what it asked for and was
//! granted; a write that was sent is finished by the host, and its key stays in work until then; a key does not run again
//! before the caches hold what its last run wrote (at most 5 s); every queue entry carries its cause.
//!
//! Plugins come, are exchanged and go while it runs (`stage`): no key begins on a version after the switch to the next,
//! none is in work on two, and none is lost between them.
//!
//! It does not load plugins, decide what they may do, or know how to show what happens: that is `lifecycle`, and whoever
//! passes an [`Observer`].
//!
//! | module | what is in it | I/O |
//! |---|---|---|
//! | `router` | changes to keys: mappings, predicates | no |
//! | `intake` | changes into queues: priorities, and what wakes parked keys | no |
//! | `dispatcher` | queues and gate: which key runs next | no |
//! | `exchange`, `tenure` | from one version of a plugin to the next: what becomes of its keys, whose feeds are heard | no |
//! | `hot_loops`, `changed` | which keys go round in circles, and by which fields | no |
//! | `concurrency` | how many keys at once, where that is led | no |
//! | `breakers` | which plugins are not called for a while | no |
//! | `cache_bound` | which plugins the caches hold too much for | no |
//! | `resync` | when which keys have their turn though nothing changed | no |
//! | `outcome` | what a call ended with to what becomes of its key | no |
//! | `cause` | why a key stands in a queue | no |
//! | `parked` | parked keys over a restart | reads and writes its file |
//! | `ledger`, `provenance` | what calls wrote, and who wrote which version | no |
//! | `repeats` | which writes would change nothing, and are not sent | no |
//! | `body` | bodies of writes, checked and completed | no |
//! | `partly` | which patches would take away what the plugin does not see | no |
//! | `events`, `notices` | Kubernetes Events, of plugins and of the host: merged, limited | sends |
//! | `digest` | what tells that a Secret changed, and nothing of what is in it | no |
//! | `access` | what another may see, as whom a plugin acts | asks |
//! | `call`, `reads`, `writes` | the imports of one call | through `api` |
//! | `api`, `kinds` | single requests to the API server | yes |
//! | `path`, `refusal` | their paths, and errors as guests see them | no |
//! | `lane` | threads for calls that compute for long | threads |
//! | `run`, `feed`, `windows`, `host`, `stage`, `live`, `core` | the driver on tokio | yes |
//! | `snapshot` | what a person sees of queues and breakers | no |
//! | `in_flight` | how many bytes of a plugin's requests are under way | no |
//! | `log_budget` | how many log lines a plugin may write | no |
//! | `rarely` | lines that would come for each of many keys | no |
//! | `metrics`, `happening` | what is counted and told | no |

mod access;
mod api;
mod body;
mod breakers;
mod cache_bound;
mod cache_metrics;
mod call;
mod cause;
mod changed;
mod concurrency;
mod core;
mod digest;
mod dispatcher;
mod events;
mod exchange;
#[cfg(test)]
mod exchange_tests;
mod feed;
mod happening;
mod host;
mod hot_loops;
mod in_flight;
mod intake;
mod kinds;
mod lane;
mod ledger;
mod live;
mod lock;
mod log_budget;
mod metrics;
mod notices;
mod outcome;
pub mod parked;
mod partly;
mod path;
mod provenance;
mod rarely;
mod reads;
mod refusal;
mod repeats;
#[cfg(test)]
mod restart_tests;
mod resync;
mod router;
mod run;
mod snapshot;
mod stage;
mod tenure;
#[cfg(test)]
mod wake_tests;
mod windows;
mod writes;

pub use access::Standing;
pub use api::ApiConfig;
pub use cause::{Cause, Change, ITSELF, MAX_CHAIN, Waker, What};
pub use concurrency::ApiLoad;
pub use digest::DigestKey;
pub use dispatcher::{ControllerId, Dispatcher, Finished, Job, LOW_PRIORITY, Verdict};
pub use happening::{Happening, Observer, Reconciled, WriteEnd, WriteVerb, Written, breaker_words, why_words};
pub use host::{Host, HostOptions, Stopped};
pub use hot_loops::{HotLoop, Other};
pub use lane::Lane;
pub use metrics::CONTENT_TYPE as METRICS_CONTENT_TYPE;
pub use notices::{Notice, NoticeSender, Notices, Subject};
pub use outcome::{CallResult, MIN_RETRY, ResultLabel, judge};
pub use pilothouse_gate::breaker;
pub use router::{Primaries, Route, change_of};
pub use snapshot::{
    Chosen, ControllerSnapshot, KeySnapshot, KeyState, MAX_KEYS, ParkedPage, ParkedSnapshot, PluginSnapshot,
    Spot as ParkedSpot,
};
