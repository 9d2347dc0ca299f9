use pilothouse_lifecycle::VersionStatus;

use super::*;
use crate::front;

fn life(state: LifeState) -> LifeStatus {
    let version = |digit: &str| VersionStatus {
        version: Some("1".to_owned()),
        hash: digit.repeat(64),
        configuration: "d".repeat(64),
    };
    LifeStatus {
        serving: Some(version("a")),
        serving_seconds: Some(1),
        previous: vec![version("b")],
        ..front::tests::life(state)
    }
}

#[test]
fn a_version_is_named_by_its_hash_or_the_beginning_of_one_that_is_known() {
    let known = life(LifeState::Serving);
    let named = |digits: &str| chosen_version(&known, digits);
    assert_eq!(named("bbbbbb").unwrap().to_string(), "b".repeat(64));
    assert_eq!(named("BBBBBBBB").unwrap().to_string(), "b".repeat(64));
    // What only the directory holds is named whole.
    assert_eq!(named(&"c".repeat(64)).unwrap().to_string(), "c".repeat(64));
    let (status, body) = named("cccccc").unwrap_err();
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.contains("these are: aaaaaaaaaaaa, bbbbbbbbbbbb"), "{body}");
    for wrong in ["", "bbbbb", "not-hex", &"b".repeat(65)] {
        assert_eq!(named(wrong).unwrap_err().0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[test]
fn an_order_is_done_once_nothing_moves_and_says_where_it_came_to_something_else() {
    let serving = life(LifeState::Serving);
    assert!(is_settled(&serving));
    for moving in [LifeState::Loading, LifeState::Draining, LifeState::Waiting] {
        assert!(!is_settled(&life(moving)));
    }
    let switching = LifeStatus {
        candidate: serving.previous.first().cloned(),
        ..serving.clone()
    };
    assert!(!is_settled(&switching));

    let gone = LifeStatus {
        serving: None,
        ..life(LifeState::Disabled)
    };
    assert_eq!(shortfall(&Ask::Disable, &serving, &gone, false), None);
    // The same module under another configuration is another version.
    let mut before = serving.clone();
    assert!(shortfall(&Ask::Rollback, &before, &serving, false).is_some());
    before.serving.as_mut().unwrap().configuration = "e".repeat(64);
    assert_eq!(shortfall(&Ask::Rollback, &before, &serving, false), None);
    assert_eq!(shortfall(&Ask::Enable, &gone, &serving, false), None);
    let why = shortfall(&Ask::Enable, &gone, &gone, false).unwrap();
    assert_eq!(why, "the plugin is disabled now");
    assert!(shortfall(&Ask::Rollback, &serving, &serving, false).is_some());
    assert!(shortfall(&Ask::Promote("b".to_owned()), &serving, &serving, true).is_none());
}
