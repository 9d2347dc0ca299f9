//! What others get to see: operators by metrics, lines and snapshots, the cluster by Events.
//!
//! Promises: nothing here decides anything; what is told is bounded in size and number, and labels never come from
//! guests' texts unbounded.
//!
//! | module | what is in it |
//! |---|---|
//! | `cache_metrics` | what the caches hold, as metrics |
//! | `events` | Kubernetes Events: merged, limited, sent |
//! | `happening` | what an observer is told |
//! | `metrics` | what is counted |
//! | `notices` | Events of the host itself about plugins |
//! | `rarely` | lines that would come for each of many keys |
//! | `snapshot` | what a person sees of queues and breakers |

pub(crate) mod cache_metrics;
pub(crate) mod events;
pub(crate) mod happening;
pub(crate) mod metrics;
pub(crate) mod notices;
pub(crate) mod rarely;
pub(crate) mod snapshot;
