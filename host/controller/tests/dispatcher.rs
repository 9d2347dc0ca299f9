//! What the dispatcher promises, driven by hand: no clock, no tasks.

use std::time::Duration;

use pilothouse_controller::{ApiLoad, Cause, ControllerId, Dispatcher, Finished, Job, LOW_PRIORITY, Verdict, What};
use pilothouse_lifecycle::Concurrency;
use pilothouse_object::Key;
use pilothouse_workqueue::QueueConfig;

const SECOND: Duration = Duration::from_secs(1);

struct Desk {
    dispatcher: Dispatcher,
    now: Duration,
    rng: fastrand::Rng,
}

impl Desk {
    /// Two started controllers, `a` with two permits and `b` with one, in a pool of three.
    fn new() -> Self {
        let mut dispatcher = Dispatcher::new(3);
        for (name, permits) in [("a", 2), ("b", 1)] {
            let config = QueueConfig {
                jitter: false,
                max_attempts: Some(3),
                ..QueueConfig::default()
            };
            dispatcher.register(id(name), permits, config);
            dispatcher.start(&id(name));
        }
        Self {
            dispatcher,
            now: Duration::ZERO,
            rng: fastrand::Rng::with_seed(7),
        }
    }

    fn add(&mut self, controller: &str, key: &str) {
        self.dispatcher.add(
            self.now,
            &id(controller),
            Key::new(None, key),
            0,
            Cause::new(What::Resync, None),
            true,
        );
    }

    fn next(&mut self) -> Option<Job> {
        self.dispatcher.next(self.now)
    }

    fn names(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next())
            .map(|job| format!("{}:{}", job.id.controller, job.taken.key))
            .collect()
    }

    fn finish(&mut self, job: &Job, verdict: Verdict) -> Finished {
        self.dispatcher.finished(self.now, &mut self.rng, job, &verdict)
    }
}

fn id(name: &str) -> ControllerId {
    ControllerId::new("p", name)
}

fn retry() -> Verdict {
    Verdict::Retry {
        reason: "no luck".into(),
    }
}

#[test]
fn rule_26_nothing_is_handed_out_before_a_controller_has_started() {
    let mut desk = Desk::new();
    desk.dispatcher.register(id("late"), 1, QueueConfig::default());
    desk.add("late", "x");
    assert!(desk.next().is_none());
    desk.dispatcher.start(&id("late"));
    assert_eq!(desk.names(), ["late:x"]);
}

#[test]
fn permits_bound_each_controller_and_turns_are_fair() {
    let mut desk = Desk::new();
    for i in 0..5 {
        desk.add("a", &format!("{i}"));
    }
    desk.add("b", "x");
    desk.add("b", "y");
    let mut names = desk.names();
    names.sort();
    assert_eq!(names, ["a:0", "a:1", "b:x"]);
}

#[test]
fn a_permit_released_early_serves_the_next_key_while_the_first_stays_in_work() {
    let mut desk = Desk::new();
    desk.add("b", "x");
    desk.add("b", "y");
    let first = desk.next().unwrap();
    assert!(desk.next().is_none());
    desk.dispatcher.release(&first);
    desk.add("b", "x");
    assert_eq!(
        desk.names(),
        ["b:y"],
        "x is still in work and must not run twice at once"
    );
    let second_release_changes_nothing = desk.dispatcher.running(&id("b"));
    desk.dispatcher.release(&first);
    assert_eq!(desk.dispatcher.running(&id("b")), second_release_changes_nothing);
}

#[test]
fn changes_while_a_key_is_in_work_cause_exactly_one_more_run() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    for _ in 0..10 {
        desk.add("a", "x");
    }
    assert!(desk.next().is_none());
    desk.finish(&job, Verdict::Done);
    let again = desk.next().unwrap();
    assert_eq!(again.taken.causes.len(), 8);
    assert_eq!(again.taken.causes.omitted(), 2);
    desk.finish(&again, Verdict::Done);
    assert!(desk.next().is_none() && desk.dispatcher.is_idle());
}

#[test]
fn rule_19_a_failure_backs_off_and_carries_its_cause_on() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    let finished = desk.finish(&job, retry());
    let after = finished.again_after.unwrap();
    assert!(desk.next().is_none() && !desk.dispatcher.is_idle());
    assert_eq!(desk.dispatcher.next_due(), Some(desk.now + after));
    desk.now += after;
    let again = desk.next().unwrap();
    assert_eq!(again.taken.attempt, 2);
    assert_eq!(
        again.taken.causes.first().unwrap().to_string(),
        "retry 1 after no luck ← resync"
    );
}

#[test]
fn the_last_attempt_parks_the_key_until_something_changes() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let mut parked = false;
    for _ in 0..3 {
        desk.now += 100 * SECOND;
        let job = desk.next().unwrap();
        parked = desk.finish(&job, retry()).parked;
    }
    assert!(parked);
    desk.now += 10_000 * SECOND;
    assert!(desk.next().is_none());
    let cause = Cause::new(What::Resync, None);
    desk.dispatcher
        .add(desk.now, &id("a"), Key::new(None, "x"), 0, cause, false);
    assert!(desk.next().is_none(), "a resync wakes no parked key");
    desk.add("a", "x");
    assert_eq!(desk.names(), ["a:x"]);
}

#[test]
fn rule_20_a_terminal_failure_parks_at_once_unless_a_change_came_in_between() {
    let mut desk = Desk::new();
    let park = Verdict::Park { reason: "never".into() };
    desk.add("a", "x");
    let job = desk.next().unwrap();
    desk.add("a", "x");
    assert!(
        !desk.finish(&job, park.clone()).parked,
        "the change deserves its own attempt"
    );
    let job = desk.next().unwrap();
    assert!(desk.finish(&job, park).parked);
    assert!(desk.next().is_none());
}

#[test]
fn rule_21_a_run_asked_for_later_comes_then_and_a_change_comes_before() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    desk.finish(&job, Verdict::RequeueAfter(10 * SECOND));
    assert!(
        desk.dispatcher.is_idle(),
        "a run that is only wished for later is no work"
    );
    desk.now += SECOND;
    desk.add("a", "x");
    let job = desk.next().unwrap();
    desk.finish(&job, Verdict::Done);
    desk.now += 100 * SECOND;
    assert!(desk.next().is_none(), "the earlier run took the later one's place");
}

#[test]
fn a_run_that_was_never_begun_gives_its_key_back() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    desk.finish(&job, Verdict::Unstarted);
    assert_eq!(desk.names(), ["a:x"]);
}

#[test]
fn after_shut_down_nothing_is_handed_out_and_what_runs_may_end() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    desk.add("a", "y");
    let job = desk.next().unwrap();
    desk.dispatcher.shut_down();
    assert!(desk.next().is_none());
    assert_eq!(desk.dispatcher.in_work(), 1);
    desk.finish(&job, retry());
    assert_eq!(desk.dispatcher.in_work(), 0);
    desk.now += 1_000 * SECOND;
    desk.add("a", "z");
    assert!(desk.next().is_none());
}

#[test]
fn a_long_reason_does_not_live_on_in_the_causes_of_retries() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    let finished = desk.finish(
        &job,
        Verdict::Retry {
            reason: "x".repeat(1 << 20),
        },
    );
    desk.now += finished.again_after.unwrap();
    let again = desk.next().unwrap();
    let Some(What::Retry { reason, .. }) = again.taken.causes.first().map(|cause| &cause.what) else {
        panic!("the cause of a retry is the failure")
    };
    assert!(reason.len() <= 300, "{} bytes", reason.len());
}

#[test]
fn what_failed_is_tried_again_at_once_when_its_reason_is_over() {
    let mut desk = Desk::new();
    for key in ["fails", "parked", "later"] {
        desk.add("a", key);
    }
    let (fails, parked) = (desk.next().unwrap(), desk.next().unwrap());
    let after = 60 * SECOND;
    let reason = "forbidden".to_owned();
    desk.finish(&fails, Verdict::RetryAfter { after, reason });
    desk.finish(
        &parked,
        Verdict::Park {
            reason: "for good".into(),
        },
    );
    let later = desk.next().unwrap();
    desk.finish(&later, Verdict::RequeueAfter(after));
    assert!(desk.next().is_none());
    desk.dispatcher.hasten(desk.now);
    let again = desk.next().unwrap();
    assert_eq!((&*again.taken.key.name, again.taken.attempt), ("fails", 2));
    assert!(desk.next().is_none(), "the others did not fail, or failed for good");
}

#[test]
fn a_server_that_comes_and_goes_hastens_what_failed_once_a_minute_at_most() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let mut at = Vec::new();
    for second in 0..=120 {
        if let Some(job) = desk.next() {
            at.push(second);
            let (after, reason) = (1_000 * SECOND, "a fault of its own".to_owned());
            desk.finish(&job, Verdict::RetryAfter { after, reason });
        }
        desk.dispatcher.hasten(desk.now);
        desk.now += SECOND;
    }
    assert_eq!(at, [0, 1, 61], "the add, and what was hastened in the seconds 0 and 60");
}

/// The attempts of `x`, each ended with the next of these; answers their numbers.
fn attempts(desk: &mut Desk, verdicts: impl IntoIterator<Item = Verdict>) -> Vec<u32> {
    let mut attempts = Vec::new();
    for verdict in verdicts {
        desk.now += 1_000 * SECOND;
        let job = desk.next().expect("it is its turn");
        attempts.push(job.taken.attempt);
        desk.finish(&job, verdict);
    }
    attempts
}

#[test]
fn rule_19_each_failure_in_a_row_waits_twice_as_long_whatever_its_reason() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let mut waits = Vec::new();
    for reason in ["no luck", "again in an hour"] {
        let job = desk.next().unwrap();
        let reason = reason.to_owned();
        waits.push(desk.finish(&job, Verdict::Retry { reason }).again_after.unwrap());
        desk.now += SECOND;
    }
    assert_eq!(waits, [Duration::from_millis(5), Duration::from_millis(10)]);
}

#[test]
fn rule_20_a_terminal_failure_is_not_tried_again_and_its_attempts_stay_counted() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let park = Verdict::Park { reason: "never".into() };
    assert_eq!(attempts(&mut desk, [retry(), park]), [1, 2]);
    desk.now += 1_000_000 * SECOND;
    assert!(desk.next().is_none() && desk.dispatcher.next_due().is_none());
    desk.add("a", "x");
    assert_eq!(desk.next().unwrap().taken.attempt, 3);
}

#[test]
fn rule_21_a_run_asked_for_later_forgets_the_failures_first() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let later = Verdict::RequeueAfter(SECOND);
    assert_eq!(attempts(&mut desk, [retry(), retry(), later, retry()]), [1, 2, 3, 1]);
}

#[test]
fn rule_22_a_success_forgets_the_failures() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    assert_eq!(attempts(&mut desk, [retry(), retry(), Verdict::Done]), [1, 2, 3]);
    assert!(desk.next().is_none());
    desk.add("a", "x");
    let job = desk.next().unwrap();
    assert_eq!(job.taken.attempt, 1);
    let wait = desk.finish(&job, retry()).again_after.unwrap();
    assert_eq!(wait, Duration::from_millis(5), "the back-off begins anew");
}

#[test]
fn rule_24_the_priority_survives_a_retry_and_a_requeue() {
    let again = [
        retry(),
        Verdict::RetryAfter {
            after: SECOND,
            reason: "no luck".into(),
        },
        Verdict::RequeueAfter(SECOND),
        Verdict::Unstarted,
    ];
    for verdict in again {
        for priority in [LOW_PRIORITY, 0, 7] {
            let mut desk = Desk::new();
            let cause = Cause::new(What::Resync, None);
            let (now, key) = (desk.now, Key::new(None, "x"));
            desk.dispatcher.add(now, &id("a"), key, priority, cause, true);
            let job = desk.next().unwrap();
            desk.finish(&job, verdict.clone());
            desk.now += 10 * SECOND;
            assert_eq!(desk.next().unwrap().taken.priority, priority, "after {verdict:?}");
        }
    }
}

impl Desk {
    /// The resync of a minute comes to `x` of controller `a`: whether it is asked for.
    fn resync(&mut self) -> bool {
        let key = Key::new(None, "x");
        self.dispatcher.resync(self.now, &id("a"), key, 60 * SECOND)
    }
}

#[test]
fn rule_30_a_resync_comes_in_behind_everything_that_changed() {
    let mut desk = Desk::new();
    assert!(desk.resync());
    desk.add("a", "y");
    let (first, second) = (desk.next().unwrap(), desk.next().unwrap());
    assert_eq!((&*first.taken.key.name, first.taken.priority), ("y", 0));
    assert_eq!((&*second.taken.key.name, second.taken.priority), ("x", LOW_PRIORITY));
    assert_eq!(second.taken.causes.first().unwrap().to_string(), "resync");
}

#[test]
fn rule_44_a_resync_skips_a_key_that_waits_for_its_turn() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    assert!(!desk.resync());
    let job = desk.next().unwrap();
    assert_eq!(
        (job.taken.priority, job.taken.causes.len()),
        (0, 1),
        "it changed nothing"
    );
}

#[test]
fn rule_44_a_resync_skips_a_key_that_runs_again_when_it_is_done_and_no_other_in_work() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    desk.add("a", "x");
    assert!(!desk.resync());
    desk.finish(&job, Verdict::Done);
    let job = desk.next().unwrap();
    assert!(desk.resync(), "this run may have begun before what the resync is for");
    desk.finish(&job, Verdict::Done);
    assert_eq!(desk.names(), ["a:x"]);
}

#[test]
fn rule_44_a_resync_skips_a_key_that_runs_by_itself_before_the_next_resync() {
    for (after, asked) in [(59, false), (61, true)] {
        let mut desk = Desk::new();
        desk.add("a", "x");
        let job = desk.next().unwrap();
        desk.finish(&job, Verdict::RequeueAfter(after * SECOND));
        assert_eq!(desk.resync(), asked, "{after} s before it runs");
        assert_eq!(desk.next().is_some(), asked);
    }
}

#[test]
fn rule_44_a_resync_does_not_cut_a_back_off_short() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    let reason = "no luck".to_owned();
    let after = 3_600 * SECOND;
    desk.finish(&job, Verdict::RetryAfter { after, reason });
    assert!(!desk.resync() && desk.next().is_none());
}

#[test]
fn a_resync_wakes_no_parked_key_and_none_of_a_controller_that_is_not_there() {
    let mut desk = Desk::new();
    desk.add("a", "x");
    let job = desk.next().unwrap();
    desk.finish(&job, Verdict::Park { reason: "never".into() });
    assert!(!desk.resync() && desk.next().is_none());
    let key = Key::new(None, "x");
    assert!(!desk.dispatcher.resync(desk.now, &id("unknown"), key, SECOND));
}

#[test]
fn namespaces_take_turns_where_that_is_asked_for_and_only_there() {
    for (fair, expected) in [(true, ["x", "y", "x", "x"]), (false, ["x", "x", "x", "y"])] {
        let mut desk = Desk::new();
        desk.dispatcher.set_fair_namespaces(&"p".into(), fair);
        for (namespace, name) in [("x", "1"), ("x", "2"), ("x", "3"), ("y", "1")] {
            let cause = Cause::new(What::Resync, None);
            desk.dispatcher
                .add(desk.now, &id("b"), Key::new(Some(namespace), name), 0, cause, true);
        }
        let turns: Vec<_> = std::iter::from_fn(|| {
            let job = desk.next()?;
            desk.finish(&job, Verdict::Done);
            job.taken.key.namespace.as_deref().map(str::to_owned)
        })
        .collect();
        assert_eq!(turns, expected);
    }
}

#[test]
fn another_concurrency_is_in_force_at_once_and_ends_nothing() {
    let mut desk = Desk::new();
    for key in ["1", "2", "3", "4"] {
        desk.add("a", key);
    }
    let first = desk.next().unwrap();
    let second = desk.next().unwrap();
    assert!(desk.next().is_none(), "two permits");
    assert!(desk.dispatcher.set_concurrency(&id("a"), Concurrency::Fixed(1)));
    desk.finish(&first, Verdict::Done);
    assert!(desk.next().is_none(), "one of two is still in work");
    desk.finish(&second, Verdict::Done);
    assert_eq!(desk.names(), ["a:3"]);
    assert!(desk.dispatcher.set_concurrency(&id("a"), Concurrency::Fixed(2)));
    assert_eq!(desk.names(), ["a:4"]);
    assert!(!desk.dispatcher.set_concurrency(&id("nobody"), Concurrency::Fixed(2)));
}

#[test]
fn a_concurrency_that_is_led_follows_the_servers_latency_and_what_it_sheds() {
    let mut desk = Desk::new();
    let auto = |min, max| Concurrency::Auto { min, max };
    assert!(desk.dispatcher.set_concurrency(&id("a"), auto(1, 3)));
    assert_eq!(desk.dispatcher.next_lead(), None, "nothing runs");
    for key in 0..20 {
        desk.add("a", &key.to_string());
    }
    let load = |milliseconds: u64, shed| ApiLoad {
        answers: 10,
        took: Duration::from_millis(10 * milliseconds),
        shed,
    };
    // A second of work, as much at once as may be, then a look at how the server fared.
    let mut second = |load: ApiLoad| {
        let jobs: Vec<Job> = std::iter::from_fn(|| desk.next()).collect();
        desk.now += SECOND;
        assert_eq!(desk.dispatcher.next_lead().map(|due| due <= desk.now), Some(true));
        let mut asked = 0;
        desk.dispatcher.lead(desk.now, |plugin| {
            assert_eq!(&**plugin, "p");
            asked += 1;
            load
        });
        assert_eq!(asked, 1, "once for each plugin");
        for job in &jobs {
            desk.finish(job, Verdict::Done);
        }
        (jobs.len(), desk.dispatcher.concurrency(&id("a")).unwrap())
    };
    let quick = load(10, 0);
    assert_eq!([second(quick), second(quick), second(quick)], [(1, 2), (2, 3), (3, 3)]);
    assert_eq!(second(load(100, 0)), (3, 2), "slower than twice its best");
    assert_eq!(second(load(10, 1)), (2, 1), "it shed one");
    assert_eq!(second(quick), (1, 1), "and for a while there is calm");
    assert!(desk.dispatcher.set_concurrency(&id("a"), Concurrency::Fixed(2)));
    assert_eq!(desk.dispatcher.next_lead(), None);
}
