use super::*;
use crate::{store::Change, testing::object};

/// A reflector, its clock and its dice.
pub(super) struct Rig {
    pub(super) reflector: Reflector,
    pub(super) now: Duration,
    rng: fastrand::Rng,
}

fn rig() -> Rig {
    rig_from(None)
}

fn rig_from(last: Option<&str>) -> Rig {
    rig_in(ListMode::Paged, last)
}

pub(super) fn rig_in(lists: ListMode, last: Option<&str>) -> Rig {
    Rig {
        reflector: Reflector::new(
            ReflectorConfig {
                lists,
                ..ReflectorConfig::default()
            },
            last.map(Version::new),
        ),
        now: Duration::ZERO,
        rng: fastrand::Rng::with_seed(7),
    }
}

pub(super) fn event(version: u64) -> Event {
    Event::Changed(Change::Put(object("a", "x", "u", version)))
}

pub(super) fn added(version: u64) -> Event {
    Event::Added(Change::Put(object("a", "x", "u", version)))
}

fn page(version: &str, token: Option<&str>) -> Input {
    Input::Page {
        version: Version::new(version),
        token: token.map(Into::into),
    }
}

pub(super) fn failure(trouble: Trouble) -> Input {
    Input::Failed(Failure::new(trouble, "no"))
}

pub(super) fn list(version: &str, limit: Option<u32>, token: Option<&str>) -> Order {
    Order::List(ListRequest {
        version: Version::new(version),
        limit,
        token: token.map(Into::into),
    })
}

impl Rig {
    pub(super) fn step(&mut self, input: Input) -> Vec<Action> {
        self.reflector.step(self.now, input, &mut self.rng)
    }

    /// The order that an input brings; the store takes every list.
    pub(super) fn order(&mut self, input: Input) -> Option<Order> {
        let mut order = None;
        let mut actions = self.step(input);
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions {
                match action {
                    Action::Io(io) => order = Some(io),
                    Action::Commit { .. } => next.extend(self.step(Input::Committed)),
                    _ => {}
                }
            }
            actions = next;
        }
        order
    }

    pub(super) fn listing(&mut self) -> Option<Order> {
        self.order(Input::Start);
        self.order(Input::Found)
    }

    /// Lists at this version and opens the watch.
    pub(super) fn watching(&mut self, version: &str) -> WatchRequest {
        self.listing();
        let request = watch(self.order(page(version, None)));
        self.order(Input::Opened);
        request
    }

    /// The pause an order says, which is then over.
    pub(super) fn pause(&mut self, order: Option<Order>) -> (Duration, Option<Order>) {
        let Some(Order::Wait(pause)) = order else {
            panic!("{order:?} is no pause");
        };
        self.now += pause;
        (pause, self.order(Input::Timer))
    }

    pub(super) fn last(&self) -> &str {
        self.reflector.last().map_or("", Version::as_str)
    }
}

pub(super) fn watch(order: Option<Order>) -> WatchRequest {
    match order {
        Some(Order::Watch(request)) => request,
        other => panic!("{other:?} is no watch"),
    }
}

#[test]
fn rule_32_the_first_list_takes_what_the_server_has_at_hand() {
    assert_eq!(rig().listing(), Some(list("0", Some(500), None)));
}

#[test]
fn rule_32_a_relist_is_not_older_than_the_last_version_seen() {
    let mut rig = rig();
    rig.watching("10");
    rig.order(Input::Events(vec![event(12)]));
    let order = rig.order(Input::Events(vec![Event::Error(Failure::new(Trouble::Server, "boom"))]));
    let (_, order) = rig.pause(order);
    assert_eq!(order, Some(list("12", None, None)));
}

#[test]
fn rule_32_a_store_that_holds_something_is_not_listed_from_zero() {
    assert_eq!(rig_from(Some("44")).listing(), Some(list("44", None, None)));
}

#[test]
fn rule_32_after_expired_as_a_status_it_lists_again_at_once_with_a_quorum() {
    let mut rig = rig();
    rig.listing();
    rig.order(page("10", None));
    assert_eq!(rig.order(failure(Trouble::Expired)), Some(list("", Some(500), None)));
    assert_eq!(watch(rig.order(page("90", None))).version.as_str(), "90");
}

#[test]
fn rule_32_after_expired_as_an_event_it_lists_again_at_once_with_a_quorum() {
    let mut rig = rig();
    rig.watching("10");
    let expired = Event::Error(Failure::new(Trouble::Expired, "too old"));
    assert_eq!(rig.order(Input::Events(vec![expired])), Some(list("", Some(500), None)));
}

#[test]
fn rule_32_a_version_from_the_future_is_listed_again_at_once_with_a_quorum() {
    let mut rig = rig();
    rig.watching("10");
    rig.now += Duration::from_secs(60);
    watch(rig.order(Input::Cut("gone".to_owned())));
    let order = rig.order(failure(Trouble::TooLargeVersion));
    assert_eq!(order, Some(list("", Some(500), None)));
}

#[test]
fn rule_32_a_version_that_expires_over_and_over_is_no_spin() {
    let mut rig = rig();
    rig.listing();
    rig.order(page("10", None));
    rig.order(failure(Trouble::Expired));
    rig.order(page("11", None));
    let order = rig.order(failure(Trouble::Expired));
    let (pause, order) = rig.pause(order);
    assert!(pause >= Duration::from_millis(800));
    assert_eq!(order, Some(list("", Some(500), None)));
    // Something moved on: the next one is answered at once again.
    rig.order(page("12", None));
    rig.order(Input::Opened);
    rig.order(Input::Events(vec![event(13)]));
    rig.order(Input::Closed);
    assert_eq!(rig.order(failure(Trouble::Expired)), Some(list("", Some(500), None)));
}

#[test]
fn rule_32_pages_follow_their_tokens_and_one_commit_ends_them() {
    let mut rig = rig();
    rig.listing();
    assert_eq!(
        rig.order(page("10", Some("t1"))),
        Some(list("0", Some(500), Some("t1")))
    );
    assert_eq!(
        rig.order(page("10", Some("t2"))),
        Some(list("0", Some(500), Some("t2")))
    );
    let actions = rig.step(page("10", None));
    assert!(
        matches!(&actions[..], [Action::Commit { version, quorum: false }] if version.as_str() == "10"),
        "{actions:?}"
    );
}

#[test]
fn rule_33_a_token_that_expires_is_followed_by_the_full_list() {
    let mut rig = rig();
    rig.listing();
    rig.order(page("10", Some("t1")));
    let actions = rig.step(failure(Trouble::Expired));
    assert!(matches!(actions[0], Action::Begin), "what was staged is forgotten");
    assert!(
        matches!(&actions[1], Action::Io(order) if *order == list("0", None, None)),
        "{actions:?}"
    );
}

#[test]
fn a_page_that_fails_is_asked_for_again_and_not_the_list_from_its_start() {
    let mut rig = rig();
    rig.listing();
    rig.order(page("10", Some("t1")));
    let order = rig.order(failure(Trouble::Server));
    assert_eq!(rig.pause(order).1, Some(list("0", Some(500), Some("t1"))));
}

#[test]
fn a_list_without_end_is_given_up() {
    let mut rig = rig();
    rig.listing();
    let mut order = None;
    for _ in 0..MAX_PAGES {
        order = rig.order(page("10", Some("again")));
    }
    assert!(matches!(order, Some(Order::Wait(_))), "{order:?}");
}

#[test]
fn rule_34_too_many_requests_and_refused_connections_keep_the_version() {
    for trouble in [Trouble::TooManyRequests, Trouble::Unreachable] {
        let mut rig = rig();
        rig.watching("10");
        rig.order(Input::Events(vec![event(15)]));
        rig.order(Input::Closed);
        let mut order = rig.order(failure(trouble));
        for _ in 0..20 {
            let (pause, next) = rig.pause(order);
            assert!(pause >= Duration::from_millis(800));
            assert_eq!(watch(next).version.as_str(), "15");
            order = rig.order(failure(trouble));
        }
        assert_eq!(rig.reflector.counts().relists, 0);
    }
}

#[test]
fn rule_34_too_many_requests_as_an_event_keeps_the_version() {
    let mut rig = rig();
    rig.watching("10");
    let order = rig.order(Input::Events(vec![
        event(15),
        Event::Error(Failure::new(Trouble::TooManyRequests, "slow down")),
        event(16),
    ]));
    assert_eq!(watch(rig.pause(order).1).version.as_str(), "15");
}

#[test]
fn rule_34_other_error_events_are_followed_by_a_list() {
    for trouble in [Trouble::Server, Trouble::Refused] {
        let mut rig = rig();
        rig.watching("10");
        let order = rig.order(Input::Events(vec![Event::Error(Failure::new(trouble, "boom"))]));
        assert_eq!(rig.pause(order).1, Some(list("10", None, None)));
        assert_eq!(rig.reflector.counts().relists, 1);
    }
}

#[test]
fn server_errors_at_the_start_of_a_watch_keep_the_version_and_then_try_a_list() {
    let mut rig = rig();
    rig.listing();
    let mut order = rig.order(page("10", None));
    for _ in 0..MAX_WATCH_FAILURES {
        assert_eq!(watch(order).version.as_str(), "10");
        let pause = rig.order(failure(Trouble::Server));
        order = rig.pause(pause).1;
    }
    watch(order);
    let pause = rig.order(failure(Trouble::Server));
    assert_eq!(rig.pause(pause).1, Some(list("10", None, None)));
}

#[test]
fn rule_35_a_clean_close_is_followed_by_a_watch_from_the_last_version() {
    let mut rig = rig();
    rig.watching("10");
    rig.order(Input::Events(vec![event(11), event(14)]));
    assert_eq!(watch(rig.order(Input::Closed)).version.as_str(), "14");
    rig.order(Input::Opened);
    rig.now += Duration::from_secs(1);
    assert_eq!(watch(rig.order(Input::Closed)).version.as_str(), "14");
}

#[test]
fn rule_35_a_watch_that_ends_at_once_without_an_event_is_an_error() {
    for end in [Input::Closed, Input::Cut("reset".to_owned())] {
        let mut rig = rig();
        rig.watching("10");
        rig.now += Duration::from_millis(999);
        let order = rig.order(end);
        let (pause, order) = rig.pause(order);
        assert!(pause >= Duration::from_millis(800));
        assert_eq!(watch(order).version.as_str(), "10");
        assert_eq!(rig.reflector.counts().errors, 1);
    }
}

#[test]
fn rule_35_the_same_event_over_and_over_does_not_make_it_spin() {
    let mut rig = rig();
    rig.watching("10");
    rig.order(Input::Events(vec![event(10), Event::Bookmark(Version::new("10"))]));
    assert!(matches!(rig.order(Input::Closed), Some(Order::Wait(_))));
}

#[test]
fn rule_36_bookmarks_move_the_version_on() {
    let mut rig = rig();
    rig.watching("10");
    let actions = rig.step(Input::Events(vec![Event::Bookmark(Version::new("80"))]));
    assert!(
        matches!(&actions[..], [Action::Apply { changes, version: Some(v) }] if changes.is_empty() && v.as_str() == "80"),
        "{actions:?}"
    );
    assert_eq!(watch(rig.order(Input::Closed)).version.as_str(), "80");
}

#[test]
fn rule_36_started_at_no_version_it_moves_on_only_after_an_event_that_is_not_added() {
    for start in ["", "0"] {
        let mut rig = rig();
        assert_eq!(rig.watching(start).version.as_str(), start);
        let actions = rig.step(Input::Events(vec![added(90), added(20)]));
        assert!(
            matches!(&actions[..], [Action::Apply { version: None, .. }]),
            "{actions:?}"
        );
        assert_eq!(rig.last(), start);
        rig.order(Input::Events(vec![event(91)]));
        assert_eq!(rig.last(), "91");
        rig.order(Input::Events(vec![added(92)]));
        assert_eq!(rig.last(), "92");
    }
}

#[test]
fn a_watch_that_started_at_no_version_is_followed_by_a_list_since_it_may_have_missed_deletions() {
    let mut rig = rig();
    rig.watching("0");
    rig.order(Input::Events(vec![added(90)]));
    rig.now += Duration::from_secs(60);
    assert_eq!(rig.order(Input::Closed), Some(list("0", Some(500), None)));
}

#[test]
fn rule_37_versions_never_go_back_and_are_never_made_up() {
    let mut rig = rig();
    rig.watching("10");
    rig.order(Input::Events(vec![
        event(20),
        event(15),
        Event::Bookmark(Version::new("12")),
    ]));
    assert_eq!(rig.last(), "20");
    rig.order(Input::Events(vec![Event::Bookmark(Version::new(""))]));
    assert_eq!(rig.last(), "20");
    // Versions that are no integers can't be compared: the last one told is taken as it is.
    rig.order(Input::Events(vec![Event::Bookmark(Version::new("abc"))]));
    assert_eq!(rig.last(), "abc");
}

#[test]
fn rule_39_watch_timeouts_are_spread_over_five_to_ten_minutes_and_silence_is_cut_before_them() {
    let mut seen = std::collections::BTreeSet::new();
    let mut rig = rig();
    let mut request = rig.watching("10");
    for _ in 0..200 {
        assert!(request.timeout >= Duration::from_secs(300) && request.timeout < Duration::from_secs(600));
        // Two bookmarks that did not come.
        assert!(request.silence > Duration::from_secs(120) && request.silence < Duration::from_secs(180));
        seen.insert(request.timeout);
        rig.now += Duration::from_secs(300);
        request = watch(rig.order(Input::Closed));
        rig.order(Input::Opened);
    }
    assert!(seen.len() > 50);
}

#[test]
fn rule_39_a_stream_that_was_cut_is_opened_again_from_the_last_version() {
    let mut rig = rig();
    rig.watching("10");
    rig.order(Input::Events(vec![event(11)]));
    rig.now += Duration::from_secs(700);
    assert_eq!(watch(rig.order(Input::Cut("silent".to_owned()))).version.as_str(), "11");
}

#[test]
fn rule_39_the_servers_retry_after_is_honoured() {
    let mut rig = rig();
    rig.watching("10");
    rig.order(Input::Events(vec![event(11)]));
    rig.order(Input::Closed);
    let failure = Failure {
        retry_after: Some(Duration::from_secs(21)),
        ..Failure::new(Trouble::TooManyRequests, "slow down")
    };
    let order = rig.order(Input::Failed(failure));
    assert_eq!(rig.pause(order).0, Duration::from_secs(21));
}

#[test]
fn rule_40_what_can_not_be_read_is_counted_and_nothing_else() {
    let mut rig = rig();
    rig.watching("10");
    let actions = rig.step(Input::Events(vec![
        event(11),
        Event::Unreadable(None),
        Event::Unknown,
        event(12),
    ]));
    assert!(
        matches!(&actions[..], [Action::Apply { changes, version: Some(v) }] if changes.len() == 2 && v.as_str() == "12"),
        "{actions:?}"
    );
    let counts = rig.reflector.counts();
    assert_eq!((counts.unreadable, counts.unknown, counts.events), (1, 1, 2));
}

#[test]
fn a_list_that_is_older_than_the_store_is_followed_by_a_quorum_list() {
    let mut rig = rig();
    rig.listing();
    rig.step(page("10", None));
    assert_eq!(rig.order(Input::Refused), Some(list("", Some(500), None)));
    let actions = rig.step(page("9", None));
    assert!(
        matches!(&actions[..], [Action::Commit { quorum: true, .. }]),
        "{actions:?}"
    );
}

#[test]
fn a_kind_that_is_not_there_is_waited_for() {
    let mut rig = rig();
    let mut order = rig.order(Input::Start);
    for _ in 0..10 {
        assert_eq!(order, Some(Order::Discover));
        let pause = rig.order(failure(Trouble::NotFound));
        let (pause, next) = rig.pause(pause);
        assert!(pause >= Duration::from_millis(200) && pause <= Duration::from_secs(5));
        order = next;
    }
    assert!(matches!(rig.order(Input::Found), Some(Order::List(_))));
}

#[test]
fn a_kind_that_goes_away_is_waited_for_again() {
    let mut rig = rig();
    rig.watching("10");
    rig.now += Duration::from_secs(5);
    rig.order(Input::Closed);
    let order = rig.order(failure(Trouble::NotFound));
    assert_eq!(rig.pause(order).1, Some(Order::Discover));
    assert_eq!(rig.order(Input::Found), Some(list("10", None, None)));
}

#[test]
fn what_is_forbidden_is_asked_for_again_soon_and_then_slowly() {
    let mut rig = rig();
    let mut order = rig.listing();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert!(matches!(order, Some(Order::List(_))));
        let pause = rig.order(failure(Trouble::Forbidden));
        let (pause, next) = rig.pause(pause);
        pauses.push(pause);
        order = next;
    }
    assert!(
        pauses[0] < Duration::from_secs(2),
        "as a server is that starts: {pauses:?}"
    );
    let slow = |pause: &Duration| *pause >= Duration::from_secs(25) && *pause <= Duration::from_secs(60);
    assert!(pauses[7..].iter().all(slow), "{pauses:?}");
}

#[test]
fn a_watch_whose_credentials_are_refused_keeps_its_version() {
    let mut rig = rig();
    rig.watching("10");
    rig.now += Duration::from_secs(5);
    let mut order = rig.order(Input::Cut("reset".to_owned()));
    for _ in 0..20 {
        assert_eq!(watch(order).version.as_str(), "10");
        let pause = rig.order(failure(Trouble::Unauthorized));
        order = rig.pause(pause).1;
    }
    assert_eq!(rig.reflector.counts().relists, 0);
}

#[test]
fn trouble_is_told_when_it_begins_and_when_it_is_over() {
    let mut rig = rig();
    rig.listing();
    let told = |actions: Vec<Action>| {
        actions.into_iter().find_map(|action| match action {
            Action::Health(failure) => Some(failure.map(|f| f.trouble)),
            _ => None,
        })
    };
    let actions = rig.step(failure(Trouble::Unreachable));
    assert_eq!(told(actions), Some(Some(Trouble::Unreachable)));
    rig.order(Input::Timer);
    rig.order(page("10", None));
    let actions = rig.step(Input::Opened);
    assert_eq!(told(actions), Some(None));
}

#[test]
fn whatever_comes_every_end_of_a_request_brings_the_next_order() {
    let troubles = [
        Trouble::Unreachable,
        Trouble::Unauthorized,
        Trouble::Expired,
        Trouble::TooLargeVersion,
        Trouble::TooManyRequests,
        Trouble::Forbidden,
        Trouble::NotFound,
        Trouble::Server,
        Trouble::Refused,
        Trouble::Garbled,
        Trouble::Cut,
    ];
    for seed in 0..400 {
        let mut rig = match seed % 2 {
            0 => rig(),
            _ => rig_in(ListMode::Streaming, None),
        };
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut order = rig.order(Input::Start);
        let mut version = 10;
        for _ in 0..200 {
            let fail = |dice: &mut fastrand::Rng| failure(troubles[dice.usize(..troubles.len())]);
            rig.now += Duration::from_millis(dice.u64(0..2_000));
            order = match order.take() {
                None => panic!("no order in {:?}", rig.reflector.state()),
                Some(Order::Wait(pause)) => {
                    rig.now += pause;
                    rig.order(Input::Timer)
                }
                Some(_) if dice.u8(..4) == 0 => {
                    let input = fail(&mut dice);
                    rig.order(input)
                }
                Some(Order::Discover) => rig.order(Input::Found),
                Some(Order::List(_)) => {
                    version += 1;
                    let token = (dice.u8(..3) == 0).then_some("t");
                    rig.order(page(&version.to_string(), token))
                }
                Some(Order::Watch(request)) => {
                    assert_eq!(rig.order(Input::Opened), None);
                    if request.initial.is_some() {
                        version += 1;
                        let bookmark = Version::new(&version.to_string());
                        let cut = Input::Cut("reset".to_owned());
                        let silent = Input::Silent(Duration::from_secs(10));
                        let early = Event::Bookmark(bookmark.clone());
                        order = match dice.u8(..8) {
                            0 => rig.order(cut),
                            1 => rig.order(Input::Closed),
                            2 => rig.order(silent),
                            3 => rig.order(Input::Events(vec![early])),
                            _ => {
                                assert_eq!(rig.order(Input::Events(vec![Event::InitialEnd(bookmark)])), None);
                                rig.order(Input::Closed)
                            }
                        };
                        continue;
                    }
                    version += 1;
                    match dice.u8(..4) {
                        0 => rig.order(Input::Closed),
                        1 => rig.order(Input::Cut("reset".to_owned())),
                        2 => {
                            assert_eq!(rig.order(Input::Events(vec![event(version)])), None);
                            rig.order(Input::Closed)
                        }
                        _ => {
                            let Input::Failed(error) = fail(&mut dice) else {
                                continue;
                            };
                            rig.order(Input::Events(vec![Event::Error(error)]))
                        }
                    }
                }
            };
        }
    }
}

#[test]
fn the_same_inputs_and_seed_give_the_same_actions() {
    let run = || {
        let mut rig = rig();
        let mut trace = String::new();
        for input in [
            Input::Start,
            failure(Trouble::NotFound),
            Input::Timer,
            Input::Found,
            page("10", None),
            Input::Committed,
            Input::Opened,
            Input::Closed,
        ] {
            trace += &format!("{:?}\n", rig.step(input));
        }
        trace
    };
    assert_eq!(run(), run());
}

#[test]
fn a_page_that_is_refused_is_not_asked_for_for_ever() {
    let mut rig = rig();
    rig.listing();
    rig.order(page("10", Some("a token that the server does not know any more")));
    let order = rig.order(failure(Trouble::Refused));
    assert_eq!(rig.pause(order).1, Some(list("0", Some(500), None)));
}

#[test]
fn a_version_that_is_refused_is_not_asked_for_for_ever() {
    let mut rig = rig_from(Some("what another storage called its version"));
    rig.listing();
    let order = rig.order(failure(Trouble::Refused));
    assert_eq!(rig.pause(order).1, Some(list("", Some(500), None)));
}

#[test]
fn after_a_quorum_list_the_next_one_is_a_common_one_again() {
    let mut rig = rig();
    rig.watching("10");
    assert_eq!(rig.order(failure(Trouble::Expired)), Some(list("", Some(500), None)));
    rig.order(page("20", None));
    rig.order(Input::Opened);
    let order = rig.order(Input::Events(vec![Event::Error(Failure::new(Trouble::Server, "no"))]));
    assert_eq!(rig.pause(order).1, Some(list("20", None, None)));
}

#[test]
fn a_watch_at_no_version_that_ends_at_once_is_followed_by_a_list_too() {
    let mut rig = rig();
    rig.watching("0");
    let order = rig.order(Input::Closed);
    assert_eq!(rig.pause(order).1, Some(list("0", Some(500), None)));
}
