//! One call of a plugin, from the key to what it ended with, and what its imports reach meanwhile.
//!
//! Promises: every import is checked against what the plugin asked for and was granted; what a call may say, read and
//! have under way is bounded. Writes have a room of their own, `writing`.
//!
//! | module | what is in it |
//! |---|---|
//! | `call` | the backend: what a call's imports reach |
//! | `digest` | what tells that a Secret changed, and nothing of what is in it |
//! | `in_flight` | how many bytes of a plugin's requests are under way |
//! | `lane` | threads for calls that compute for long |
//! | `log_budget` | how many log lines a plugin may write |
//! | `reads` | gets and lists |
//! | `run` | a job from its beginning to its verdict |
//! | `scene` | for tests: calls without a guest |
//! | `workers` | the driver: the tasks that run keys, and what begins them |

pub(crate) mod call;
pub(crate) mod digest;
pub(crate) mod in_flight;
pub(crate) mod lane;
pub(crate) mod log_budget;
pub(crate) mod reads;
pub(crate) mod run;
#[cfg(test)]
pub(crate) mod scene;
pub(crate) mod workers;
