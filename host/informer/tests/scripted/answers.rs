//! Refusals, errors and odd answers.

use std::time::Duration;

use bytes::Bytes;
use pilothouse_informer::{DriverConfig, ListMode};

use crate::{
    model::{EXPIRED, Model, bookmark, eventful, line, list, widget},
    server::{Asked, Fault, Part, Reply, Rig},
};

const BOTH: [ListMode; 2] = [ListMode::Streaming, ListMode::Paged];

/// Answers the first `times` requests for this with `reply`.
fn instead(what: Asked, times: u32, reply: Reply) -> Fault {
    Box::new(move |asked, before, right| match asked == what && before < times {
        true => reply.clone(),
        false => right,
    })
}

fn the_ways_to(what: Asked) -> &'static [ListMode] {
    match what {
        Asked::Stream => &[ListMode::Streaming],
        Asked::List => &[ListMode::Paged],
        _ => &BOTH,
    }
}

/// A stream or watch ends by itself after what it has to say, so that a watch follows.
fn short(fault: Fault) -> Fault {
    let mut fault = fault;
    Box::new(move |asked, before, right| {
        let right = match asked {
            Asked::Stream if before == 0 => Reply {
                body: vec![Part::Bytes(right.bytes().into()), Part::Wait(Duration::from_secs(2))],
                ..right
            },
            _ => right,
        };
        fault(asked, before, right)
    })
}

#[tokio::test(start_paused = true)]
async fn every_request_may_be_answered_with_410() {
    for what in [Asked::Discovery, Asked::List, Asked::Stream, Asked::Watch] {
        for lists in the_ways_to(what) {
            let rig = Rig::new(
                *lists,
                &eventful(),
                short(instead(what, 2, Reply::status(410, EXPIRED))),
            );
            rig.settles(format_args!("{what:?}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_stream_may_tell_of_410_at_its_start_and_later() {
    for what in [Asked::Stream, Asked::Watch] {
        for skip in 0..6 {
            for lists in the_ways_to(what) {
                let fault: Fault = Box::new(move |asked, before, right| {
                    if asked != what || before > 1 {
                        return right;
                    }
                    let text = right.text();
                    let told: String = text.split_inclusive('\n').take(skip).collect();
                    Reply {
                        body: vec![Part::Bytes((told + &line("ERROR", EXPIRED)).into())],
                        ..right
                    }
                });
                let rig = Rig::new(*lists, &eventful(), short(fault));
                rig.settles(format_args!("{what:?} after {skip} lines")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_may_be_answered_with_429_and_the_wait_it_asks_for_is_kept() {
    for what in [Asked::Discovery, Asked::List, Asked::Stream, Asked::Watch] {
        for lists in the_ways_to(what) {
            let busy = Reply {
                retry_after: Some(9),
                ..Reply::status(429, "Too many requests, please try again later.")
            };
            let rig = Rig::new(*lists, &eventful(), short(instead(what, 3, busy)));
            rig.settles(format_args!("{what:?}")).await;
            if what != Asked::Watch || *lists == ListMode::Paged {
                assert!(
                    rig.elapsed() >= Duration::from_secs(27),
                    "{what:?}: {:?}",
                    rig.elapsed()
                );
            }
            let again = rig.asked().iter().filter(|asked| **asked == Asked::List).count();
            let allowed = if what == Asked::List { 4 } else { 1 };
            assert!(again <= allowed, "{what:?}: no list more for it: {:?}", rig.asked());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_may_be_answered_with_500_for_a_while() {
    for what in [Asked::Discovery, Asked::List, Asked::Stream, Asked::Watch] {
        for lists in the_ways_to(what) {
            for times in [1, 2, 7] {
                let boom = Reply::status(500, r#"{"kind":"Status","message":"boom","code":500}"#);
                let rig = Rig::new(*lists, &eventful(), short(instead(what, times, boom)));
                rig.settles(format_args!("{what:?} {times} times")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_no_json_are_asked_for_again() {
    for text in [
        "",
        "<html>502 Bad Gateway</html>",
        "null",
        "[]",
        "{}",
        r#"{"kind":"WidgetList""#,
        "\u{0}\n\u{1}",
    ] {
        for what in [Asked::Discovery, Asked::List, Asked::Stream, Asked::Watch] {
            for lists in the_ways_to(what) {
                let rig = Rig::new(*lists, &eventful(), instead(what, 2, Reply::ok(text)));
                rig.settles(format_args!("{what:?} answered with {text:?}")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn object_may_stand_before_type() {
    for lists in BOTH {
        let fault: Fault = Box::new(|asked, _, right| {
            if matches!(asked, Asked::Discovery | Asked::List) {
                return right;
            }
            let swapped: String = right
                .text()
                .lines()
                .map(|line| {
                    let (kind, object) = line[..line.len() - 1].split_once(r#","object":"#).unwrap();
                    let kind = kind.strip_prefix('{').unwrap();
                    format!("{{\"object\":{object},{kind}}}\n")
                })
                .collect();
            Reply::ok(swapped).then(Part::Hang)
        });
        let rig = Rig::new(lists, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        let counts = rig.informers.counters()[0].1.reflectors;
        assert_eq!((counts.unreadable, counts.errors), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_unknown_types_and_rubbish_between_them_cost_nothing_else() {
    for lists in BOTH {
        let fault: Fault = Box::new(|asked, _, right| {
            if matches!(asked, Asked::Discovery | Asked::List) {
                return right;
            }
            let odd: String = right
                .text()
                .split_inclusive('\n')
                .flat_map(|text| [line("STRANGE", "{}"), "rubbish\n\n \r\n".to_owned(), text.to_owned()])
                .collect();
            Reply::ok(odd).then(Part::Hang)
        });
        let rig = Rig::new(lists, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        let counts = rig.informers.counters()[0].1.reflectors;
        assert!(counts.unknown >= 5 && counts.unreadable == counts.unknown, "{counts:?}");
        assert_eq!(counts.errors, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn versions_that_go_backwards_do_not_take_anything_back() {
    for lists in BOTH {
        let fault: Fault = Box::new(|asked, before, right| {
            if matches!(asked, Asked::Discovery | Asked::List) || before > 0 {
                return right;
            }
            let mut text = right.text();
            // The whole past once more, and a bookmark from long ago.
            for past in eventful().past {
                text += &line(past.kind, &past.json);
            }
            text += &bookmark(2, false);
            Reply::ok(text).then(Part::Wait(Duration::from_secs(5)))
        });
        let rig = Rig::new(lists, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        let stale = rig.informers.counters()[0].1.stale;
        assert!(stale > 0);
        pass_until_watch(&rig).await;
        let paths = rig.paths();
        assert!(paths.last().unwrap().contains("resourceVersion=10&"), "{paths:?}");
    }
}

async fn pass_until_watch(rig: &Rig) {
    let before = rig.paths().len();
    while rig.paths().len() == before {
        crate::server::pass(Duration::from_secs(1)).await;
    }
    rig.settles("behind it").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_older_than_the_cache_is_asked_for_again_with_a_quorum() {
    for lists in BOTH {
        let fault: Fault = Box::new(|asked, before, right| {
            if matches!(asked, Asked::Stream | Asked::Watch) && before == 0 {
                let boom = line("ERROR", r#"{"kind":"Status","message":"boom","code":500}"#);
                return Reply::ok(right.text() + &boom);
            }
            // Answers from an old cache, against all rules.
            let old = eventful();
            let (body, _) = old.answer("/widgets?resourceVersion=0");
            let stream = "/widgets?watch=true&sendInitialEvents=true&resourceVersion=0";
            let cut = |body: String| body.split_inclusive('\n').take(3).collect::<String>();
            match asked {
                Asked::List if before == 1 => Reply::ok(body),
                Asked::Stream if before == 1 => Reply::ok(cut(old.answer(stream).0)).then(Part::Hang),
                _ => right,
            }
        });
        let rig = Rig::new(lists, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        while rig.informers.counters()[0].1.reflectors.relists < 2 {
            crate::server::pass(Duration::from_secs(1)).await;
        }
        rig.settles(format_args!("{lists:?} again")).await;
        let last = rig
            .paths()
            .into_iter()
            .rev()
            .find(|path| !path.contains("&resourceVersion="));
        assert!(last.is_some(), "{:?}", rig.paths());
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_server_is_synced_however_it_writes_an_empty_list() {
    let nothing = Model::default();
    for body in [
        list("7", &[]),
        r#"{"metadata":{"resourceVersion":"7"},"items":null}"#.to_owned(),
    ] {
        let rig = Rig::new(ListMode::Paged, &nothing, instead(Asked::List, 1, Reply::ok(body)));
        rig.settles("a list").await;
        assert_eq!(rig.asked(), [Asked::Discovery, Asked::List, Asked::Watch]);
    }
    let rig = Rig::new(ListMode::Streaming, &nothing, Box::new(|_, _, right| right));
    rig.settles("a stream").await;
    assert_eq!(rig.asked(), [Asked::Discovery, Asked::Stream]);
}

#[tokio::test(start_paused = true)]
async fn objects_of_another_kind_are_left_out() {
    let pod =
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"a","uid":"p1","resourceVersion":"4"}}"#;
    for lists in BOTH {
        let fault: Fault = Box::new(move |asked, _, right| match asked {
            Asked::Discovery => right,
            Asked::List => Reply::ok(right.text().replacen(r#""items":["#, &format!(r#""items":[{pod},"#), 1)),
            _ => Reply::ok(line("ADDED", pod) + &right.text() + &line("DELETED", pod)).then(Part::Hang),
        });
        let rig = Rig::new(lists, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        assert!(rig.informers.counters()[0].1.reflectors.unreadable >= 2);
    }
}

#[tokio::test(start_paused = true)]
async fn json_ten_thousand_levels_deep_costs_itself_alone() {
    let deep = format!(r#","spec":{}1{}"#, r#"{"a":["#.repeat(5_000), "]}".repeat(5_000));
    let deep = widget("deep", "d", 3, &deep);
    for lists in BOTH {
        let deep = deep.clone();
        let fault: Fault = Box::new(move |asked, _, right| match asked {
            Asked::Discovery => right,
            Asked::List => Reply::ok(
                right
                    .text()
                    .replacen(r#""items":["#, &format!(r#""items":[{deep},"#), 1),
            ),
            _ => Reply::ok(line("ADDED", &deep) + &right.text() + &line("DELETED", &deep)).then(Part::Hang),
        });
        let rig = Rig::new(lists, &eventful(), fault);
        // It may be read or not; where it is, the list that lacks it or its deletion takes it away again.
        crate::server::pass(Duration::from_secs(1)).await;
        let mut cached = rig.cached().unwrap();
        cached.remove("a/deep");
        assert_eq!(cached, eventful().held(), "{lists:?}");
        rig.oracle.held();
    }
}

/// An object of so many MiB.
fn huge(mib: usize, version: u64) -> String {
    widget("huge", "h", version, &format!(r#","spec":"{}""#, "x".repeat(mib << 20)))
}

fn in_pieces(text: String) -> Vec<Part> {
    let bytes = Bytes::from(text);
    let pieces = (0..bytes.len()).step_by(64 << 10);
    pieces
        .map(|at| Part::Bytes(bytes.slice(at..bytes.len().min(at + (64 << 10)))))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_object_of_30_mib_is_taken_and_one_of_40_mib_costs_itself_alone() {
    for lists in BOTH {
        for (mib, taken) in [(30, true), (40, false)] {
            // The server holds it from the start.
            let mut model = Model::default();
            model.put("ADDED", "huge", "h", "").put("ADDED", "y", "u2", "");
            model.cached = 2;
            model.put("ADDED", "z", "u3", "");
            let small = model.past[0].json.clone();
            let fault: Fault = Box::new(move |asked, _, mut right| {
                let text = right.text();
                if asked != Asked::Discovery && text.contains(&small) {
                    let tail = right.body.split_off(1);
                    right.body = in_pieces(text.replacen(&small, &huge(mib, 1), 1));
                    right.body.extend(tail);
                }
                right
            });
            let rig = Rig::new(lists, &model, fault);
            crate::server::pass(Duration::from_secs(1)).await;
            let mut right = model.held();
            if !taken {
                right.remove("a/huge");
            }
            assert_eq!(rig.cached(), Some(right), "{lists:?} {mib} MiB");
            let counts = rig.informers.counters()[0].1.reflectors;
            assert_eq!((counts.unreadable, counts.errors), (u64::from(!taken), 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_ends_is_given_up() {
    for lists in BOTH {
        let mut config = DriverConfig::default();
        config.reflector.lists = lists;
        config.reflector.max_elements = 50;
        let fault: Fault = Box::new(|asked, before, right| {
            let endless = |text: &str| {
                let again = Bytes::copy_from_slice(text.as_bytes());
                let mut body = Vec::new();
                for _ in 0..1_000 {
                    body.push(Part::Bytes(again.clone()));
                }
                body
            };
            let body = match asked {
                Asked::Stream if before == 0 => endless(&line("ADDED", &widget("n", "n", 1, ""))),
                Asked::List if before < 2 => {
                    let mut body = vec![Part::Bytes(Bytes::from_static(
                        br#"{"metadata":{"resourceVersion":"5"},"items":["#,
                    ))];
                    body.extend(endless(&(widget("n", "n", 1, "") + ",")));
                    body
                }
                _ => return right,
            };
            Reply { body, ..right }
        });
        let rig = Rig::with(config, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        let given_up = if lists == ListMode::Streaming { 3 } else { 2 };
        assert_eq!(rig.informers.counters()[0].1.reflectors.errors, given_up);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_line_may_lack_its_newline() {
    for lists in BOTH {
        let fault: Fault = Box::new(|asked, before, right| {
            if matches!(asked, Asked::Discovery | Asked::List) || before > 0 {
                return right;
            }
            Reply::ok(right.text().trim_end().to_owned())
        });
        let rig = Rig::new(lists, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        assert_eq!(rig.informers.counters()[0].1.reflectors.unreadable, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn initial_events_may_hold_changes_and_deletions() {
    let mut model = Model::default();
    model
        .put("ADDED", "x", "u1", "")
        .put("ADDED", "y", "u2", "")
        .put("MODIFIED", "y", "u2", "");
    model
        .put("DELETED", "x", "u1", "")
        .put("ADDED", "x", "u3", "")
        .put("ADDED", "v", "u4", "");
    model.put("DELETED", "v", "u4", "");
    model.cached = model.version();
    let past: String = model.past.iter().map(|past| line(past.kind, &past.json)).collect();
    let body = past + &bookmark(model.version(), true);
    let fault = instead(Asked::Stream, 1, Reply::ok(body).then(Part::Hang));
    let rig = Rig::new(ListMode::Streaming, &model, fault);
    rig.settles("a stream of everything that ever was").await;
    assert_eq!(rig.oracle.came_and_went(), (2, 0), "only the outcome is told");
    assert_eq!(rig.asked(), [Asked::Discovery, Asked::Stream]);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streaming_lists_serves_all_the_same() {
    let invalid = Reply::status(422, r#"{"kind":"Status","reason":"Invalid","code":422}"#);
    let rig = Rig::new(
        ListMode::Streaming,
        &eventful(),
        instead(Asked::Stream, u32::MAX, invalid),
    );
    rig.settles("refused").await;
    assert_eq!(
        rig.asked(),
        [Asked::Discovery, Asked::Stream, Asked::List, Asked::Watch]
    );
    // A server that takes the parameter for nothing: a watch from 0, or from a version, without its end.
    let fault: Fault = Box::new(|asked, _, right| match asked {
        Asked::Stream => {
            let lines = right.text();
            Reply::ok(
                lines
                    .split_inclusive('\n')
                    .filter(|line| !line.contains("BOOKMARK"))
                    .collect::<String>(),
            )
            .then(Part::Hang)
        }
        _ => right,
    });
    let rig = Rig::new(ListMode::Streaming, &eventful(), fault);
    rig.settles("ignored").await;
    assert_eq!(
        rig.asked(),
        [Asked::Discovery, Asked::Stream, Asked::List, Asked::Watch]
    );
}
