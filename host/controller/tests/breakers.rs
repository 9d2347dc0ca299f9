//! What becomes of a plugin's keys while its breaker is open, driven by hand: no clock, no tasks.

use std::{sync::Arc, time::Duration};

use pilothouse_controller::{
    Cause, ControllerId, Dispatcher, Job, Verdict, What,
    breaker::{Change, Outcome, Settings, State},
};
use pilothouse_object::Key;
use pilothouse_workqueue::QueueConfig;

struct Desk {
    dispatcher: Dispatcher,
    now: Duration,
    rng: fastrand::Rng,
}

impl Desk {
    /// Two plugins with a controller each, which may have ten keys in work.
    fn new() -> Self {
        let mut dispatcher = Dispatcher::new(100);
        for plugin in ["bad", "good"] {
            dispatcher.register(id(plugin), 10, QueueConfig::default());
            dispatcher.start(&id(plugin));
        }
        Self {
            dispatcher,
            now: Duration::from_secs(1_000),
            rng: fastrand::Rng::with_seed(7),
        }
    }

    fn add(&mut self, plugin: &str, key: &str) {
        let cause = Cause::new(What::Resync, None);
        self.dispatcher
            .add(self.now, &id(plugin), Key::new(None, key), 0, cause, true);
    }

    fn next(&mut self) -> Option<Job> {
        self.dispatcher.next(self.now)
    }

    fn end(&mut self, job: &Job, outcome: Outcome) {
        self.dispatcher.judged(self.now, &mut self.rng, job, outcome);
        let verdict = match outcome {
            Outcome::Success | Outcome::Slow => Verdict::Done,
            Outcome::Failure | Outcome::Ignored => Verdict::RetryAfter {
                after: Duration::from_secs(1),
                reason: "why".into(),
            },
        };
        self.dispatcher.finished(self.now, &mut self.rng, job, &verdict);
    }

    /// Lets twenty keys of the bad plugin fail, so that its breaker opens.
    fn trip(&mut self) {
        for key in 0..20 {
            if matches!(self.state(), State::Open { .. }) {
                break;
            }
            self.add("bad", &format!("k{key:02}"));
            let job = self.next().expect("its breaker is closed");
            self.end(&job, Outcome::Failure);
        }
        assert!(matches!(self.state(), State::Open { .. }));
    }

    fn state(&self) -> State {
        self.dispatcher
            .breaker(self.now, "bad")
            .expect("it is registered")
            .state
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn id(plugin: &str) -> ControllerId {
    ControllerId::new(plugin, "c")
}

#[test]
fn open_no_key_of_the_plugin_begins_and_its_neighbour_goes_on() {
    let mut desk = Desk::new();
    desk.trip();
    desk.pass(2);
    desk.add("bad", "new");
    desk.add("bad", "new");
    desk.add("good", "a");
    let job = desk.next().expect("the neighbour's key");
    assert_eq!(&*job.id.plugin, "good");
    assert!(desk.next().is_none());
    let State::Open { until } = desk.state() else { panic!() };
    assert_eq!(desk.dispatcher.next_due(), Some(until), "then is the time to ask again");
    let changes = desk.dispatcher.breaker_changes();
    assert!(matches!(&changes[..], [(plugin, Change::Opened { .. })] if &**plugin == "bad"));
    assert!(desk.dispatcher.breaker_changes().is_empty(), "each is told once");
}

#[test]
fn what_waited_is_merged_and_not_dropped_and_runs_when_it_is_closed_again() {
    let mut desk = Desk::new();
    desk.trip();
    for _ in 0..3 {
        for key in 0..30 {
            desk.add("bad", &format!("k{key:02}"));
        }
    }
    let mut seen = Vec::new();
    for _ in 0..40 {
        while let Some(job) = desk.next() {
            seen.push(job.taken.key.name.to_string());
            desk.end(&job, Outcome::Success);
        }
        desk.pass(1);
    }
    seen.sort();
    assert_eq!(seen, (0..30).map(|key| format!("k{key:02}")).collect::<Vec<_>>());
    assert_eq!(desk.state(), State::Closed);
}

#[test]
fn half_open_it_tries_keys_first_that_last_went_well() {
    let mut desk = Desk::new();
    for key in ["w1", "w2", "w3"] {
        desk.add("bad", key);
        let job = desk.next().unwrap();
        desk.end(&job, Outcome::Success);
    }
    desk.trip();
    for key in ["unknown", "w2", "k00"] {
        desk.add("bad", key);
    }
    desk.pass(13);
    let tried: Vec<Job> = std::iter::from_fn(|| desk.next()).collect();
    let names: Vec<&str> = tried.iter().map(|job| &*job.taken.key.name).collect();
    assert_eq!(tried.len(), 3, "no more than three are under way");
    assert_eq!(names[..2], ["w2", "unknown"]);
    assert!(names[2].starts_with('k'), "only keys are left that failed");
}

#[test]
fn a_key_that_is_given_back_unstarted_frees_its_probe() {
    let mut desk = Desk::new();
    desk.trip();
    desk.pass(13);
    for _ in 0..10 {
        let job = desk.next().expect("no probe is left out");
        desk.dispatcher
            .finished(desk.now, &mut desk.rng, &job, &Verdict::Unstarted);
    }
    assert_eq!(desk.state(), State::HalfOpen);
}

#[test]
fn a_quarantined_plugin_waits_until_it_is_reset() {
    let mut desk = Desk::new();
    desk.add("bad", "a");
    assert!(desk.dispatcher.quarantine(desk.now, "bad") && !desk.dispatcher.quarantine(desk.now, "unknown"));
    desk.pass(1_000_000);
    assert!(desk.next().is_none());
    assert!(desk.dispatcher.reset_breaker(desk.now, "bad") && !desk.dispatcher.reset_breaker(desk.now, "unknown"));
    assert!(desk.next().is_some());
}

#[test]
fn turns_go_by_weight() {
    let mut desk = Desk::new();
    let heavy: Arc<str> = "good".into();
    desk.dispatcher.set_plugin(&heavy, Settings::default(), 3);
    for key in 0..10 {
        desk.add("bad", &key.to_string());
        desk.add("good", &key.to_string());
    }
    let served: Vec<Job> = (0..8).filter_map(|_| desk.next()).collect();
    assert_eq!(served.iter().filter(|job| job.id.plugin == heavy).count(), 6);
}

/// The bad plugin has a thousand objects that go well at the start, and one of them is asked for each so often. From the
/// tenth minute on keys fail if `fails` says so of their names, and so many more are there: `poison0`, `poison1` and so
/// on. Answers how its breaker stands after a day, how often it opened, and how many of the thousand ran and were asked
/// for.
fn a_day(every: Duration, poison: u32, fails: impl Fn(&str) -> bool) -> (State, u64, [usize; 2]) {
    let mut desk = Desk::new();
    for key in 0..1_000 {
        desk.add("bad", &format!("fine{key}"));
    }
    let (begin, end) = (desk.now, desk.now + Duration::from_secs(24 * 3_600));
    let fails_from = begin + Duration::from_secs(600);
    let (mut good_at, mut poisoned) = (begin + every, false);
    let (mut ran, mut asked) = (0, 1_000);
    while desk.now < end {
        if desk.now >= good_at {
            desk.add("bad", &format!("fine{}", asked % 1_000));
            good_at += every;
            asked += 1;
        }
        if desk.now >= fails_from && !poisoned {
            (0..poison).for_each(|key| desk.add("bad", &format!("poison{key}")));
            poisoned = true;
        }
        while let Some(job) = desk.next() {
            let (outcome, verdict) = if desk.now >= fails_from && fails(&job.taken.key.name) {
                let reason = "why".into();
                (Outcome::Failure, Verdict::Retry { reason })
            } else {
                ran += 1;
                (Outcome::Success, Verdict::Done)
            };
            desk.dispatcher.judged(desk.now, &mut desk.rng, &job, outcome);
            desk.dispatcher.finished(desk.now, &mut desk.rng, &job, &verdict);
        }
        let due = desk.dispatcher.next_due().unwrap_or(good_at);
        desk.now = due.min(good_at).max(desk.now + Duration::from_millis(1));
    }
    let trips = desk.dispatcher.breaker(desk.now, "bad").map_or(0, |view| view.trips);
    (desk.state(), trips, [ran, asked])
}

#[test]
fn objects_that_keep_failing_are_set_apart_however_seldom_others_are_asked_for() {
    for (poison, seconds) in [5, 20]
        .into_iter()
        .flat_map(|poison| [1, 10, 60, 90, 120, 300, 600, 3_600].map(|seconds| (poison, seconds)))
    {
        let every = Duration::from_secs(seconds);
        let (state, trips, [ran, asked]) = a_day(every, poison, |name| name.starts_with("poison"));
        let what = format!("{poison} beside a good one each {every:?}, it opened {trips} times");
        assert_eq!((state, ran), (State::Closed, asked), "{what}");
        // When five fail for the first time and no others are called, nobody knows better.
        assert!(poison > 5 || trips <= 1, "{what}");
    }
}

#[test]
fn a_plugin_that_fails_altogether_opens_its_breaker_however_seldom_it_is_called() {
    for seconds in [1, 60, 120, 300, 600, 3_600] {
        let every = Duration::from_secs(seconds);
        let (state, trips, _) = a_day(every, 5, |_| true);
        // By each two keys that had gone well before; and by whichever fail again, once half of those called last do.
        assert!(trips >= 5, "{trips} times, with a key each {every:?}");
        assert_eq!(
            state == State::Quarantined,
            seconds < 3_600,
            "with a key each {every:?}"
        );
    }
}
