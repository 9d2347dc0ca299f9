//! What a guest writes to stdout and stderr: kept in memory, bounded, the end rather than the beginning.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamResult};

use crate::limits::STREAM;

/// One of the two streams; clones share the text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Capture(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Bytes that were dropped from the front.
    dropped: u64,
}

impl Capture {
    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes.extend_from_slice(bytes);
        // Twice the bound before it is cut, so that a guest writing bytes one by one costs no quadratic time.
        if kept.bytes.len() > 2 * STREAM {
            let surplus = kept.bytes.len() - STREAM;
            kept.bytes.drain(..surplus);
            kept.dropped = kept.dropped.saturating_add(u64::try_from(surplus).unwrap_or(u64::MAX));
        }
    }

    /// The text and how many bytes of its beginning were dropped; nothing is left behind.
    pub(crate) fn take(&self) -> (String, u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = std::mem::take(&mut *kept);
        (String::from_utf8_lossy(&kept.bytes).into_owned(), kept.dropped)
    }
}

#[async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    /// Always ready; this much at once.
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_the_end_is_kept_and_the_rest_is_counted() {
        let stream = Capture::default();
        for n in 0..10_000 {
            stream.push(format!("line {n}\n").as_bytes());
        }
        let (text, dropped) = stream.take();
        assert!(text.ends_with("line 9999\n"), "{text}");
        assert!(text.len() >= STREAM && text.len() <= 2 * STREAM, "{}", text.len());
        let written: usize = (0..10_000).map(|n: u32| format!("line {n}\n").len()).sum();
        assert_eq!(text.len() as u64 + dropped, written as u64);
        assert_eq!(stream.take(), (String::new(), 0));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let stream = Capture::default();
        stream.push(b"a\xffb");
        assert_eq!(stream.take().0, "a\u{fffd}b");
    }
}
