//! Ports for servers that tests stop and start again.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A free port of this machine, not handed out before in this process. Below those that the system hands out by itself,
/// so that nobody else gets it while a test keeps it closed for a while. Another process may take it all the same
/// between this call and its use: whoever starts a server there tries again with another.
///
/// # Panics
/// If thousands of ports are taken.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < COUNT, "no port between {FIRST} and {} is free", FIRST + COUNT);
        // Another process begins elsewhere.
        let start = std::process::id().wrapping_mul(97);
        let port = FIRST + (start.wrapping_add(number)) % COUNT;
        let port = u16::try_from(port).expect("ports are small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice() {
        let ports: std::collections::BTreeSet<u16> = (0..20).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 20);
    }
}
