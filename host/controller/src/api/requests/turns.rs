//! Whose turn it is: how many requests a second each plugin and the host may send, and how many may be under way at
//! once.
//!
//! Promises: turns come in the order in which they were asked for; a wait that is longer than it may be is refused at
//! once, in the name of the bound that asks for it and with the setting that raises it.

use std::time::Duration;

use http::Method;
use pilothouse_apiclient::{Pace, TooLong};
use pilothouse_lifecycle::Plugin;
use pilothouse_runtime::{ApiError, Cause, reason};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Api;
use crate::{
    api::refusal::{CROWD, PAUSE},
    lock::lock,
};

/// What one plugin may send.
pub(crate) struct Share {
    /// All its requests.
    pub(crate) requests: Pace,
    /// Its writes among them.
    pub(crate) writes: Pace,
    /// Bytes of its requests and of their answers under way at once.
    pub(crate) in_flight: u64,
}

impl Share {
    pub(crate) fn of(plugin: &Plugin) -> Self {
        let (requests, budget) = (plugin.requests, plugin.budget);
        Self {
            requests: Pace::new(requests.per_second, requests.burst),
            writes: Pace::new(budget.writes_per_second, budget.write_burst),
            in_flight: u64::from(budget.in_flight_mib) << 20,
        }
    }
}

/// Who may send at once, and how many a second.
pub(super) struct Turns {
    pub(super) permits: Semaphore,
    pub(super) pace: std::sync::Mutex<Pace>,
}

impl Turns {
    pub(super) fn new(permits: usize, pace: Pace) -> Self {
        Self {
            permits: Semaphore::new(permits.max(1)),
            pace: pace.into(),
        }
    }
}

impl Api {
    /// Waits until the sender may send by what it has sent before, no longer than `most`. Holds nothing meanwhile that
    /// others wait for: whoever is slow by its own bounds is not to be taken for one whom the server keeps waiting.
    pub(super) async fn own_turn(&self, method: &Method, most: Duration) -> Result<Duration, ApiError> {
        let (sender, mut waited) = (&self.sender, Duration::ZERO);
        if *method != Method::GET {
            waited += self.paced(&sender.writes, most).await.map_err(|wait| {
                let most = lock(&sender.writes).per_second();
                self.too_many(wait, "writes", &raise("budget.writesPerSecond", most), None)
            })?;
        }
        let pace = &sender.turns.pace;
        waited += self.paced(pace, most.saturating_sub(waited)).await.map_err(|wait| {
            let (held, most) = {
                let pace = lock(pace);
                (pace.is_held(self.host.origin.elapsed()), pace.per_second())
            };
            if held {
                let bound = "the API server asked for a pause with its Retry-After: try again after it";
                self.too_many(wait, "requests", bound, Some(PAUSE))
            } else {
                self.too_many(wait, "requests", &raise("apiRequestsPerSecond", most), None)
            }
        })?;
        Ok(waited)
    }

    /// Waits until there is room among what is under way, and the host may send.
    pub(super) async fn room(
        &self,
        method: &Method,
        waited: Duration,
    ) -> Result<[Option<SemaphorePermit<'_>>; 2], ApiError> {
        let host = &self.host.turns;
        // The semaphores are never closed.
        let own = self.sender.turns.permits.acquire().await.ok();
        let for_host = self.paced(&host.pace, self.host.config.timeout).await;
        let for_host = for_host.map_err(|wait| host_too_many(wait, lock(&host.pace).per_second()))?;
        self.host.meter.waited(method, waited + for_host);
        Ok([own, host.permits.acquire().await.ok()])
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the driver of single requests: waits for a turn"
    )]
    async fn paced(&self, pace: &std::sync::Mutex<Pace>, most: Duration) -> Result<Duration, TooLong> {
        let wait = lock(pace).turn(self.host.origin.elapsed(), most)?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(wait)
    }

    fn too_many(&self, TooLong(wait): TooLong, what: &str, bound: &str, others: Option<&str>) -> ApiError {
        let plugin = self.sender.plugin.as_deref().unwrap_or("the host");
        waits(
            format!(
                "{plugin} has sent too many {what}: this one would have to wait {:.1} s for its turn, longer than it may; \
                 {bound}",
                wait.as_secs_f64()
            ),
            wait,
            others,
        )
    }
}

fn raise(setting: &str, now: u32) -> String {
    format!("send fewer, or raise {setting} ({now} now) in the plugin's part of the operator's configuration")
}

fn host_too_many(TooLong(wait): TooLong, now: u32) -> ApiError {
    waits(
        format!(
            "all plugins together have sent too many requests: this one would have to wait {:.1} s for its turn, longer \
             than it may; send fewer, or raise host.apiRequestsPerSecond ({now} now) in the operator's configuration",
            wait.as_secs_f64()
        ),
        wait,
        Some(CROWD),
    )
}

/// Nothing was sent, since it would have to wait for so long; `others`: the cause, where that is not the sender's
/// doing.
fn waits(message: String, wait: Duration, others: Option<&str>) -> ApiError {
    let cause = |reason: &str| Cause {
        reason: reason.to_owned(),
        field: String::new(),
        message: "not by what this plugin has sent".to_owned(),
    };
    ApiError {
        causes: others.map(cause).into_iter().collect(),
        retry_after_ms: Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)),
        ..ApiError::of_host(reason::LIMIT, message)
    }
}
