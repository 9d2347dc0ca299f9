//! When a breaker opens, for how long, and how it closes.

use std::time::Duration;

/// The settings of one plugin's breaker. Rates are in percent; a rate of 0 is none: that reason never opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// False: it never opens, though it can be quarantined by hand. Default true.
    pub enabled: bool,
    /// How far back outcomes count. Default 60 s. At least 1 ms.
    pub window: Duration,
    /// With fewer calls than this in the window no rate opens it. Default 20.
    pub min_calls: u32,
    /// Of so many distinct keys the calls must be that speak against the plugin: one poison object is no reason.
    /// Default 5, at most [`MAX_KEYS`].
    pub min_keys: usize,
    /// Opens when this share of the calls failed. Default 50.
    pub failure_rate: u32,
    /// Opens when this share of the calls was slow, failed ones aside. Default 80.
    pub slow_rate: u32,
    /// Opens after so many failures in a row, however long they took; 0: never. Default 20.
    pub consecutive: u32,
    /// How long it stays open the first time. Default 10 s. Each further trip doubles it.
    pub open: Duration,
    /// The longest that it stays open, before jitter. Default 5 min.
    pub open_max: Duration,
    /// Closed for so long, it begins again with `open` at its next trip. Default 10 min.
    pub good: Duration,
    /// Half-open, so many calls are under way at once, and the verdict is that of so many. Default 3, at least 1.
    pub probes: u32,
    /// After it closed, calls begin as slowly as probes and twice as fast each second, for so long. Default 10 s.
    pub ramp: Duration,
    /// A key that failed so many times in a row, while others of the plugin are known to go well, is set apart: its
    /// failures do not count, and it runs only at the pauses of its own back-off. Default 5; 0: none ever is.
    pub poison_after: u32,
    /// After so many trips within `quarantine_within` it stays open until [`Breaker::reset`](super::Breaker::reset); 0:
    /// never. Default 5, at most [`MAX_TRIPS`].
    pub quarantine_trips: usize,
    /// See `quarantine_trips`. Default 1 h.
    pub quarantine_within: Duration,
}

/// The most distinct keys that can be asked for.
pub const MAX_KEYS: usize = 64;
/// The most trips that can be asked for.
pub const MAX_TRIPS: usize = 64;

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Duration::from_secs(60),
            min_calls: 20,
            min_keys: 5,
            failure_rate: 50,
            slow_rate: 80,
            consecutive: 20,
            open: Duration::from_secs(10),
            open_max: Duration::from_secs(300),
            good: Duration::from_secs(600),
            probes: 3,
            ramp: Duration::from_secs(10),
            poison_after: 5,
            quarantine_trips: 5,
            quarantine_within: Duration::from_secs(3_600),
        }
    }
}
