//! From the operator's file to what a queue keeps to.

use std::time::Duration;

use pilothouse_lifecycle::{Config, Manifest, Retrying};
use pilothouse_object::Key;
use pilothouse_workqueue::{Limit, Limits};
use proptest::prelude::*;
use serde_json::json;

use super::limits;
use crate::{Cause, ControllerId, Dispatcher, Finished, Verdict, What};

const SECOND: Duration = Duration::from_secs(1);

/// What holds for the only controller, `c`, of plugin `p`, whose manifest has these fields beside its name and kind.
fn retrying(plugins: &str, fields: &serde_json::Value) -> Retrying {
    let file = format!("apiVersion: pilothouse.dev/v1\nplugins: {plugins}\n");
    let own = Config::parse(&file, "pilothouse.yaml".as_ref()).unwrap().plugin("p");
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let mut controller = json!({"name": "c", "kind": kind});
    let fields = fields.as_object().unwrap().clone();
    controller.as_object_mut().unwrap().extend(fields);
    let manifest = json!({
        "name": "p", "version": "1", "controllers": [controller],
        "permissions": [{"group": "", "kind": "ConfigMap", "verbs": ["watch"]}],
    });
    let manifest = Manifest::parse(&manifest.to_string()).unwrap();
    let of_c = own.controllers.get("c").copied().unwrap_or_default();
    Retrying::of(&manifest.controllers[0], &of_c.queue, &own.queue).unwrap()
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn where_nothing_is_set_a_queue_retries_as_it_does_by_default() {
    assert_eq!(limits(&retrying("{}", &json!({}))), Limits::default());
}

#[test]
fn what_the_manifest_suggests_and_the_operator_sets_is_what_the_queue_keeps_to() {
    let manifest = json!({"maxAttempts": 8, "backoff": {"baseMs": 10, "maxMs": 60_000}});
    let backoff = |base, cap, jitter| Limit::Exponential {
        base: millis(base),
        cap: millis(cap),
        jitter,
    };
    let suggested = [backoff(10, 60_000, true), Limit::Attempts { most: 8 }];
    assert_eq!(limits(&retrying("{}", &manifest)), Limits::new(suggested));
    let set = "{p: {queue: {backoff: {baseMs: 20, jitter: false}, maxAttempts: 3, retries: {perSecond: 4, burst: 2}, \
               fastSlow: {fastMs: 7, slowMs: 9000, quick: 5}}}}";
    let all = [
        backoff(20, 60_000, false),
        Limit::FastSlow {
            fast: millis(7),
            slow: millis(9_000),
            quick: 5,
        },
        Limit::Bucket {
            every: millis(250),
            burst: 2,
        },
        Limit::Attempts { most: 3 },
    ];
    assert_eq!(limits(&retrying(set, &manifest)), Limits::new(all));
    let off = "{p: {queue: {maxAttempts: 0, retries: {perSecond: 0}}}}";
    assert_eq!(
        limits(&retrying(off, &manifest)),
        Limits::new([backoff(10, 60_000, true)])
    );
}

proptest! {
    #[test]
    fn what_the_operators_file_allows_is_no_mistake_for_a_queue(
        base in 1_u32..=3_600_000, more in 0_u32..=82_800_000, jitter: bool, most in 0_u32..=1_000_000,
        rate in 0_u32..=100_000, burst in 1_u32..=100_000, fast in 0_u32..=3_600_000, longer in 1_u32..=82_800_000,
        quick in 1_u32..=1_000_000,
    ) {
        let (max, slow) = (base + more, fast + longer);
        let set = format!(
            "{{p: {{queue: {{backoff: {{baseMs: {base}, maxMs: {max}, jitter: {jitter}}}, maxAttempts: {most}, retries: \
             {{perSecond: {rate}, burst: {burst}}}, fastSlow: {{fastMs: {fast}, slowMs: {slow}, quick: {quick}}}}}}}}}"
        );
        prop_assert_eq!(limits(&retrying(&set, &json!({}))).check(), Ok(()));
    }
}

/// A dispatcher with one started controller, `c`, for each of plugins `p` and `other`; only `p` is set something.
struct Two {
    dispatcher: Dispatcher,
    now: Duration,
    rng: fastrand::Rng,
}

impl Two {
    fn new(queue: &str) -> Self {
        let mut dispatcher = Dispatcher::new(100);
        let plain = json!({"backoff": {"baseMs": 1000}});
        let set = [("p", format!("{{p: {{queue: {queue}}}}}")), ("other", "{}".to_owned())];
        for (plugin, file) in set {
            let id = ControllerId::new(plugin, "c");
            dispatcher.register(id.clone(), 10, limits(&retrying(&file, &plain)));
            dispatcher.start(&id);
        }
        Self {
            dispatcher,
            now: Duration::ZERO,
            rng: fastrand::Rng::with_seed(3),
        }
    }

    /// What becomes of a key of this plugin whose next attempt fails.
    fn fails(&mut self, plugin: &str, key: &str) -> Finished {
        let id = ControllerId::new(plugin, "c");
        let (key, cause) = (Key::new(None, key), Cause::new(What::Resync, None));
        self.dispatcher.add(self.now, &id, key, 0, cause, false);
        let job = self.dispatcher.next(self.now).expect("it was asked for");
        assert_eq!(job.id, id);
        let reason = "no luck".to_owned();
        self.dispatcher
            .finished(self.now, &mut self.rng, &job, &Verdict::Retry { reason })
    }

    /// The waits after so many failures in a row, none where the key is parked.
    fn waits(&mut self, plugin: &str, failures: usize) -> Vec<Option<Duration>> {
        let mut waits = Vec::new();
        for _ in 0..failures {
            waits.push(self.fails(plugin, "x").again_after);
        }
        waits
    }
}

#[test]
fn a_plugins_back_off_holds_for_it_and_for_no_other() {
    let mut two = Two::new("{backoff: {baseMs: 7, maxMs: 20, jitter: false}}");
    let expected = [7, 14, 20, 20].map(|ms| Some(millis(ms)));
    assert_eq!(two.waits("p", 4), expected);
    // With jitter, which is drawn; so the longest of many tells.
    let longest = (0..50)
        .filter_map(|i| two.fails("other", &i.to_string()).again_after)
        .max();
    assert!(longest > Some(SECOND / 2) && longest <= Some(SECOND), "{longest:?}");
}

#[test]
fn a_plugins_end_of_attempts_holds_for_it_and_for_no_other() {
    let mut two = Two::new("{maxAttempts: 3}");
    let parked: Vec<bool> = (0..3).map(|_| two.fails("p", "x").parked).collect();
    assert_eq!(parked, [false, false, true]);
    assert!((0..50).all(|_| !two.fails("other", "x").parked));
}

#[test]
fn a_plugins_bucket_holds_for_all_its_keys_and_for_no_other_plugins() {
    let mut two = Two::new("{backoff: {baseMs: 1, maxMs: 1}, retries: {perSecond: 10, burst: 2}}");
    let mut wait = |plugin: &str, key: usize| two.fails(plugin, &key.to_string()).again_after.unwrap();
    let waits: Vec<Duration> = (0..5).map(|key| wait("p", key)).collect();
    assert!(waits[..2].iter().all(|wait| *wait <= millis(1)), "{waits:?}");
    assert_eq!(waits[2..], [millis(100), millis(200), millis(300)]);
    assert!((0..100).all(|key| wait("other", key) <= SECOND));
}
