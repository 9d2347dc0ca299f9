//! The host under a real control plane's faults, with plugins at work: nothing that was asked for is lost, nothing
//! spins, memory returns, and the log says what is wrong once.
//!
//! Only a real server has these faults; what the host does about each is tested in its rooms with scripted servers too.
#![cfg(unix)]

mod real;
