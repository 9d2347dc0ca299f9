//! How many keys of a controller may be in work at once, as the operator sets it, and as it is led where he says
//! `auto`. Pure.
//!
//! The law is the gate's ([`pilothouse_gate::concurrency`]). Here is what it is shown once a second, while anything of
//! the controller runs: its plugin's requests to the API server since then, how many of its keys were in work at most,
//! and how many wait.

use std::{collections::HashMap, sync::Arc, time::Duration};

use pilothouse_gate::concurrency::{Concurrency as Law, Sample};
use pilothouse_lifecycle::Concurrency;

use crate::{ControllerId, Dispatcher};

/// What a plugin's requests to the API server have shown since the last time that this was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiLoad {
    /// Requests whose answers ended.
    pub answers: u32,
    /// Times from sending each to the end of its answer, added up.
    pub took: Duration,
    /// Requests that the server shed: answered 429, or not at all.
    pub shed: u32,
}

impl ApiLoad {
    /// One more request.
    pub(crate) fn add(&mut self, took: Duration, shed: bool) {
        if shed {
            self.shed = self.shed.saturating_add(1);
        } else {
            self.answers = self.answers.saturating_add(1);
            self.took = self.took.saturating_add(took);
        }
    }
}

/// A controller whose limit is led.
#[derive(Debug)]
pub(crate) struct Led {
    law: Law,
    /// The most keys in work at once since the last step.
    used: usize,
}

impl Led {
    /// So many of its keys are in work.
    pub(crate) fn uses(&mut self, running: usize) {
        self.used = self.used.max(running);
    }

    fn is_used(&self) -> bool {
        self.used > 0
    }
}

impl Dispatcher {
    /// How many keys of a registered controller may be in work at once from now on. What runs beyond a smaller number
    /// ends by itself. Where it is led already between the same bounds it goes on from where it stands. False where
    /// there is no such controller.
    pub fn set_concurrency(&mut self, id: &ControllerId, concurrency: Concurrency) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let limit = match concurrency {
            Concurrency::Fixed(number) => {
                entry.led = None;
                number as usize
            }
            Concurrency::Auto { min, max } => {
                let (min, max) = (min as usize, max as usize);
                let led = entry.led.take().filter(|led| led.law.is_between(min, max));
                let led = led.unwrap_or_else(|| Led {
                    law: Law::new(min, max),
                    used: 0,
                });
                entry.led.insert(led).law.limit()
            }
        };
        self.led_used &= self
            .entries
            .values()
            .any(|entry| entry.led.as_ref().is_some_and(Led::is_used));
        self.gate.set_limit(id, limit)
    }

    /// How many keys of a controller may be in work at once now; none where there is no such controller.
    pub fn concurrency(&self, id: &ControllerId) -> Option<usize> {
        self.gate.limit(id)
    }

    /// Leads the limits that are to be led, where it is time. `load` tells of a plugin's requests since it was asked
    /// last.
    pub fn lead(&mut self, now: Duration, mut load: impl FnMut(&Arc<str>) -> ApiLoad) {
        if self.next_lead().is_none_or(|due| due > now) {
            return;
        }
        self.led_at = now;
        let mut loads: HashMap<Arc<str>, ApiLoad> = HashMap::new();
        self.led_used = false;
        for (id, entry) in self.entries.iter_mut() {
            let Some(led) = &mut entry.led else { continue };
            let load = *loads.entry(id.plugin.clone()).or_insert_with(|| load(&id.plugin));
            let running = self.gate.running(id);
            self.led_used |= running > 0;
            let sample = Sample {
                latency: load.took.checked_div(load.answers),
                shed: load.shed,
                used: std::mem::replace(&mut led.used, running),
                waiting: entry.queue.len(),
            };
            self.gate.set_limit(id, led.law.step(now, &sample));
        }
    }

    /// When [`Dispatcher::lead`] has something to do; none while nothing of what it leads runs.
    pub fn next_lead(&self) -> Option<Duration> {
        self.led_used.then_some(self.led_at + Law::INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_object::Key;
    use pilothouse_workqueue::QueueConfig;

    use super::*;
    use crate::{Cause, Job, Verdict, What};

    const SECOND: Duration = Duration::from_secs(1);

    /// A controller that is led between 1 and 4, and begins with so many keys.
    fn led(keys: usize) -> (Dispatcher, ControllerId) {
        let (mut dispatcher, id) = (Dispatcher::new(10), ControllerId::new("p", "c"));
        dispatcher.register(id.clone(), 1, QueueConfig::default());
        dispatcher.start(&id);
        assert!(dispatcher.set_concurrency(&id, Concurrency::Auto { min: 1, max: 4 }));
        for key in 0..keys {
            let cause = Cause::new(What::Resync, None);
            let key = Key::new(None, &key.to_string());
            dispatcher.add(Duration::ZERO, &id, key, 0, cause, true);
        }
        (dispatcher, id)
    }

    /// So many seconds with as many keys in work as may be, on a server that answers quickly.
    fn work(dispatcher: &mut Dispatcher, seconds: std::ops::Range<u64>) {
        let mut rng = fastrand::Rng::with_seed(1);
        for second in seconds {
            let now = SECOND * u32::try_from(second).unwrap();
            let jobs: Vec<Job> = std::iter::from_fn(|| dispatcher.next(now)).collect();
            let load = ApiLoad {
                answers: 10,
                took: SECOND / 10,
                shed: 0,
            };
            dispatcher.lead(now + SECOND, |_| load);
            for job in &jobs {
                dispatcher.finished(now + SECOND, &mut rng, job, &Verdict::Done);
            }
        }
    }

    #[test]
    fn what_is_led_grows_only_while_keys_wait() {
        let (mut dispatcher, id) = led(1);
        work(&mut dispatcher, 0..1);
        assert_eq!(
            dispatcher.concurrency(&id),
            Some(1),
            "all of it is used, and nothing waits"
        );
        let (mut dispatcher, id) = led(2);
        work(&mut dispatcher, 0..1);
        assert_eq!(dispatcher.concurrency(&id), Some(2));
    }

    #[test]
    fn what_is_led_goes_on_from_where_it_stands_when_it_is_set_to_the_same_bounds_again() {
        let (mut dispatcher, id) = led(100);
        work(&mut dispatcher, 0..2);
        assert_eq!(dispatcher.concurrency(&id), Some(3));
        for (max, expected) in [(4, 3), (5, 1)] {
            assert!(dispatcher.set_concurrency(&id, Concurrency::Auto { min: 1, max }));
            assert_eq!(dispatcher.concurrency(&id), Some(expected), "up to {max}");
        }
    }
}
