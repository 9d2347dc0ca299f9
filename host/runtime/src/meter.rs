//! The CPU time of a call.
//!
//! A call is a future that is polled now on this thread, now on that; within one poll it stays on one. So the
//! thread's CPU clock is read before and after each poll, and the sum is the call's, however busy the machine is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sums up the CPU time of one call's polls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Nanoseconds of the polls that are over.
    used: AtomicU64,
    /// The thread's CPU clock when the running poll began. Meaningless between polls.
    began: AtomicU64,
}

impl Meter {
    /// Runs one poll. Everything in it, on this thread, counts.
    pub(crate) fn measure<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.began.store(thread_cpu(), Ordering::Relaxed);
        let result = poll();
        let spent = thread_cpu().saturating_sub(self.began.load(Ordering::Relaxed));
        self.used.fetch_add(spent, Ordering::Relaxed);
        result
    }

    /// Begins anew, between two polls.
    pub(crate) fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
    }

    /// What was used up to now; to be asked from within a poll.
    pub(crate) fn so_far(&self) -> Duration {
        let running = thread_cpu().saturating_sub(self.began.load(Ordering::Relaxed));
        Duration::from_nanos(self.used.load(Ordering::Relaxed).saturating_add(running))
    }

    /// What the polls that are over used.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }
}

/// This thread's CPU clock, in nanoseconds since an arbitrary origin.
#[cfg(unix)]
fn thread_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Where there is no such clock, time passed stands in for it.
#[cfg(not(unix))]
fn thread_cpu() -> u64 {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "the measuring itself")]
    let now = std::time::Instant::now();
    u64::try_from(now.saturating_duration_since(*ORIGIN.get_or_init(|| now)).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_a_poll_counts_and_work_between_polls_does_not() {
        let meter = Meter::default();
        let work = || (0..2_000_000_u64).fold(0_u64, |sum, n| std::hint::black_box(sum.wrapping_mul(31) ^ n));
        meter.measure(|| {
            work();
            assert!(meter.so_far() > Duration::ZERO);
        });
        let after_one = meter.total();
        assert!(after_one > Duration::ZERO);
        work();
        assert_eq!(meter.total(), after_one);
        meter.measure(work);
        assert!(meter.total() > after_one);
        meter.reset();
        assert_eq!(meter.total(), Duration::ZERO);
    }
}
