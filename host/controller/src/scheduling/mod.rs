//! Which key runs next, and what becomes of it afterwards. Pure: time and randomness are passed in.
//!
//! Promises: no two runs hold one key of one controller; permits, breakers and queues are asked in one place, the
//! dispatcher; what a call ended with is judged by what the host saw in it, not by the guest's word.
//!
//! | module | what is in it |
//! |---|---|
//! | `breakers` | which plugins are not called for a while |
//! | `cache_bound` | which plugins the caches hold too much for |
//! | `changed` | what a write made of an object, and whose a field is |
//! | `concurrency` | how many keys at once, where that is led |
//! | `dispatcher` | queues and gate |
//! | `entries` | the controllers, and which of them may have something to do |
//! | `hot_loops` | which keys go round in circles, and by which fields |
//! | `outcome` | what a call ended with to what becomes of its key |

pub(crate) mod breakers;
pub(crate) mod cache_bound;
pub(crate) mod changed;
pub(crate) mod concurrency;
pub(crate) mod dispatcher;
pub(crate) mod entries;
pub(crate) mod hot_loops;
pub(crate) mod outcome;
