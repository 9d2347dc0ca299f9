use pilothouse_object::{Keep, Object, Version};
use pilothouse_workqueue::{QueueConfig, State};
use serde_json::json;

use super::*;
use crate::{Cause, Change, Verdict, Waker, versions::exchange::Succession, waking::cause::ITSELF};

struct Desk {
    dispatcher: Dispatcher,
    now: Duration,
    rng: fastrand::Rng,
    version: u64,
    told: Vec<HotLoop>,
}

fn id(plugin: &str) -> ControllerId {
    ControllerId::new(plugin, "c")
}

fn kind() -> Gvk {
    Gvk::new("", "v1", "ConfigMap")
}

fn key() -> Key {
    Key::new(Some("n"), "a")
}

fn object(value: &str, version: u64) -> Object {
    let json = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": value}, "metadata":
        {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": version.to_string()}});
    Object::parse(json.to_string().as_bytes(), None, Keep::Cut).unwrap()
}

fn caused(writer: Option<&str>, because: Option<&Cause>) -> Cause {
    let what = What::Changed {
        kind: kind(),
        key: key(),
        change: Change::Updated,
        version: Version::new("1"),
        via: ITSELF.into(),
        writer: writer.map(Into::into),
    };
    Cause::new(what, because)
}

impl Desk {
    fn new() -> Self {
        let mut dispatcher = Dispatcher::new(10);
        for plugin in ["p", "q"] {
            dispatcher.register(id(plugin), 1, QueueConfig::default());
            dispatcher.start(&id(plugin));
        }
        Self {
            dispatcher,
            now: Duration::ZERO,
            rng: fastrand::Rng::with_seed(1),
            version: 0,
            told: Vec::new(),
        }
    }

    fn add(&mut self, plugin: &str, cause: Cause) {
        self.dispatcher.add(self.now, &id(plugin), key(), 0, cause, true);
    }

    /// Lets time pass until a key may run.
    fn next(&mut self) -> Option<Job> {
        if let Some(job) = self.dispatcher.next(self.now) {
            return Some(job);
        }
        self.now = self.now.max(self.dispatcher.next_due()?);
        self.dispatcher.next(self.now)
    }

    /// The key of `p` has just been found to loop: three times it undid what somebody else had done.
    fn slowed() -> Self {
        let mut desk = Self::new();
        for _ in 0..3 {
            desk.add("p", caused(None, None));
            let job = desk.dispatcher.next(desk.now).unwrap();
            desk.version += 1;
            desk.writes(&job, "theirs", "mine");
            while let Some(job) = desk.dispatcher.next(desk.now) {
                desk.ends(&job, &[]);
            }
        }
        desk
    }

    fn change(&mut self, before: &str, after: &str) -> Changed {
        let was = object(before, self.version);
        self.version += 1;
        Changed {
            kind: kind(),
            key: key(),
            before: Some(was),
            whole: true,
            after: Some(object(after, self.version)),
            mark: Version::new(&self.version.to_string()),
            named: Vec::new(),
        }
    }

    /// A run of the job writes this value, and its own event comes before it ends.
    fn writes(&mut self, job: &Job, before: &str, after: &str) {
        let changed = [self.change(before, after)];
        let plugin = job.id.plugin.clone();
        self.add(&plugin, caused(Some(&plugin), job.taken.causes.first()));
        self.ends(job, &changed);
    }

    fn ends(&mut self, job: &Job, changed: &[Changed]) {
        let did = Did::of(job, changed, false);
        let told = self.dispatcher.ran(self.now, job, &did);
        self.told.extend(told);
        self.dispatcher.finished(self.now, &mut self.rng, job, &Verdict::Done);
    }
}

#[test]
fn a_loop_whose_writes_are_refused_now_and_then_is_one_all_the_same() {
    let mut desk = Desk::new();
    desk.add("p", caused(None, None));
    for run in 0..60 {
        let job = desk.next().unwrap();
        if run % 4 == 3 {
            // The budget of writes is used up, say: nothing was changed, and the key runs again after its back-off.
            let did = Did::of(&job, &[], true);
            assert!(desk.dispatcher.ran(desk.now, &job, &did).is_none());
            let reason = "too many writes".to_owned();
            let retry = Verdict::RetryAfter {
                after: Duration::from_secs(1),
                reason,
            };
            desk.dispatcher.finished(desk.now, &mut desk.rng, &job, &retry);
        } else {
            desk.writes(&job, &run.to_string(), &(run + 1).to_string());
        }
    }
    assert_eq!(desk.told.len(), 1, "{:?}", desk.told);
    let shown = desk.dispatcher.hot_loops(desk.now).next().unwrap();
    assert_eq!(
        shown.rounds, 35,
        "of 45 runs that wrote the first and nine more were no round yet"
    );
}

#[test]
fn a_plugin_that_writes_a_counter_is_slowed_and_named_once_and_never_stopped() {
    let mut desk = Desk::new();
    desk.add("p", caused(None, None));
    let mut began = Vec::new();
    for run in 0..40 {
        let job = desk.next().unwrap();
        began.push(desk.now);
        desk.writes(&job, &run.to_string(), &(run + 1).to_string());
    }
    // The first was asked for by somebody else; ten own ones follow.
    assert!(began[..11].iter().all(|began| began.is_zero()), "{began:?}");
    let waits: Vec<u128> = began[10..15]
        .windows(2)
        .map(|two| (two[1] - two[0]).as_millis())
        .collect();
    assert_eq!(waits, [100, 200, 400, 800]);
    let longest = began.windows(2).map(|two| two[1] - two[0]).max();
    assert_eq!(longest, Some(Duration::from_secs(300)));
    let [told] = &desk.told[..] else {
        panic!("told once, not {:?}", desk.told)
    };
    assert_eq!(
        (&told.fields[..], &told.other),
        (&["data.x".to_owned()][..], &Other::Itself)
    );
    let shown = desk.dispatcher.hot_loops(desk.now).next().unwrap();
    assert_eq!((shown.rounds, shown.pause), (30, Duration::from_secs(300)));
    assert!(shown.to_string().contains("data.x of ConfigMap n/a"), "{shown}");
}

#[test]
fn who_undoes_a_write_is_somebody_else_also_where_nobody_heard_of_that_before_the_next_run() {
    let mut desk = Desk::new();
    desk.add("p", caused(None, None));
    let job = loop {
        let job = desk.next().unwrap();
        // Somebody else's change is in what it reads; what asked for it is its own write alone.
        desk.version += 1;
        desk.writes(&job, "theirs", "ours");
        if desk.dispatcher.hot_loops(desk.now).next().is_some() {
            break job;
        }
    };
    assert_eq!(desk.told, [], "it is to be found out first");
    let shown = desk.dispatcher.hot_loops(desk.now).next().unwrap();
    assert_eq!((shown.came_back, &shown.other), (true, &Other::Unknown));
    assert!(desk.dispatcher.unnamed(&job).is_some());
}

#[test]
fn two_plugins_that_fight_are_both_slowed_and_each_is_named_to_the_other() {
    let mut desk = Desk::new();
    desk.add("p", caused(None, None));
    for _ in 0..20 {
        let Some(job) = desk.next() else { break };
        let own = job
            .taken
            .causes
            .iter()
            .all(|cause| matches!(&cause.what, What::Changed { writer: Some(w), .. } if **w == *job.id.plugin));
        if own {
            // Its own event: what it wants is there.
            desk.ends(&job, &[]);
            continue;
        }
        let (mine, theirs) = if &*job.id.plugin == "p" { ("p", "q") } else { ("q", "p") };
        desk.writes(&job, theirs, mine);
        desk.add(theirs, caused(Some(mine), job.taken.causes.first()));
    }
    let told: Vec<_> = desk
        .told
        .iter()
        .map(|told| (&*told.id.plugin, told.other.clone()))
        .collect();
    let manager = |name: &str| Other::Manager(name.to_owned());
    assert_eq!(told, [("p", manager("pilothouse/q")), ("q", manager("pilothouse/p"))]);
    assert!(desk.told.iter().all(|told| told.came_back && told.fields == ["data.x"]));
    assert!(
        desk.now >= Duration::from_millis(300),
        "both have pauses: {:?}",
        desk.now
    );
}

#[test]
fn whatever_asks_for_a_slowed_key_it_waits_and_a_person_or_a_new_version_ends_that() {
    let mut desk = Desk::slowed();
    assert!(desk.told.is_empty(), "who is on the other side is not known yet");
    desk.add("p", caused(None, None));
    desk.dispatcher
        .resync(desk.now, &id("p"), key(), Duration::from_secs(1));
    assert!(desk.dispatcher.next(desk.now).is_none() && !desk.dispatcher.is_idle());
    let due = desk.dispatcher.next_due();
    assert_eq!(due, Some(Duration::from_millis(100)));
    let job = desk.next().unwrap();
    let asked = desk.dispatcher.unnamed(&job).unwrap();
    assert_eq!(
        (asked.0, asked.1, asked.2),
        (kind(), key(), vec![vec!["data".to_owned(), "x".to_owned()]])
    );
    let told = desk.dispatcher.named(&job, Other::Manager("kubectl".into())).unwrap();
    assert_eq!(told.other, Other::Manager("kubectl".into()));
    assert!(desk.dispatcher.unnamed(&job).is_none() && desk.dispatcher.named(&job, Other::Unknown).is_none());

    let mut desk = Desk::slowed();
    desk.dispatcher.wake(desk.now, &id("p"), &key());
    desk.add("p", caused(None, None));
    assert!(desk.dispatcher.next(desk.now).is_some(), "a person looks into it");

    let mut desk = Desk::slowed();
    desk.dispatcher.succeed(
        desk.now,
        &id("p"),
        Succession {
            sees: &|_| true,
            other_kind: false,
            by: Waker::NewModule,
            keeping: None,
        },
    );
    desk.dispatcher.start(&id("p"));
    desk.add("p", caused(None, None));
    let job = desk
        .dispatcher
        .next(desk.now)
        .expect("a new version is not the one that went round in circles");
    assert_eq!(desk.dispatcher.hot_loops(desk.now).count(), 0);
    assert_eq!(
        desk.dispatcher.slowed(&id("p")).map(|slowed| slowed.runs),
        Some(1),
        "a count goes on"
    );
    desk.version += 1;
    desk.writes(&job, "theirs", "mine");
    assert_eq!(
        desk.dispatcher.hot_loops(desk.now).count(),
        0,
        "its first write is no third one"
    );
}

#[test]
fn a_slowed_key_that_failed_is_not_hastened_out_of_its_pause() {
    let mut desk = Desk::slowed();
    desk.add("p", caused(None, None));
    let job = desk.next().unwrap();
    desk.version += 1;
    let changed = [desk.change("theirs", "mine")];
    let did = Did::of(&job, &changed, true);
    desk.dispatcher.ran(desk.now, &job, &did);
    let reason = "the API server has gone".to_owned();
    let end = desk
        .dispatcher
        .finished(desk.now, &mut desk.rng, &job, &Verdict::Retry { reason });
    assert_eq!(end.again_after, Some(Duration::from_millis(200)), "its second pause");
    desk.dispatcher.hasten(desk.now);
    assert!(desk.dispatcher.next(desk.now).is_none());
    assert_eq!(desk.dispatcher.next_due(), Some(desk.now + Duration::from_millis(200)));
}

#[test]
fn a_key_that_is_held_back_is_seen_to_wait_in_its_queue() {
    let mut desk = Desk::new();
    desk.add("p", caused(None, None));
    for run in 0..11 {
        let job = desk.next().unwrap();
        desk.writes(&job, &run.to_string(), &(run + 1).to_string());
    }
    let (_, queue) = desk.dispatcher.queues().next().unwrap();
    let waits = queue
        .entry(&key())
        .map(|entry| matches!(entry.state, State::Delayed { .. }));
    assert_eq!(waits, Some(true));
}

#[test]
fn a_run_for_more_causes_than_are_kept_may_be_somebody_elses_and_is_no_round() {
    for (others, loops) in [(false, true), (true, false)] {
        let mut desk = Desk::new();
        desk.add("p", caused(None, None));
        for run in 0..40 {
            let job = desk.next().unwrap();
            let because = job.taken.causes.first().cloned();
            // Eight are kept: with that of its write they are all there, or one more own one comes before somebody
            // else's.
            for _ in 0..7 + usize::from(others) {
                desk.add("p", caused(Some("p"), because.as_ref()));
            }
            if others {
                desk.add("p", caused(None, None));
            }
            desk.writes(&job, &run.to_string(), &(run + 1).to_string());
        }
        assert_eq!(
            desk.dispatcher.hot_loops(desk.now).next().is_some(),
            loops,
            "{:?}",
            desk.told
        );
    }
}
