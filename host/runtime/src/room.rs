//! Whether there is room for another plugin: memory maps and file descriptors of this process.
//!
//! The kernel bounds both for a process (`vm.max_map_count`, `RLIMIT_NOFILE`), and what comes to the bound fails in the
//! middle of anything: a memory that can't be cleaned or an allocator that gets no page ends the whole host. So a
//! plugin is refused before, while there is still enough for the calls of those that run.
//!
//! Promises: below half of a bound nothing is counted; above it the kernel is asked anew after each sixteenth of what
//! is left, and always before a plugin is refused, so that what was unloaded or raised meanwhile counts.
//!
//! It knows only what Linux tells. Elsewhere file descriptors alone are counted.

use crate::LoadError;

/// Maps of a plugin: its code, read-only and executable, and what is not code. Measured: 3.
const MAPS_OF_PLUGIN: u64 = 4;
/// File descriptors of a plugin: its code's file, from which its memories are filled. Measured: 1.
const FILES_OF_PLUGIN: u64 = 1;
/// Maps of a slot in use: its memories' images, heaps and guards. Measured with a Rust plugin: 5.
const MAPS_OF_SLOT: u64 = 10;
/// Maps that everything else may come to: threads, the allocator, buffers.
const MAPS_OF_HOST: u64 = 2_048;
/// File descriptors for connections, watches and files; or a quarter of all, where there are few.
const FILES_OF_HOST: u64 = 256;

/// What the kernel says of one thing that it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How many this process has.
    pub count: u64,
    /// How many it may have.
    pub limit: u64,
}

/// Memory maps of this process; none where the kernel doesn't tell. Takes 1 µs for each of them.
pub fn memory_maps() -> Option<Look> {
    kernel::maps()
}

/// Open files of this process; none where the kernel doesn't tell or sets no limit.
pub fn open_files() -> Option<Look> {
    kernel::files()
}

/// The book of one thing that the kernel counts. Does no I/O.
#[derive(Debug)]
struct Ledger {
    /// What a plugin takes.
    each: u64,
    /// What is kept free, at most.
    reserve: u64,
    /// The last look, and how many plugins came since then.
    looked: Option<(Look, u64)>,
}

/// A plugin that doesn't fit.
#[derive(Debug, PartialEq, Eq)]
struct Full {
    look: Look,
    kept_free: u64,
}

impl Ledger {
    fn new(each: u64, reserve: u64) -> Self {
        Ledger {
            each,
            reserve,
            looked: None,
        }
    }

    /// Enters a plugin. `look` asks the kernel; where it does not tell, everything fits.
    fn admit(&mut self, look: impl FnOnce() -> Option<Look>) -> Result<(), Full> {
        if let Some((last, since)) = &mut self.looked {
            let grown = since.saturating_add(1).saturating_mul(self.each);
            let count = last.count.saturating_add(grown);
            let left = (last.limit - kept_free(self.reserve, last.limit)).saturating_sub(last.count);
            if count <= last.limit / 2 || grown <= left / 16 {
                *since += 1;
                return Ok(());
            }
        }
        self.looked = look().map(|look| (look, 1));
        let Some((look, _)) = self.looked else { return Ok(()) };
        let kept_free = kept_free(self.reserve, look.limit);
        if look.count.saturating_add(self.each) > look.limit - kept_free {
            self.looked = None;
            return Err(Full { look, kept_free });
        }
        Ok(())
    }
}

/// Of a low limit a quarter, so that something can be loaded at all.
fn kept_free(reserve: u64, limit: u64) -> u64 {
    reserve.min(limit / 4)
}

/// The books of an engine.
#[derive(Debug)]
pub(crate) struct Room {
    maps: Ledger,
    files: Ledger,
}

impl Room {
    /// For an engine with so many slots, all of which may be in use one day.
    pub(crate) fn new(slots: u32) -> Self {
        Room {
            maps: Ledger::new(
                MAPS_OF_PLUGIN,
                MAPS_OF_HOST.saturating_add(u64::from(slots).saturating_mul(MAPS_OF_SLOT)),
            ),
            files: Ledger::new(FILES_OF_PLUGIN, FILES_OF_HOST),
        }
    }

    /// Enters a plugin that is about to be loaded.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn admit(&mut self) -> Result<(), LoadError> {
        let refused = |what, mend| {
            move |Full { look, kept_free }| LoadError::NoRoom {
                what,
                count: look.count,
                limit: look.limit,
                kept_free,
                mend,
            }
        };
        self.maps.admit(kernel::maps).map_err(refused(
            "memory maps",
            "Raise vm.max_map_count (`sysctl -w vm.max_map_count=262144`; in Kubernetes on the node), unload plugins, or lower \
             host.poolSize",
        ))?;
        self.files.admit(kernel::files).map_err(refused(
            "open files",
            "Raise the limit on open files (`ulimit -Hn`, LimitNOFILE= of a systemd unit), or unload plugins",
        ))
    }
}

/// The most open files that are asked for where the hard limit is none.
#[cfg(unix)]
const MOST_FILES: u64 = if cfg!(target_os = "macos") { 10_240 } else { 1 << 20 };

/// Raises the soft limit on open files of this process to its hard limit, once at the start: the usual soft one of
/// 1,024 is for programs that can't count further (`select`). Answers the limit that is in force then.
///
/// # Errors
/// The operating system refuses; the limit is as it was.
#[cfg(unix)]
pub fn raise_open_files() -> std::io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(u64::MAX).min(MOST_FILES);
    match current {
        Some(current) if current < most => {
            let current = Some(most);
            setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
            Ok(most)
        }
        current => Ok(current.unwrap_or(u64::MAX)),
    }
}

/// What the kernel tells; none where it does not.
mod kernel {
    use super::Look;

    #[cfg(target_os = "linux")]
    pub(super) fn maps() -> Option<Look> {
        use std::io::Read;
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
        let limit = limit.trim().parse().ok()?;
        // A line each: 0.1 s for 100,000 of them, and in pieces, since the text may have megabytes.
        let mut file = std::fs::File::open("/proc/self/maps").ok()?;
        let mut piece = vec![0; 64 << 10];
        let mut count = 0;
        loop {
            let read = file.read(&mut piece).ok()?;
            if read == 0 {
                return Some(Look { count, limit });
            }
            count += piece.iter().take(read).filter(|byte| **byte == b'\n').count() as u64;
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn maps() -> Option<Look> {
        None
    }

    #[cfg(unix)]
    pub(super) fn files() -> Option<Look> {
        use rustix::process::{Resource, getrlimit};
        let limit = getrlimit(Resource::Nofile).current?;
        let directory = if cfg!(target_os = "linux") {
            "/proc/self/fd"
        } else {
            "/dev/fd"
        };
        let count = std::fs::read_dir(directory).ok()?.count() as u64;
        Some(Look { count, limit })
    }

    #[cfg(not(unix))]
    pub(super) fn files() -> Option<Look> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernel_is_not_asked_again_below_half_of_its_limit() {
        let mut ledger = Ledger::new(4, 100);
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            let (count, limit) = (200, 1_000);
            Some(Look { count, limit })
        };
        for _ in 0..75 {
            assert_eq!(ledger.admit(look), Ok(()));
        }
        assert_eq!(looks.get(), 1);
        // 200 and 76 times 4 are more than half.
        assert_eq!(ledger.admit(look), Ok(()));
        assert_eq!(looks.get(), 2);
    }

    #[test]
    fn where_the_kernel_does_not_tell_everything_fits() {
        let mut ledger = Ledger::new(4, 100);
        for _ in 0..1_000 {
            assert_eq!(ledger.admit(|| None), Ok(()));
        }
    }

    #[test]
    fn one_that_was_refused_fits_once_there_is_room_or_the_limit_is_raised() {
        let mut ledger = Ledger::new(4, 100);
        let look = |count, limit| move || Some(Look { count, limit });
        let full = Full {
            look: Look {
                count: 897,
                limit: 1_000,
            },
            kept_free: 100,
        };
        assert_eq!(ledger.admit(look(897, 1_000)), Err(full));
        assert_eq!(ledger.admit(look(896, 1_000)), Ok(()));
        assert!(ledger.admit(look(900, 1_000)).is_err());
        assert_eq!(ledger.admit(look(900, 2_000)), Ok(()));
    }

    #[test]
    fn of_a_low_limit_a_quarter_is_kept_free() {
        let mut ledger = Ledger::new(1, 256);
        assert_eq!(ledger.admit(|| Some(Look { count: 74, limit: 100 })), Ok(()));
        let refused = ledger.admit(|| Some(Look { count: 75, limit: 100 }));
        assert_eq!(refused.map_err(|full| full.kept_free), Err(25));
    }

    proptest! {
        /// As long as a plugin takes no more than is reckoned with.
        #[test]
        fn what_is_kept_free_stays_free_and_nothing_is_refused_that_fits(
            limit in 200..100_000_u64, reserve in 0..5_000_u64, each in 1..5_u64, begin in 0..150_u64, takes in 1..5_u64,
        ) {
            let takes = takes.min(each);
            let mut ledger = Ledger::new(each, reserve);
            let mut count = begin;
            let kept_free = kept_free(reserve, limit);
            while ledger.admit(|| Some(Look { count, limit })).is_ok() {
                count += takes;
                prop_assert!(count <= limit - kept_free);
            }
            prop_assert!(count + each > limit - kept_free);
        }
    }
}
