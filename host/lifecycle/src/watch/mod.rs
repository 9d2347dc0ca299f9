//! The plugin directory while the host runs: what in it changed, once it stands still.
//!
//! | module | what is in it | I/O |
//! |---|---|---|
//! | `settling` | which change counts: the decision | no |
//! | `look` | one look at the directory, with the hash of what changed | reads |
//! | `driver` | when to look: on the system's word, and every so often without | yes |

mod driver;
mod look;
mod settling;
#[cfg(test)]
mod tests;

pub(crate) use driver::{Seen, Watcher};
pub(crate) use look::look;
#[cfg(test)]
pub(crate) use settling::Print;
pub(crate) use settling::{Settling, Sighting};
