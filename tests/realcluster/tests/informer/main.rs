//! Informers against a real API server.
#![cfg(unix)]

#[path = "../../../../host/informer/tests/soak/broken.rs"]
mod broken;
#[path = "../../../../host/informer/tests/scripted/oracle.rs"]
mod oracle;
mod real;
