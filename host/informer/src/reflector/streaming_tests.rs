//! Streaming lists in the state machine.

use super::{
    tests::{Rig, added, event, failure, list, rig_in, watch},
    *,
};
use crate::{store::Change, testing::object};

fn rig() -> Rig {
    rig_in(ListMode::Streaming, None)
}

fn named(name: &str, version: u64) -> Change {
    Change::Put(object("a", name, "u", version))
}

fn end(version: &str) -> Event {
    Event::InitialEnd(Version::new(version))
}

fn error(trouble: Trouble) -> Input {
    Input::Events(vec![Event::Error(Failure::new(trouble, "no"))])
}

/// What was staged, in order: `x` an object, `-x` its deletion, `!x` what can't be read.
fn staged(actions: &[Action]) -> Vec<String> {
    let mut out = Vec::new();
    for action in actions {
        if let Action::Stage(items) = action {
            out.extend(items.iter().map(|item| match item {
                Item::Object(object) => object.key().name.to_string(),
                Item::Unreadable(key) => format!("!{}", key.name),
                Item::Gone(key) => format!("-{}", key.name),
            }));
        }
    }
    out
}

fn committed(actions: &[Action]) -> Option<(&str, bool)> {
    actions.iter().find_map(|action| match action {
        Action::Commit { version, quorum } => Some((version.as_str(), *quorum)),
        _ => None,
    })
}

impl Rig {
    /// Asks for a streaming list, which the server accepts.
    fn gathering(&mut self) -> WatchRequest {
        let request = watch(self.listing());
        assert!(request.initial.is_some());
        assert_eq!(self.order(Input::Opened), None);
        request
    }

    /// A streaming list has become a watch.
    fn following(&mut self, version: &str) {
        self.gathering();
        assert_eq!(self.order(Input::Events(vec![end(version)])), None);
        assert!(matches!(self.reflector.state(), State::Streaming { .. }));
    }
}

#[test]
fn rule_38_the_first_streaming_list_takes_what_the_server_has_at_hand() {
    let request = rig().gathering();
    assert_eq!(request.version.as_str(), "0");
    assert_eq!(request.initial, Some(Duration::from_secs(10)));
    assert!(request.timeout >= Duration::from_secs(300) && request.timeout < Duration::from_secs(600));
}

#[test]
fn rule_38_a_store_that_holds_something_asks_for_nothing_older() {
    let mut rig = rig_in(ListMode::Streaming, Some("44"));
    assert_eq!(watch(rig.listing()).version.as_str(), "44");
}

#[test]
fn rule_38_initial_events_are_staged_and_nothing_is_committed_before_their_end() {
    let mut rig = rig();
    rig.gathering();
    let actions = rig.step(Input::Events(vec![
        Event::Added(named("x", 3)),
        Event::Added(named("y", 4)),
    ]));
    assert_eq!(staged(&actions), ["x", "y"]);
    assert!(actions.iter().all(|action| matches!(action, Action::Stage(_))));
    assert_eq!(rig.reflector.last(), None, "no version is taken from them");
    let actions = rig.step(Input::Events(vec![Event::Added(named("z", 5)), end("10")]));
    assert_eq!(staged(&actions), ["z"]);
    assert_eq!(committed(&actions), Some(("10", false)));
    assert!(matches!(&actions[..], [Action::Stage(_), Action::Commit { .. }]));
}

#[test]
fn rule_38_the_stream_goes_on_as_the_watch_from_the_bookmarks_version() {
    let mut rig = rig();
    rig.gathering();
    // What comes in one piece with the end is not lost, and not before the commit.
    let actions = rig.step(Input::Events(vec![added(3), end("10"), event(11), added(12)]));
    assert!(matches!(&actions[..], [Action::Stage(_), Action::Commit { .. }]));
    let actions = rig.step(Input::Committed);
    assert!(
        matches!(&actions[..], [Action::Apply { changes, version: Some(v) }] if changes.len() == 2 && v.as_str() == "12"),
        "{actions:?}"
    );
    assert_eq!(rig.last(), "12");
    let counts = rig.reflector.counts();
    assert_eq!(
        (counts.streams, counts.watches, counts.lists, counts.events),
        (1, 1, 0, 2)
    );
    let request = watch(rig.order(Input::Closed));
    assert_eq!((request.version.as_str(), request.initial), ("12", None));
}

#[test]
fn rule_38_an_empty_list_is_a_bookmark_alone() {
    let mut rig = rig();
    rig.gathering();
    let actions = rig.step(Input::Events(vec![end("10")]));
    assert!(matches!(&actions[..], [Action::Commit { .. }]), "{actions:?}");
}

#[test]
fn rule_38_changes_and_deletions_among_the_initial_events_are_staged_as_such() {
    let mut rig = rig();
    rig.gathering();
    let gone = Change::Deleted(object("a", "x", "u", 6));
    let actions = rig.step(Input::Events(vec![
        Event::Added(named("x", 3)),
        Event::Changed(named("y", 5)),
        Event::Changed(gone),
    ]));
    assert_eq!(staged(&actions), ["x", "y", "-x"]);
}

#[test]
fn rule_38_a_stream_that_ends_before_its_bookmark_is_thrown_away_and_asked_for_anew() {
    for how in [Input::Closed, Input::Cut("reset".to_owned())] {
        let mut rig = rig();
        rig.gathering();
        rig.step(Input::Events(vec![added(3)]));
        rig.now += Duration::from_secs(5);
        let order = rig.order(how);
        let Some(Order::Wait(pause)) = order else {
            panic!("{order:?}");
        };
        assert!(pause >= Duration::from_millis(800));
        let actions = rig.step(Input::Timer);
        assert!(matches!(actions[0], Action::Begin), "what was staged is forgotten");
        assert_eq!(rig.reflector.last(), None);
    }
}

#[test]
fn rule_38_streams_that_end_before_their_bookmark_over_and_over_become_pages() {
    let mut rig = rig();
    rig.gathering();
    for _ in 0..2 {
        let order = rig.order(Input::Cut("reset".to_owned()));
        watch(rig.pause(order).1);
        rig.order(Input::Opened);
    }
    assert_eq!(rig.order(Input::Closed), Some(list("0", Some(500), None)));
    assert_eq!(rig.reflector.counts().fallbacks, 1);
}

#[test]
fn rule_38_a_silent_stream_or_a_common_bookmark_before_the_end_becomes_pages_at_once() {
    for input in [
        Input::Silent(Duration::from_secs(10)),
        Input::Events(vec![added(3), Event::Bookmark(Version::new("10"))]),
    ] {
        let mut rig = rig();
        rig.gathering();
        let actions = rig.step(input);
        assert!(
            matches!(&actions[..], [Action::FellBack(_), Action::Begin, Action::Io(order)] if *order == list("0", Some(500), None)),
            "{actions:?}"
        );
    }
}

#[test]
fn changes_for_ten_seconds_before_the_end_become_pages() {
    let mut rig = rig();
    rig.gathering();
    // A list may take longer than that.
    rig.step(Input::Events(vec![added(1)]));
    rig.now += Duration::from_secs(60);
    rig.step(Input::Events(vec![added(2)]));
    // A server that took this for a common watch of a busy kind is never silent.
    for _ in 0..=10 {
        assert_eq!(rig.order(Input::Events(vec![event(3)])), None);
        rig.now += Duration::from_secs(1);
    }
    assert_eq!(
        rig.order(Input::Events(vec![event(3)])),
        Some(list("0", Some(500), None))
    );
    assert_eq!(rig.reflector.counts().fallbacks, 1);
}

#[test]
fn a_bookmark_behind_changes_ends_the_list_however_late_it_comes() {
    let mut rig = rig();
    rig.gathering();
    rig.step(Input::Events(vec![event(3)]));
    rig.now += Duration::from_secs(11);
    let actions = rig.step(Input::Events(vec![event(4), end("10")]));
    assert_eq!(committed(&actions), Some(("10", false)));
}

#[test]
fn rule_38_initial_events_without_end_become_pages() {
    let mut rig = rig();
    rig.gathering();
    rig.now += Duration::from_secs(600);
    assert_eq!(rig.order(Input::Events(vec![event(1)])), None);
    rig.now += Duration::from_secs(1);
    assert!(matches!(rig.order(Input::Events(vec![event(1)])), Some(Order::List(_))));
    let mut rig = self::rig();
    rig.gathering();
    rig.now += Duration::from_secs(300);
    assert!(
        matches!(rig.order(Input::Closed), Some(Order::List(_))),
        "its time was over"
    );
}

#[test]
fn rule_38_an_error_that_a_retry_can_not_cure_becomes_pages_at_once() {
    for trouble in [Trouble::Refused, Trouble::Garbled] {
        let mut rig = rig();
        rig.listing();
        assert_eq!(rig.order(failure(trouble)), Some(list("0", Some(500), None)));
        let mut rig = self::rig();
        rig.gathering();
        assert_eq!(rig.order(error(trouble)), Some(list("0", Some(500), None)));
    }
}

#[test]
fn rule_38_pages_asked_for_instead_are_not_older_either() {
    let mut rig = rig_in(ListMode::Streaming, Some("44"));
    rig.listing();
    assert_eq!(rig.order(failure(Trouble::Refused)), Some(list("44", None, None)));
}

#[test]
fn rule_38_errors_that_a_retry_may_cure_keep_to_streaming() {
    for trouble in [
        Trouble::Unreachable,
        Trouble::TooManyRequests,
        Trouble::Unauthorized,
        Trouble::Forbidden,
    ] {
        let mut rig = rig();
        let mut order = rig.listing();
        for _ in 0..10 {
            assert!(watch(order).initial.is_some());
            let pause = rig.order(failure(trouble));
            let (pause, next) = rig.pause(pause);
            assert!(pause >= Duration::from_millis(800));
            order = next;
        }
    }
    let mut rig = rig();
    let mut order = rig.listing();
    for _ in 0..2 {
        assert!(watch(order).initial.is_some());
        let pause = rig.order(failure(Trouble::Server));
        order = rig.pause(pause).1;
    }
    watch(order);
    assert!(
        matches!(rig.order(failure(Trouble::Server)), Some(Order::List(_))),
        "it may tell more"
    );
}

#[test]
fn rule_38_expired_and_future_versions_are_streamed_again_at_once_with_a_quorum() {
    for trouble in [Trouble::Expired, Trouble::TooLargeVersion] {
        let mut rig = rig_in(ListMode::Streaming, Some("44"));
        rig.gathering();
        assert_eq!(watch(rig.order(error(trouble))).version.as_str(), "");
        rig.order(Input::Opened);
        let actions = rig.step(Input::Events(vec![end("9")]));
        assert_eq!(committed(&actions), Some(("9", true)));
        // Over and over it is no spin.
        rig.step(Input::Committed);
        let order = rig.order(error(trouble));
        let (_, order) = rig.pause(order);
        assert_eq!(watch(order).version.as_str(), "");
    }
}

#[test]
fn rule_38_a_relist_is_a_streaming_list_from_the_last_version() {
    let mut rig = rig();
    rig.following("10");
    rig.order(Input::Events(vec![event(12)]));
    let order = rig.order(error(Trouble::Server));
    let request = watch(rig.pause(order).1);
    assert_eq!((request.version.as_str(), request.initial.is_some()), ("12", true));
    assert_eq!(rig.reflector.counts().relists, 1);
}

#[test]
fn rule_38_a_list_that_the_store_refuses_is_followed_by_one_with_a_quorum() {
    let mut rig = rig();
    rig.gathering();
    rig.step(Input::Events(vec![end("10"), event(11)]));
    let request = watch(rig.order(Input::Refused));
    assert_eq!((request.version.as_str(), request.initial.is_some()), ("", true));
    rig.order(Input::Opened);
    rig.step(Input::Events(vec![end("9")]));
    let actions = rig.step(Input::Committed);
    assert!(
        actions.is_empty(),
        "what the other stream brought is forgotten: {actions:?}"
    );
}

#[test]
fn rule_38_a_reflector_remembers_that_it_fell_back_for_an_hour_or_until_an_outage() {
    let mut rig = rig();
    rig.listing();
    rig.order(failure(Trouble::Refused));
    let page = |rig: &mut Rig, version: &str| {
        rig.order(Input::Page {
            version: Version::new(version),
            token: None,
        });
        rig.order(Input::Opened);
    };
    page(&mut rig, "10");
    let order = rig.order(error(Trouble::Server));
    assert_eq!(rig.pause(order).1, Some(list("10", None, None)));
    page(&mut rig, "11");
    rig.now += Duration::from_secs(3600);
    let order = rig.order(error(Trouble::Server));
    assert_eq!(watch(rig.pause(order).1).version.as_str(), "11");
    assert!(matches!(rig.order(failure(Trouble::Refused)), Some(Order::List(_))));
    page(&mut rig, "12");
    rig.now += Duration::from_secs(5);
    rig.order(Input::Closed);
    let order = rig.order(failure(Trouble::Unreachable));
    rig.pause(order);
    rig.order(Input::Opened);
    let order = rig.order(error(Trouble::Server));
    assert!(watch(rig.pause(order).1).initial.is_some());
}

#[test]
fn rule_38_pages_are_asked_for_where_that_is_configured() {
    let mut rig = rig_in(ListMode::Paged, None);
    assert_eq!(rig.listing(), Some(list("0", Some(500), None)));
}

#[test]
fn rule_37_a_list_takes_its_version_from_the_bookmark_and_not_from_its_objects() {
    let mut rig = rig();
    rig.gathering();
    let actions = rig.step(Input::Events(vec![added(900), end("10")]));
    assert_eq!(committed(&actions), Some(("10", false)));
    rig.step(Input::Committed);
    assert_eq!(rig.last(), "10");
}

#[test]
fn rule_36_a_second_end_of_the_initial_events_is_a_bookmark_like_others() {
    let mut rig = rig();
    rig.following("10");
    rig.order(Input::Events(vec![end("15")]));
    assert_eq!(rig.last(), "15");
}

#[test]
fn rule_40_what_can_not_be_read_is_staged_by_its_name_where_that_is_known() {
    let mut rig = rig();
    rig.gathering();
    let key = object("a", "x", "u", 1).key().clone();
    let actions = rig.step(Input::Events(vec![
        Event::Unreadable(Some(key)),
        Event::Unreadable(None),
        Event::Unknown,
    ]));
    assert_eq!(staged(&actions), ["!x"]);
    let counts = rig.reflector.counts();
    assert_eq!((counts.unreadable, counts.unknown), (2, 1));
}

#[test]
fn a_list_with_more_elements_than_allowed_is_given_up_however_it_comes() {
    for lists in [ListMode::Streaming, ListMode::Paged] {
        let config = ReflectorConfig {
            lists,
            max_elements: 3,
            ..ReflectorConfig::default()
        };
        let mut rig = rig();
        rig.reflector = Reflector::new(config, None);
        rig.listing();
        let items = |n: u64| (0..n).map(|i| Item::Object(object("a", "x", "u", i))).collect();
        if lists == ListMode::Streaming {
            rig.order(Input::Opened);
            rig.order(Input::Events(vec![added(1), added(2), added(3)]));
            assert!(matches!(rig.order(Input::Events(vec![added(4)])), Some(Order::List(_))));
        }
        assert_eq!(rig.order(Input::Items(items(3), 0)), None);
        let order = rig.order(Input::Items(items(1), 0));
        assert!(matches!(order, Some(Order::Wait(_))), "{order:?}");
    }
}

#[test]
fn rule_38_only_streams_in_a_row_that_end_before_their_bookmark_become_pages() {
    let mut rig = rig();
    let mut order = rig.listing();
    for n in 0..6 {
        watch(order);
        rig.order(Input::Opened);
        if n % 3 == 2 {
            rig.order(Input::Events(vec![end("10")]));
            order = rig.order(error(Trouble::Server));
        } else {
            order = rig.order(Input::Cut("gone".to_owned()));
        }
        order = rig.pause(order).1;
    }
    assert!(watch(order).initial.is_some(), "there were never three in a row");
}
