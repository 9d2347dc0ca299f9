//! What plugins write: checked, completed, sent, and remembered until it came back.
//!
//! Promises: a write that was sent is finished by the host whatever becomes of its call; the field manager is the
//! host's; a write that would change nothing is not sent.
//!
//! | module | what is in it |
//! |---|---|
//! | `answer` | what the server answered, told apart |
//! | `body` | bodies of writes, checked and completed |
//! | `ledger` | what the writes of one run must be seen to have done |
//! | `partly` | which patches would take away what the plugin does not see |
//! | `repeats` | which writes would change nothing |
//! | `sending` | the request and its answer, in a task of the host's, entered in the books |
//! | `writes` | the imports: checked, and made into requests |

mod answer;
pub(crate) mod body;
pub(crate) mod ledger;
pub(crate) mod partly;
pub(crate) mod repeats;
mod sending;
mod writes;
