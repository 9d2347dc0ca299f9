use super::*;
use crate::{
    reflector::failure::Trouble,
    testing::{gvk, json},
};

fn format() -> Format {
    Format {
        gvk: gvk(),
        keep: Keep::Cut,
    }
}

fn widget(name: &str) -> String {
    json("a", name, "u", 5, ("", ""), r"re{d]\\")
}

fn list(items: &[&str]) -> String {
    format!(
        r#" {{"kind":"WidgetList","apiVersion":"ex.io/v1","metadata":{{"resourceVersion":"77","continue":"tok"}},"items":[{}]}} "#,
        items.join(" , ")
    )
}

type Read = Result<(Vec<String>, Vec<Unreadable>, Version, Option<String>), ListError>;

/// Reads a list in pieces of this size.
fn read(text: &str, size: usize) -> Read {
    let mut reader = ListReader::new(format());
    let (mut names, mut unreadable) = (Vec::new(), Vec::new());
    for piece in text.as_bytes().chunks(size) {
        let page = reader.push(piece)?;
        names.extend(page.items.iter().map(|item| match item {
            Item::Object(object) => object.key().to_string(),
            Item::Unreadable(key) => format!("!{key}"),
            Item::Gone(key) => unreachable!("a list names no deletions: {key}"),
        }));
        unreadable.extend(page.unreadable);
    }
    let (version, token) = reader.finish()?;
    Ok((names, unreadable, version, token))
}

#[test]
fn a_list_reads_the_same_in_pieces_of_any_size() {
    let text = list(&[&widget("x"), &widget("y"), &widget("z")]);
    for size in 1..text.len() {
        let (names, unreadable, version, token) = read(&text, size).unwrap();
        assert_eq!(names, ["a/x", "a/y", "a/z"]);
        assert!(unreadable.is_empty());
        assert_eq!((version.as_str(), token.as_deref()), ("77", Some("tok")));
    }
}

#[test]
fn a_lists_members_may_come_in_any_order_and_with_others_between() {
    let text = format!(
        r#"{{"items":[{}],"extra":{{"items":[1,2,{{"a":"]}}"}}]}},"n":-1.5e3,"t":true,"s":"\"}}","metadata":{{"resourceVersion":"8"}}}}"#,
        widget("x")
    );
    for size in [1, 3, 1000] {
        let (names, _, version, token) = read(&text, size).unwrap();
        assert_eq!((names, version.as_str(), token), (vec!["a/x".to_owned()], "8", None));
    }
}

#[test]
fn an_empty_list_may_be_written_in_two_ways() {
    for items in ["[]", "null", "[ ]"] {
        let text = format!(r#"{{"metadata":{{"resourceVersion":"8"}},"items":{items}}}"#);
        assert_eq!(read(&text, 2).unwrap().0, [""; 0]);
    }
}

#[test]
fn items_without_a_kind_of_their_own_have_the_lists() {
    let text = list(&[r#"{"metadata":{"name":"x","namespace":"a"}}"#]);
    let mut reader = ListReader::new(format());
    let page = reader.push(text.as_bytes()).unwrap();
    let [Item::Object(object)] = &page.items[..] else {
        panic!("{page:?}");
    };
    assert_eq!(*object.head().gvk, gvk());
}

#[test]
fn rule_40_an_object_that_can_not_be_read_costs_itself_alone() {
    let bad = [
        r#"{"metadata":{"name":"bad","namespace":"a","labels":5}}"#,
        r#"{"metadata":{}}"#,
        "17",
        "null",
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"other"}}"#,
        "{]",
        "\"text\"",
    ];
    for bad in bad {
        let (names, unreadable, ..) = read(&list(&[&widget("x"), bad, &widget("y")]), 7).unwrap();
        assert_eq!(unreadable.len(), 1, "{bad}");
        let names: Vec<_> = names.iter().filter(|name| !name.starts_with('!')).collect();
        assert_eq!(names, ["a/x", "a/y"], "{bad}");
    }
    let (names, unreadable, ..) = read(&list(&[bad[0]]), 9).unwrap();
    assert_eq!(names, ["!a/bad"], "what the store holds under its name stays");
    assert!(unreadable[0].to_string().starts_with("a/bad: "), "{}", unreadable[0]);
}

#[test]
fn a_truncated_list_is_an_error_wherever_it_is_cut() {
    let text = list(&[&widget("x"), &widget("y")]);
    let text = text.trim();
    for end in 0..text.len() {
        assert!(read(&text[..end], 11).is_err(), "cut at {end}");
    }
}

#[test]
fn what_is_no_list_is_an_error_and_never_an_empty_list() {
    for text in [
        "",
        "[]",
        "null",
        "{}",
        "<html></html>",
        r#"{"metadata":{"resourceVersion":"5"}}"#,
        r#"{"items":[]}"#,
        r#"{"items":"x","metadata":{"resourceVersion":"5"}}"#,
        r#"{"items":{"a":1},"metadata":{"resourceVersion":"5"}}"#,
        r#"{"items":[],"metadata":"x"}"#,
        r#"{"items":[],"metadata":{"resourceVersion":5}}"#,
        r#"{"items":[,],"metadata":{"resourceVersion":"5"}}"#,
        r#"{"items":[1,],"metadata":{"resourceVersion":"5"}}"#,
        r#"{"items":[1 2],"metadata":{"resourceVersion":"5"}}"#,
        r#"{"items":[]"metadata":{"resourceVersion":"5"}}"#,
        r#"{"items":[],}"#,
        r#"{"items":[],"metadata":{"resourceVersion":"5"}}{}"#,
        r#"{"kind":"Status","metadata":{},"status":"Failure","code":500}"#,
    ] {
        assert!(read(text, 5).is_err(), "{text}");
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let object = format!(r#"{{"metadata":{{"name":"deep","namespace":"a"}},"spec":{deep}}}"#);
    let (names, unreadable, ..) = read(&list(&[&object, &widget("x")]), 4096).unwrap();
    assert_eq!(
        names.len() + unreadable.len() - usize::from(names.contains(&"!a/deep".to_owned())),
        2
    );
    assert!(names.contains(&"a/x".to_owned()));
    let _ = format().event(format!(r#"{{"type":"ADDED","object":{object}}}"#).as_bytes());
    let _ = format().event(deep.as_bytes());
}

#[test]
fn an_object_beyond_the_limit_is_left_out_and_the_list_goes_on() {
    let mut reader = ListReader::new(format());
    let head = br#"{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"huge"},"spec":""#;
    assert!(reader.push(head).unwrap().items.is_empty());
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..40 {
        reader.push(&piece).unwrap();
        assert!(reader.value.capacity() <= 2 * MAX_OBJECT);
    }
    let page = reader.push(format!(r#""}},{}]}}"#, widget("x")).as_bytes()).unwrap();
    assert_eq!((page.items.len(), page.unreadable.len()), (1, 1));
    assert!(page.unreadable[0].why.contains("32 MiB"));
    assert_eq!(reader.finish().unwrap().0.as_str(), "5");
}

#[test]
fn a_watch_line_is_read_with_type_and_object_in_either_order() {
    let object = widget("x");
    for line in [
        format!(r#"{{"type":"ADDED","object":{object}}}"#),
        format!(r#"{{"object":{object},"type":"ADDED"}}"#),
        format!(r#" {{ "extra" : [1] , "object" : {object} , "type" : "ADDED" }} "#),
    ] {
        let event = format().event(line.as_bytes()).unwrap();
        assert!(
            matches!(&event, Event::Added(Change::Put(o)) if o.key().to_string() == "a/x"),
            "{event:?}"
        );
    }
}

#[test]
fn an_event_reads_the_same_however_it_is_written() {
    let sound = widget("x");
    let other = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"other"}}"#;
    let nameless = r#"{"apiVersion":"ex.io/v1","kind":"Widget","metadata":{"labels":{}}}"#;
    for kind in [
        "ADDED",
        "MODIFIED",
        "DELETED",
        "BOOKMARK",
        "ERROR",
        "SOMETHING",
        "ADD\\u0045D",
    ] {
        for object in [&sound, other, nameless, "17", "{", ""] {
            for rest in ["", r#","type":"ADDED""#, "}", " \r"] {
                let plain = format!(r#"{{"type":"{kind}","object":{object}{rest}}}"#);
                let spaced = format!(r#"{{ "type":"{kind}","object":{object}{rest}}}"#);
                let told = |line: &str| format!("{:?}", format().event(line.as_bytes()).map_err(|error| error.key));
                assert_eq!(told(&plain), told(&spaced), "{plain}");
                let known = ["ADDED", "MODIFIED", "DELETED"].contains(&kind) && object == sound;
                let in_one = format().plain_event(plain.as_bytes()).is_some();
                assert_eq!(in_one, known && rest.trim().is_empty(), "{plain}");
            }
        }
    }
}

#[test]
fn each_type_of_event_is_told_apart() {
    let event =
        |kind: &str, object: &str| format().event(format!(r#"{{"type":"{kind}","object":{object}}}"#).as_bytes());
    let object = widget("x");
    assert!(matches!(event("MODIFIED", &object), Ok(Event::Changed(Change::Put(_)))));
    assert!(matches!(
        event("DELETED", &object),
        Ok(Event::Changed(Change::Deleted(_)))
    ));
    assert!(matches!(event("SOMETHING", &object), Ok(Event::Unknown)));
    let bookmark = r#"{"kind":"Widget","apiVersion":"ex.io/v1","metadata":{"resourceVersion":"99"}}"#;
    assert!(matches!(event("BOOKMARK", bookmark), Ok(Event::Bookmark(v)) if v.as_str() == "99"));
    for (annotations, is_end) in [
        (r#"{"k8s.io/initial-events-end":"true"}"#, true),
        (r#"{"k8s.io/initial-events-end":"false"}"#, false),
        (r#"{"other":"true"}"#, false),
        ("null", false),
    ] {
        let bookmark = format!(r#"{{"metadata":{{"resourceVersion":"99","annotations":{annotations}}}}}"#);
        let event = event("BOOKMARK", &bookmark).unwrap();
        let found = match &event {
            Event::InitialEnd(version) => (version.as_str(), true),
            Event::Bookmark(version) => (version.as_str(), false),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, ("99", is_end), "{annotations}");
    }
    let status = r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old"}"#;
    assert!(matches!(event("ERROR", status), Ok(Event::Error(f)) if f.trouble == Trouble::Expired));
}

#[test]
fn rule_40_a_line_that_can_not_be_read_is_an_error_of_its_own() {
    let object = widget("x");
    for line in [
        "{}".to_owned(),
        "garbage".to_owned(),
        format!(r#"{{"type":"ADDED","object":{}"#, &object[..40]),
        format!(r#"{{"object":{object}}}"#),
        r#"{"type":"ADDED"}"#.to_owned(),
        r#"{"type":"ADDED","object":{"metadata":{"name":7}}}"#.to_owned(),
        r#"{"type":"BOOKMARK","object":{}}"#.to_owned(),
        r#"{"type":5,"object":{}}"#.to_owned(),
        "\u{0}".to_owned(),
    ] {
        assert!(format().event(line.as_bytes()).is_err(), "{line}");
    }
    assert!(format().event(b"\xff\xfe{}").is_err());
}

fn lines(pieces: &[&[u8]]) -> (Vec<Option<String>>, Option<String>) {
    let mut reader = Lines::default();
    let mut out = Vec::new();
    for piece in pieces {
        reader.push(piece, |line| {
            out.push(line.map(|l| String::from_utf8_lossy(l).into_owned()))
        });
    }
    (
        out,
        reader.rest().map(|rest| String::from_utf8_lossy(&rest).into_owned()),
    )
}

#[test]
fn lines_are_whole_however_the_bytes_come() {
    let text = b"one\n\n  \ntwo\r\nthree\nfou";
    for size in 1..=text.len() {
        let (out, rest) = lines(&text.chunks(size).collect::<Vec<_>>());
        let out: Vec<_> = out.iter().flatten().map(|l| l.trim()).collect();
        assert_eq!(out, ["one", "two", "three"]);
        assert_eq!(rest.as_deref(), Some("fou"));
    }
    assert_eq!(lines(&[b"a\n"]).1, None);
}

#[test]
fn a_line_beyond_the_limit_is_skipped_and_the_next_is_read() {
    let piece = vec![b'x'; 1 << 20];
    let mut pieces: Vec<&[u8]> = vec![b"a\n"];
    pieces.extend(std::iter::repeat_n(&piece[..], 40));
    pieces.push(b"end\nb\n");
    let (out, rest) = lines(&pieces);
    assert_eq!(out, [Some("a".to_owned()), None, Some("b".to_owned())]);
    assert_eq!(rest, None);
    let whole = [&piece[..]; 33].concat();
    let (out, _) = lines(&[&[&whole[..], b"\nb\n"].concat()]);
    assert_eq!(out, [None, Some("b".to_owned())]);
}

#[test]
fn no_byte_salad_makes_a_reader_panic() {
    let text = format!(
        "{}\n{}",
        list(&[&widget("x"), r#"{"metadata":{"name":"é\u00e9"}}"#]),
        r#"{"type":"ADDED","object":{"metadata":{"name":"x"}}}"#
    );
    for seed in 0..3_000 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut bytes = text.clone().into_bytes();
        for _ in 0..dice.usize(1..6) {
            let at = dice.usize(..bytes.len());
            match dice.u8(..4) {
                0 => bytes[at] = dice.u8(..),
                1 => bytes[at] = *dice.choice(br#"{}[]",:\ "#).unwrap_or(&b' '),
                2 if bytes.len() > 1 => {
                    bytes.remove(at);
                }
                _ => bytes.truncate(at.max(1)),
            }
        }
        let mut reader = ListReader::new(format());
        for piece in bytes.chunks(dice.usize(1..50)) {
            if reader.push(piece).is_err() {
                break;
            }
        }
        let _ = reader.finish();
        let _ = format().event(&bytes);
    }
}
