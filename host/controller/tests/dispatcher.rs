//! What the dispatcher promises, driven by hand: no clock, no tasks.

use std::time::Duration;

use pilothouse_controller::{Cause, ControllerId, Dispatcher, Finished, Job, Verdict, What};
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
fn nothing_is_handed_out_before_a_controller_has_started() {
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
fn a_failure_backs_off_and_carries_its_cause_on() {
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
fn a_terminal_failure_parks_at_once_unless_a_change_came_in_between() {
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
fn a_run_asked_for_later_comes_then_and_a_change_comes_before() {
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
