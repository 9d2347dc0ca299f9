//! Single requests to the API server: those of plugins, of Events and of access reviews. Lists and watches are the
//! informer's.
//!
//! Promises: each request has a time-out and a place among the plugin's bytes in flight; an error is told as guests see
//! it.
//!
//! | module | what is in it |
//! |---|---|
//! | `kinds` | which resource a kind is, asked of the server once |
//! | `path` | paths, percent-encoded |
//! | `refusal` | errors as guests see them |
//! | `requests` | sending, each in its turn and bounded |

pub(crate) mod kinds;
pub(crate) mod path;
pub(crate) mod refusal;
pub(crate) mod requests;
