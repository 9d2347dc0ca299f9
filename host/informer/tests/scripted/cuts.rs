//! Streams and lists that break off, come in odd pieces, repeat themselves or dawdle.

use std::time::Duration;

use bytes::Bytes;
use pilothouse_informer::ListMode;

use crate::{
    model::eventful,
    server::{Asked, Fault, Part, Reply, Rig},
};

/// Changes the first answer to this, and no other.
fn first(what: Asked, mut change: impl FnMut(Reply) -> Reply + Send + 'static) -> Fault {
    Box::new(move |asked, before, right| match before {
        0 if asked == what => change(right),
        _ => right,
    })
}

fn the_way_of(what: Asked) -> ListMode {
    match what {
        Asked::Stream => ListMode::Streaming,
        _ => ListMode::Paged,
    }
}

/// How long the right first answer to this is.
async fn length(what: Asked) -> usize {
    let (tell, told) = std::sync::mpsc::channel();
    let rig = Rig::new(
        the_way_of(what),
        &eventful(),
        first(what, move |right| {
            tell.send(right.bytes().len()).unwrap();
            right
        }),
    );
    rig.settles("without a fault").await;
    told.try_recv().unwrap()
}

/// Cuts the first answer to this at every byte.
async fn cut_everywhere(what: Asked, end: Option<Part>) {
    let length = length(what).await;
    assert!(length > 400, "{length}");
    for at in 0..=length {
        let end = end.clone();
        let fault = first(what, move |right| Reply {
            body: std::iter::once(Part::Bytes(Bytes::from(right.bytes()).slice(..at)))
                .chain(end.clone())
                .collect(),
            ..right
        });
        let rig = Rig::new(the_way_of(what), &eventful(), fault);
        rig.settles(format_args!("cut at {at}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_and_its_watch_may_break_off_at_every_byte() {
    cut_everywhere(Asked::Stream, Some(Part::Break)).await;
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_and_its_watch_may_end_at_every_byte() {
    cut_everywhere(Asked::Stream, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_in_pages_may_break_off_at_every_byte() {
    cut_everywhere(Asked::List, Some(Part::Break)).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_in_pages_may_end_at_every_byte() {
    cut_everywhere(Asked::List, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_may_break_off_at_every_byte() {
    cut_everywhere(Asked::Watch, Some(Part::Break)).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_may_end_at_every_byte() {
    cut_everywhere(Asked::Watch, None).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_fall_silent_at_every_line() {
    let whole = length(Asked::Stream).await;
    let mut at = 0;
    while at <= whole {
        let (tell, told) = std::sync::mpsc::channel();
        let fault = first(Asked::Stream, move |right| {
            let bytes = right.bytes();
            let next = bytes[at..]
                .iter()
                .position(|b| *b == b'\n')
                .map_or(bytes.len(), |n| at + n);
            tell.send(next).unwrap();
            Reply {
                body: vec![Part::Bytes(Bytes::from(bytes).slice(..at)), Part::Hang],
                ..right
            }
        });
        let rig = Rig::new(ListMode::Streaming, &eventful(), fault);
        rig.settles(format_args!("silent from {at}")).await;
        at = told.try_recv().unwrap() + 1;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_may_come_in_two_pieces_split_anywhere() {
    for what in [Asked::Stream, Asked::List, Asked::Watch] {
        for at in 0..=length(what).await {
            let fault = first(what, move |right| {
                let bytes = Bytes::from(right.bytes());
                let mut body = vec![
                    Part::Bytes(bytes.slice(..at)),
                    Part::Wait(Duration::from_millis(3)),
                    Part::Bytes(bytes.slice(at..)),
                ];
                body.extend(right.body.into_iter().skip(1));
                Reply { body, ..right }
            });
            let rig = Rig::new(the_way_of(what), &eventful(), fault);
            rig.settles(format_args!("{what:?} split at {at}")).await;
            let asked = rig.asked();
            assert_eq!(
                asked.iter().filter(|asked| **asked == what).count(),
                1,
                "nothing was wrong"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn answers_may_come_byte_by_byte_and_slowly() {
    for what in [Asked::Stream, Asked::List, Asked::Watch] {
        let fault = first(what, |right| {
            let mut body = Vec::new();
            for byte in right.bytes() {
                body.push(Part::Bytes(Bytes::copy_from_slice(&[byte])));
                body.push(Part::Wait(Duration::from_millis(50)));
            }
            body.extend(right.body.into_iter().skip(1));
            Reply {
                body,
                status: right.status,
                retry_after: None,
            }
        });
        let rig = Rig::new(the_way_of(what), &eventful(), fault);
        rig.settles(format_args!("{what:?}")).await;
        assert_eq!(rig.asked().iter().filter(|asked| **asked == what).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn events_may_come_twice_and_long_after() {
    for what in [Asked::Stream, Asked::Watch] {
        let fault = first(what, |right| {
            let mut body = Vec::new();
            let text = right.text();
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            for (i, line) in lines.iter().enumerate() {
                for line in [line, line, &lines[i / 2]] {
                    // An end of the initial events once more is a bookmark, and may not come early.
                    if !line.contains("BOOKMARK") || line == &lines[i] {
                        body.push(Part::Bytes(Bytes::copy_from_slice(line.as_bytes())));
                        body.push(Part::Wait(Duration::from_secs(4)));
                    }
                }
            }
            body.push(Part::Hang);
            Reply { body, ..right }
        });
        let rig = Rig::new(the_way_of(what), &eventful(), fault);
        rig.settles(format_args!("{what:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_break_over_and_over() {
    for lists in [ListMode::Streaming, ListMode::Paged] {
        let fault: Fault = Box::new(|asked, before, right| {
            let bytes = Bytes::from(right.bytes());
            let at = (before as usize + 1) * 97;
            if asked == Asked::Discovery || at >= bytes.len() || before >= 20 {
                return right;
            }
            Reply {
                body: vec![Part::Bytes(bytes.slice(..at)), Part::Break],
                ..right
            }
        });
        let rig = Rig::new(lists, &eventful(), fault);
        rig.settles(format_args!("{lists:?}")).await;
        assert!(rig.asked().len() > 6, "{:?}", rig.asked());
    }
}
