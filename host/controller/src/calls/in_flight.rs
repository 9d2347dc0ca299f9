//! How many bytes of a plugin's requests and answers the host holds at once. Pure.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A plugin's bytes on their way; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    used: Arc<AtomicU64>,
    most: u64,
}

/// Bytes that are held until this goes.
#[derive(Debug)]
pub(crate) struct Held {
    of: InFlight,
    bytes: u64,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// The bound.
    pub(crate) most: u64,
}

impl InFlight {
    pub(crate) fn new(most: u64) -> Self {
        Self {
            used: Arc::default(),
            most,
        }
    }

    /// Nothing yet, to be grown.
    pub(crate) fn hold(&self) -> Held {
        Held {
            of: self.clone(),
            bytes: 0,
        }
    }
}

impl Held {
    /// So many bytes more, or none.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let bytes = bytes as u64;
        let most = self.of.most;
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= most);
        match self.of.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Full { most }),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing_and_what_ends_makes_room() {
        let in_flight = InFlight::new(100);
        let (mut first, mut second) = (in_flight.hold(), in_flight.clone().hold());
        assert_eq!(first.grow(60), Ok(()));
        assert_eq!(second.grow(41), Err(Full { most: 100 }));
        assert_eq!(second.grow(40), Ok(()));
        assert_eq!(first.grow(1), Err(Full { most: 100 }));
        drop(first);
        assert_eq!(second.grow(60), Ok(()));
        assert_eq!(second.grow(usize::MAX), Err(Full { most: 100 }), "no sum overflows");
        drop(second);
        assert_eq!(in_flight.hold().grow(100), Ok(()));
    }
}
