//! The CPU time of a call.
//!
//! A call is a future that is polled now on this thread, now on that; within one poll it stays on one. So what a
//! thread's CPU clock says before and after each poll, summed up, is the call's, however busy the machine is.
//!
//! To read that clock is a system call, and two of them would be a tenth of what a short call costs through the whole
//! host. So it is read only where it matters: a poll takes at most as much CPU time as it takes time, and of a short
//! one the latter is enough; and what the clock said a moment ago stands in for what it says at the beginning of a
//! poll. Both err to one side: **never is less counted than was used**, and at most [`FRESH`] or [`SHORT`] more in a
//! poll, where the thread was taken from the processor in it. In a call that has used much each poll is measured
//! exactly.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nanoseconds for which a reading of a thread's CPU clock stands in for the next.
const FRESH: u64 = 200_000;
/// A poll that took no more nanoseconds is counted with the time it took.
const SHORT: u64 = 100_000;
/// From so many nanoseconds on a call's polls are measured exactly: what is counted too much must not add up.
const MUCH: u64 = 1_000_000;

thread_local! {
    /// This thread's CPU clock, as it was read last.
    static LAST: Cell<Reading> = const { Cell::new(Reading { at: 0, cpu: 0 }) };
}

/// What a thread's CPU clock said, in nanoseconds, and when.
#[derive(Clone, Copy)]
struct Reading {
    at: u64,
    cpu: u64,
}

/// Sums up the CPU time of one call's polls.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Nanoseconds of the polls that are over.
    used: AtomicU64,
    /// When the running poll began. Meaningless between polls, as is the next.
    began: AtomicU64,
    /// What the thread's CPU clock had reached by then, or a little less.
    cpu: AtomicU64,
}

impl Meter {
    /// Runs one poll. Everything in it, on this thread, counts.
    pub(crate) fn measure<T>(&self, poll: impl FnOnce() -> T) -> T {
        let now = monotonic();
        let mut last = LAST.get();
        if now.saturating_sub(last.at) > FRESH || self.used.load(Ordering::Relaxed) > MUCH {
            last = Reading {
                at: now,
                cpu: thread_cpu(),
            };
            LAST.set(last);
        }
        self.began.store(now, Ordering::Relaxed);
        self.cpu.store(last.cpu, Ordering::Relaxed);
        let result = poll();
        let used = self.used.load(Ordering::Relaxed).saturating_add(self.running());
        self.used.store(used, Ordering::Relaxed);
        result
    }

    /// Begins anew, between two polls.
    pub(crate) fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
    }

    /// Whether so much was used by now; to be asked from within a poll.
    pub(crate) fn has_used(&self, limit: Duration) -> bool {
        let before = self.used.load(Ordering::Relaxed);
        let reached = |running| Duration::from_nanos(before.saturating_add(running)) >= limit;
        // Where even the time would not be enough the clock need not be asked.
        reached(self.took()) && reached(self.running())
    }

    /// What the polls that are over used.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// The time since the running poll began.
    fn took(&self) -> u64 {
        monotonic().saturating_sub(self.began.load(Ordering::Relaxed))
    }

    /// What the running poll used.
    fn running(&self) -> u64 {
        spent(self.took(), || {
            thread_cpu().saturating_sub(self.cpu.load(Ordering::Relaxed))
        })
    }
}

/// CPU time of a poll that took so long; the other is what its thread used since a little before it began.
fn spent(took: u64, cpu: impl FnOnce() -> u64) -> u64 {
    if took <= SHORT { took } else { took.min(cpu()) }
}

/// Nanoseconds since an arbitrary origin.
#[cfg(unix)]
fn monotonic() -> u64 {
    nanoseconds(rustix::time::ClockId::Monotonic)
}

/// This thread's CPU clock, in nanoseconds since an arbitrary origin.
#[cfg(unix)]
fn thread_cpu() -> u64 {
    nanoseconds(rustix::time::ClockId::ThreadCPUTime)
}

#[cfg(unix)]
fn nanoseconds(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Where there is no clock of a thread, time passed stands in for it.
#[cfg(not(unix))]
fn thread_cpu() -> u64 {
    monotonic()
}

#[cfg(not(unix))]
fn monotonic() -> u64 {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "the measuring itself")]
    let now = std::time::Instant::now();
    u64::try_from(now.saturating_duration_since(*ORIGIN.get_or_init(|| now)).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> u64 {
        (0..2_000_000_u64).fold(0_u64, |sum, n| std::hint::black_box(sum.wrapping_mul(31) ^ n))
    }

    #[test]
    fn work_in_a_poll_counts_and_work_between_polls_does_not() {
        let meter = Meter::default();
        let nothing = Duration::from_nanos(1);
        meter.measure(|| {
            work();
            assert!(meter.has_used(nothing));
            assert!(!meter.has_used(Duration::from_secs(3600)));
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

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the real clock is what is tested")]
    fn to_wait_within_a_poll_is_no_cpu_time() {
        let (meter, long) = (Meter::default(), Duration::from_millis(50));
        meter.measure(|| {
            std::thread::sleep(long);
            assert!(!meter.has_used(long));
        });
        assert!(meter.total() < long, "{:?}", meter.total());
    }

    #[test]
    fn no_less_is_counted_than_was_used_and_for_a_short_poll_the_clock_is_not_asked() {
        assert_eq!(spent(SHORT, || unreachable!()), SHORT);
        assert_eq!(spent(SHORT + 1, || 7), 7);
        assert_eq!(
            spent(SHORT + 1, || SHORT + 9),
            SHORT + 1,
            "others ran before it on this thread"
        );
    }

    #[test]
    fn a_call_that_used_much_is_not_charged_for_what_ran_before_it_on_its_thread() {
        let meter = Meter::default();
        while meter.total() <= Duration::from_nanos(MUCH) {
            meter.measure(work);
        }
        meter.measure(|| ());
        let read = LAST.get();
        assert!(thread_cpu() >= read.cpu);
        meter.measure(|| ());
        assert!(LAST.get().at > read.at, "the clock is read for each poll");
    }
}
