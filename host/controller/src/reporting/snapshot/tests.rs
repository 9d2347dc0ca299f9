use super::*;
use crate::{Verdict, What};
use pilothouse_workqueue::Limits;

const NOW: Duration = Duration::from_secs(1_000);

fn dispatcher(ids: &[&ControllerId]) -> Dispatcher {
    let mut dispatcher = Dispatcher::new(8);
    for id in ids {
        dispatcher.register((*id).clone(), 2, Limits::default());
        dispatcher.start(id);
    }
    dispatcher
}

fn add(dispatcher: &mut Dispatcher, id: &ControllerId, names: std::ops::Range<usize>) {
    for name in names {
        let key = Key::new(Some("a"), &name.to_string());
        dispatcher.add(NOW, id, key, 0, Cause::new(What::Resync, None), true);
    }
}

/// Every key that can be handed out now is, and ends like this.
fn run(dispatcher: &mut Dispatcher, verdict: &Verdict) {
    let mut rng = fastrand::Rng::with_seed(1);
    while let Some(job) = dispatcher.next(NOW) {
        dispatcher.finished(NOW, &mut rng, &job, verdict);
    }
}

fn park() -> Verdict {
    Verdict::Park {
        reason: "Never: it can't be".to_owned(),
    }
}

fn walk(dispatcher: &Dispatcher, chosen: Chosen<'_>, look_at: usize) -> Vec<String> {
    let (mut met, mut spot) = (Vec::new(), None);
    loop {
        let slice = dispatcher.parked_slice(NOW, chosen, spot.as_ref(), look_at);
        met.extend(slice.keys.iter().map(|parked| format!("{} {}", parked.id, parked.key)));
        spot = slice.next;
        if spot.is_none() {
            met.sort();
            return met;
        }
    }
}

#[test]
fn a_queue_in_numbers_says_what_is_ready_in_work_delayed_and_parked() {
    let id = ControllerId::new("p", "c");
    let mut dispatcher = dispatcher(&[&id]);
    add(&mut dispatcher, &id, 0..3);
    run(&mut dispatcher, &park());
    add(&mut dispatcher, &id, 10..11);
    run(&mut dispatcher, &Verdict::RequeueAfter(Duration::from_secs(60)));
    add(&mut dispatcher, &id, 20..25);
    let (_one, _two) = (dispatcher.next(NOW).unwrap(), dispatcher.next(NOW).unwrap());
    let later = NOW + Duration::from_secs(7);
    let seen = dispatcher.controller_snapshot(later, &id).unwrap();
    assert_eq!((seen.queued, seen.delayed, seen.working, seen.parked), (3, 1, 2, 3));
    assert_eq!((seen.running, seen.concurrency, seen.started), (2, 2, true));
    assert_eq!(seen.oldest, Some(Duration::from_secs(7)));
    assert_eq!(seen.longest_running, Some(Duration::from_secs(7)));

    let keys = dispatcher.keys(later, &id, 100).unwrap();
    let states: Vec<_> = keys.iter().map(|key| key.state).collect();
    use KeyState::{Delayed, Queued, Working};
    assert_eq!(states, [Working, Working, Queued, Queued, Queued, Delayed]);
    assert_eq!(keys[5].due, Some(Duration::from_secs(53)));
    assert!(keys.iter().all(|key| key.cause.is_some()));
    assert_eq!(dispatcher.keys(later, &id, 3).unwrap().len(), 3);
    assert!(dispatcher.keys(later, &ControllerId::new("p", "another"), 3).is_none());
}

#[test]
fn a_walk_through_the_parked_keys_meets_those_that_are_meant_and_ends() {
    let ids = ["a/x", "a/y", "b/x"].map(|id| {
        let (plugin, controller) = id.split_once('/').unwrap();
        ControllerId::new(plugin, controller)
    });
    let mut dispatcher = dispatcher(&ids.each_ref());
    for id in &ids {
        add(&mut dispatcher, id, 0..5);
    }
    run(&mut dispatcher, &park());
    for look_at in [1, 2, 5, 100] {
        assert_eq!(walk(&dispatcher, Chosen::default(), look_at).len(), 15, "{look_at}");
        let plugin = Some("a");
        let of_one = Chosen {
            plugin,
            ..Chosen::default()
        };
        assert_eq!(walk(&dispatcher, of_one, look_at).len(), 10);
        let key = Key::new(Some("a"), "3");
        let key = Chosen {
            plugin,
            key: Some(&key),
            ..Chosen::default()
        };
        assert_eq!(walk(&dispatcher, key, look_at), ["a/x a/3", "a/y a/3"]);
        let of_none = Chosen {
            plugin: Some("c"),
            ..Chosen::default()
        };
        assert!(walk(&dispatcher, of_none, look_at).is_empty());
    }
    let spot = Spot {
        controller: ControllerId::new("zzz", "z"),
        place: usize::MAX,
    };
    let beyond = dispatcher.parked_slice(NOW, Chosen::default(), Some(&spot), 1);
    assert!(beyond.keys.is_empty() && beyond.next.is_none());
}

#[test]
fn a_parked_key_is_shown_with_its_reason_and_errors_and_a_dropped_one_is_like_new() {
    let id = ControllerId::new("p", "c");
    let mut dispatcher = dispatcher(&[&id]);
    add(&mut dispatcher, &id, 0..1);
    run(&mut dispatcher, &park());
    let key = Key::new(Some("a"), "0");
    let chosen = Chosen {
        key: Some(&key),
        ..Chosen::default()
    };
    let page = dispatcher.parked_slice(NOW + Duration::from_secs(3), chosen, None, 1);
    let [shown] = &page.keys[..] else { panic!("{page:?}") };
    assert_eq!((&*shown.reason, shown.attempts), ("Never: it can't be", 1));
    assert_eq!(shown.age, Duration::from_secs(3));
    assert_eq!(
        shown.errors,
        [(Duration::from_secs(3), 1, "Never: it can't be".to_owned())]
    );

    assert!(dispatcher.drop_parked(&id, &key));
    assert!(!dispatcher.drop_parked(&id, &key));
    assert!(dispatcher.parked_slice(NOW, chosen, None, 1).keys.is_empty());
    assert_eq!(
        dispatcher
            .queues()
            .map(|(_, queue)| queue.entries().count())
            .sum::<usize>(),
        0
    );
    add(&mut dispatcher, &id, 0..1);
    assert_eq!(dispatcher.next(NOW).unwrap().taken.attempt, 1);
}
