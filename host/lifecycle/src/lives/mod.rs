//! The lives of plugins: which version of each is loaded, serves, is taken back or goes.
//!
//! ```text
//!            found            loaded                 switched
//!  absent ─────────▶ loading ─────────▶ (a trial's place) ─────────▶ serving ──▶ draining ──▶ gone
//!                      │ refused: what served before serves on         ▲ │
//!                      ▼                                               │ │ trips or traps on probation,
//!                   refused                    the version before it ──┘ ◀ or a person says so
//! ```
//! Promises: what fails at any step changes nothing but the status; a version that was rolled back or quarantined is
//! not loaded again until its file or its configuration changes, or a person promotes it, also where its file was gone
//! meanwhile; grants that were taken away are not in force any longer, though the last version that had them served
//! well, and a limit that was lowered is not raised again by itself; nothing goes back by itself to a version that was
//! still on probation when another took its place. After a restart that holds as well: what was
//! rejected stays so, and what served serves again unless something newer can.
//!
//! | module | what is in it | I/O |
//! |---|---|---|
//! | `life` | one plugin's life: what is known, what may happen, what may be done | no |
//! | `version` | which version is which | no |
//! | `next` | what is to be done next | no |
//! | `ended` | what follows once that has ended | no |
//! | `trouble` | what goes wrong while a version serves | no |
//! | `orders` | what persons may say of it | no |
//! | `kept` | what of it outlives a restart, and what becomes of that at the start | no |
//! | `absence` | what is remembered while its file is gone | no |
//! | `crowded` | when it is loaded for which there was no room | no |
//! | `tighter` | whether the operator left a module less than before | no |
//! | `status` | how it is told | no |

mod absence;
mod crowded;
mod ended;
mod kept;
mod life;
mod next;
mod orders;
mod status;
#[cfg(test)]
mod tests;
mod tighter;
mod trouble;
mod version;

pub(crate) use absence::beyond;
pub use life::Rules;
pub(crate) use life::{Act, Input, Life};
pub use orders::{Order, OrderError};
pub use status::{HeldBack, LifeEvent, LifeObserver, LifeState, LifeStatus, RejectedStatus, VersionStatus, What};
pub(crate) use version::{Candidate, Mark, Wanted};
