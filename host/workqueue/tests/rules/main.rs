//! What the work queue promises, each promise a test. The numbers in comments are those of the rules in the project's
//! controller semantics.

mod common;
mod histories;
mod inspect;
mod model;
mod parking;
mod priority;
mod queue;
mod retry;
