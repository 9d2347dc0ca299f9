//! The real control plane as a fixture: what it hands out, and that nothing is left of it.
#![cfg(unix)]

mod real;
