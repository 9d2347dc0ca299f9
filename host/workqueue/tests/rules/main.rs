//! What the work queue promises, each promise a test. Those that hold a numbered rule of `host/RULES.md` begin with its
//! number.

mod common;
mod histories;
mod inspect;
mod model;
mod parking;
mod priority;
mod queue;
mod retry;
