//! What plugins write: checked, completed, sent, and remembered until it came back.
//!
//! Promises: a write that was sent is finished by the host whatever becomes of its call; the field manager is the host's; a
//! write that would change nothing is not sent.
//!
//! | module | what is in it |
//! |---|---|
//! | `body` | bodies of writes, checked and completed |
//! | `ledger` | what the writes of one run must be seen to have done |
//! | `partly` | which patches would take away what the plugin does not see |
//! | `repeats` | which writes would change nothing |
//! | `writes` | from the import to the request and its answer |

pub(crate) mod body;
pub(crate) mod ledger;
pub(crate) mod partly;
pub(crate) mod repeats;
pub(crate) mod writes;
