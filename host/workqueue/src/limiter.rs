//! Limiters: how long a failed key waits for its next attempt, and when there is none.
//!
//! A [`Limit`] is plain data: what an operator sets for a plugin is made into a list of them, compared with what was
//! set before, and handed to a queue. Any number of them compose into [`Limits`]: the longest wait wins, and each is
//! asked each time, also those whose wait is shorter; so a token bucket counts the retries that back off for longer
//! anyway.
//!
//! What a limiter needs to know of one key is how often it failed. The queue counts that with the key's entry and
//! [`crate::Queue::forget`] clears it, for all limiters at once. The only state of a limiter itself is that of a
//! bucket, a single time, which moves with the `now` that is passed in. There is no overflow: waits end at
//! [`Duration::MAX`].

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// More limits than this are refused by [`Limits::check`]: each is asked for each failure.
pub const MAX_LIMITS: usize = 8;

/// One rule for how long a failed key waits.
///
/// Every value means something and does no harm to the queue, also those that [`Limits::check`] refuses as mistakes;
/// what each of those does stands with its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// For each key: base·2^failures, up to a cap.
    Exponential {
        /// The first wait. client-go: 5 ms. Zero is refused: a key that fails would be tried again at once, for ever.
        base: Duration,
        /// No wait is longer. client-go: 1000 s. Danger: as long as this a key can stand still after what made it fail
        /// is mended, if no event tells of it. A cap below `base` is refused; it would win over it.
        cap: Duration,
        /// Full jitter: the wait is drawn evenly between nothing and what it would be, so that keys that failed
        /// together don't come back together. The mean wait is half as long then. client-go has none.
        jitter: bool,
    },
    /// For each key: a short wait for the first failures, a long one after.
    FastSlow {
        /// The short wait. Zero is allowed, since the number of these is bounded.
        fast: Duration,
        /// The long wait. Shorter than `fast` is refused.
        slow: Duration,
        /// How many failures in a row get the short wait.
        quick: u32,
    },
    /// For the whole queue: retries take tokens from one bucket, and wait for them where it is empty. Adds and waits
    /// that a failure names itself ([`crate::Queue::retry_after`]) take none.
    ///
    /// Danger: one bucket is shared by all keys of the queue. When many fail, one that fails for the first time waits
    /// its turn behind them: after 1,000 failures at 10 a second that is a minute and a half.
    Bucket {
        /// How long one token takes to come back. client-go: 100 ms, which is 10 a second. Zero is refused: it would
        /// limit nothing.
        every: Duration,
        /// How many tokens the bucket holds, and has at first. client-go: 100. Zero is refused; it would count as one.
        burst: u32,
    },
    /// For each key: after so many failed attempts in a row there is no other, and the key is parked. Waking a parked
    /// key gives it as many again. Unlike the others it counts attempts that named their wait themselves, too.
    ///
    /// Danger: a key that is parked waits for an event. What fails for a reason outside the cluster stays down when
    /// that has passed.
    Attempts {
        /// Zero is refused; it would count as one.
        most: u32,
    },
}

/// Limits that hold together. The default is that of [`crate::QueueConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(Vec<Limit>);

impl Limits {
    /// Limits that hold together, in any order. None at all is refused by [`Limits::check`]: keys that fail would be
    /// tried again at once, for ever.
    pub fn new(all: impl IntoIterator<Item = Limit>) -> Self {
        Self(all.into_iter().collect())
    }

    /// What client-go and controller-runtime do by default (`DefaultTypedControllerRateLimiter`): 5 ms doubling up to
    /// 1000 s, without jitter, and for the whole queue 10 retries a second after a burst of 100.
    pub fn client_go() -> Self {
        Self::new([
            Limit::Exponential {
                base: Duration::from_millis(5),
                cap: Duration::from_secs(1000),
                jitter: false,
            },
            Limit::Bucket {
                every: Duration::from_millis(100),
                burst: 100,
            },
        ])
    }

    /// The single limits.
    pub fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.0.iter()
    }

    /// For settings that people write.
    ///
    /// # Errors
    /// The first limit that can only be a mistake: show it to whoever wrote the setting, and keep the settings that
    /// held before.
    pub fn check(&self) -> Result<(), LimitError> {
        let refuse = |at, problem| Err(LimitError { at, problem });
        if self.0.is_empty() {
            return refuse(
                0,
                "no limit is set, so keys that fail would be tried again at once and without end",
            );
        }
        if self.0.len() > MAX_LIMITS {
            return refuse(MAX_LIMITS, "there are more than 8 limits");
        }
        for (at, limit) in self.0.iter().enumerate() {
            match limit {
                Limit::Exponential { base, .. } if base.is_zero() => {
                    return refuse(
                        at,
                        "the base of the back-off is zero, and stays so however often it is doubled",
                    );
                }
                Limit::Exponential { base, cap, .. } if cap < base => {
                    return refuse(at, "the cap of the back-off is shorter than its base");
                }
                Limit::FastSlow { fast, slow, .. } if slow < fast => {
                    return refuse(at, "the slow wait is shorter than the fast one");
                }
                Limit::FastSlow { slow, .. } if slow.is_zero() => {
                    return refuse(
                        at,
                        "the slow wait is zero, so keys that fail would be tried again at once",
                    );
                }
                Limit::Bucket { every, .. } if every.is_zero() => {
                    return refuse(at, "tokens come back at once, so the bucket limits nothing");
                }
                Limit::Bucket { burst: 0, .. } => return refuse(at, "the bucket holds no token"),
                Limit::Attempts { most: 0 } => return refuse(at, "no attempt is allowed; the first needs one"),
                _ => {}
            }
        }
        Ok(())
    }
}

impl From<Limit> for Limits {
    fn from(limit: Limit) -> Self {
        Self::new([limit])
    }
}

/// A limit that can only be a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitError {
    /// Which of the limits, counted from zero.
    pub at: usize,
    /// What is wrong with it, for people.
    pub problem: &'static str,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {}: {}", self.at + 1, self.problem)
    }
}

impl Error for LimitError {}

/// Limits at work. Of use without a queue, too.
#[derive(Clone, Debug)]
pub struct Limiter {
    limits: Limits,
    /// When each bucket is full again, were nothing more taken from it; unused for limits of other kinds.
    full: Vec<Duration>,
}

impl Limiter {
    /// With full buckets.
    pub fn new(limits: impl Into<Limits>) -> Self {
        let limits = limits.into();
        Self {
            full: vec![Duration::ZERO; limits.0.len()],
            limits,
        }
    }

    /// What it keeps to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it keeps to from now on. A bucket that was there before, equal in rate and burst, keeps its tokens; others
    /// are full.
    pub fn set(&mut self, limits: impl Into<Limits>) {
        let limits = limits.into();
        let full = |limit: &Limit| {
            let before = self.limits.0.iter().position(|before| before == limit);
            before.map_or(Duration::ZERO, |at| self.full[at])
        };
        self.full = limits.0.iter().map(full).collect();
        self.limits = limits;
    }

    /// How long a key waits that failed at `now`, and `failures` times before since it last went well. Takes a token
    /// from each bucket.
    pub fn wait(&mut self, now: Duration, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        let mut longest = Duration::ZERO;
        for (limit, full) in self.limits.0.iter().zip(&mut self.full) {
            longest = longest.max(match *limit {
                Limit::Exponential { base, cap, jitter } => {
                    let wait = doubled(base, failures, cap);
                    if jitter { drawn(wait, rng) } else { wait }
                }
                Limit::FastSlow { fast, slow, quick } => {
                    if failures < quick {
                        fast
                    } else {
                        slow
                    }
                }
                Limit::Bucket { every, burst } => {
                    *full = now.max(*full).saturating_add(every);
                    // What would fill the bucket beyond its size is the time until there is a token for this one.
                    full.saturating_sub(now)
                        .saturating_sub(every.saturating_mul(burst.max(1)))
                }
                Limit::Attempts { .. } => Duration::ZERO,
            });
        }
        longest
    }

    /// True where a key has no attempt left after so many that failed.
    pub fn gives_up(&self, attempts: u32) -> bool {
        self.limits
            .0
            .iter()
            .any(|limit| matches!(limit, Limit::Attempts { most } if attempts >= *most))
    }
}

/// base·2^times, at most the cap.
fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    let nanos = 1_u128
        .checked_shl(times)
        .and_then(|factor| base.as_nanos().checked_mul(factor))
        // What overflows is longer than any cap, unless the base is zero: 0 · 2^200 stays zero.
        .unwrap_or(if base.is_zero() { 0 } else { u128::MAX });
    duration(nanos.min(cap.as_nanos()))
}

/// Between nothing and all of it, evenly.
fn drawn(most: Duration, rng: &mut fastrand::Rng) -> Duration {
    duration(rng.u128(0..=most.as_nanos()))
}

/// Of the nanoseconds of some duration, or fewer: both casts are lossless.
fn duration(nanos: u128) -> Duration {
    Duration::new((nanos / NANOS_A_SECOND) as u64, (nanos % NANOS_A_SECOND) as u32)
}

const NANOS_A_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
