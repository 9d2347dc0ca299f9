//! Mutated answers of a real API server against the readers of lists and watches.
//!
//! In the tests a fixed number of rounds runs, about ten seconds' worth without optimisation. By hand, for as long as
//! one likes and from another seed each time:
//! ```text
//! PILOTHOUSE_FUZZ_SECONDS=3600 cargo test -p pilothouse-informer --release --test fuzz
//! ```
//! A round that fails names its seed; `PILOTHOUSE_FUZZ_SEED=SEED` in place of the seconds runs that round alone.
//!
//! What must hold of any bytes: no panic; the same result in whatever pieces they come; nothing is read that the bytes
//! don't hold. What must hold of valid JSON: the result is what serde_json reads in it (objects, their order and their
//! text, version, token, type of event, and that it is an error where it is none of these).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod expect;
mod mutate;

use std::time::Duration;

use pilothouse_informer::read::{Format, Lines, ListReader};
use pilothouse_object::{Gvk, Keep};

const LISTS: [&str; 4] = [
    include_str!("corpus/list-0.json"),
    include_str!("corpus/list-1.json"),
    include_str!("corpus/list-2.json"),
    include_str!("corpus/list-3.json"),
];
const WATCH: &str = include_str!("corpus/watch.jsonl");

/// Rounds in the tests.
const ROUNDS: u64 = 20_000;

fn format(keep: Keep) -> Format {
    Format {
        gvk: Gvk::new("ex.io", "v1", "Widget"),
        keep,
    }
}

/// Ends of pieces: none, a few, or every byte.
fn splits(length: usize, rng: &mut fastrand::Rng) -> Vec<usize> {
    let mut ends: Vec<usize> = match rng.u8(..16) {
        0 => (1..length).collect(),
        n => (0..n).map(|_| rng.usize(..=length)).collect(),
    };
    ends.sort_unstable();
    ends.push(length);
    ends
}

/// What a list is read as, as text. Where its frame breaks, what was read before depends on the pieces, and doesn't
/// matter: the list has failed.
fn read_list(bytes: &[u8], ends: &[usize], keep: Keep) -> Result<expect::List, String> {
    let mut reader = ListReader::new(format(keep));
    let mut out = expect::List::default();
    let mut start = 0;
    for end in ends {
        let page = reader.push(&bytes[start..*end]).map_err(|error| error.to_string())?;
        out.items.extend(page.items.iter().map(expect::Element::of));
        out.unreadable += page.unreadable.len();
        start = *end;
    }
    let (version, token) = reader.finish().map_err(|error| error.to_string())?;
    (out.version, out.token) = (version.to_string(), token);
    Ok(out)
}

fn lists(bytes: &[u8], rng: &mut fastrand::Rng) {
    let keep = if rng.bool() { Keep::All } else { Keep::Cut };
    let whole = read_list(bytes, &[bytes.len()], keep);
    for _ in 0..2 {
        assert_eq!(
            read_list(bytes, &splits(bytes.len(), rng), keep),
            whole,
            "in other pieces"
        );
    }
    if let Ok(list) = &whole {
        assert!(list.items.len() + list.unreadable <= bytes.len());
        let weight: usize = list.items.iter().map(expect::Element::len).sum();
        assert!(
            weight <= 2 * bytes.len() + 1024,
            "{weight} bytes kept of {}",
            bytes.len()
        );
    }
    if let Some(expected) = expect::list(bytes, &format(keep)) {
        assert_eq!(whole.ok(), expected, "valid JSON");
    }
}

/// The lines of a stream, and what is left behind the last.
fn read_lines(bytes: &[u8], ends: &[usize]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut reader = Lines::default();
    let mut out = Vec::new();
    let mut start = 0;
    for end in ends {
        reader.push(&bytes[start..*end], |line| {
            out.push(line.unwrap_or(b"too long").to_vec())
        });
        start = *end;
    }
    (out, reader.rest())
}

fn watches(bytes: &[u8], rng: &mut fastrand::Rng) {
    let blank = |line: &&[u8]| !line.trim_ascii().is_empty();
    let (mut lines, rest) = read_lines(bytes, &splits(bytes.len(), rng));
    lines.extend(rest);
    let expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(blank).collect();
    assert_eq!(lines, expected, "the lines");
    let format = format(if rng.bool() { Keep::All } else { Keep::Cut });
    for line in &lines {
        let event = format.event(line).ok();
        if let Some(expected) = expect::event(line, &format) {
            assert_eq!(
                event.as_ref().map(expect::Event::of),
                expected,
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }
}

fn round(seed: u64) {
    struct Tell(u64);
    impl Drop for Tell {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "run this round alone: PILOTHOUSE_FUZZ_SEED={} cargo test -p pilothouse-informer --test fuzz",
                    self.0
                );
            }
        }
    }
    let _tell = Tell(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let list: &str = rng.choice(LISTS).unwrap();
    lists(&mutate::list(list, WATCH, &mut rng), &mut rng);
    watches(&mutate::watch(WATCH, list, &mut rng), &mut rng);
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

#[test]
fn fuzz() {
    if let Some(seed) = number("PILOTHOUSE_FUZZ_SEED") {
        return round(seed);
    }
    let Some(seconds) = number("PILOTHOUSE_FUZZ_SECONDS") else {
        return (0..ROUNDS).for_each(round);
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "run by hand for a time, from another seed each time"
    )]
    let (began, mut seed) = (std::time::Instant::now(), fastrand::Rng::new().u64(..));
    let mut rounds = 0_u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        round(seed);
        seed = seed.wrapping_add(1);
        rounds += 1;
    }
    eprintln!("{rounds} rounds");
}

#[test]
fn what_real_servers_send_is_read_as_it_is() {
    for text in LISTS {
        let list = read_list(text.as_bytes(), &[text.len()], Keep::All).unwrap();
        assert_eq!(Some(Some(list)), expect::list(text.as_bytes(), &format(Keep::All)));
    }
    let full = read_list(LISTS[1].as_bytes(), &[LISTS[1].len()], Keep::All).unwrap();
    assert_eq!((full.items.len(), full.unreadable, &*full.version), (7, 0, "174"));
    let events: Vec<_> = WATCH
        .lines()
        .map(|line| format(Keep::All).event(line.as_bytes()))
        .collect();
    let count = |what: fn(&expect::Event) -> bool| events.iter().flatten().map(expect::Event::of).filter(what).count();
    assert_eq!(count(|event| matches!(event, expect::Event::Added(_))), 3);
    assert_eq!(count(|event| matches!(event, expect::Event::InitialEnd(_))), 3);
    assert_eq!(count(|event| matches!(event, expect::Event::Bookmark(_))), 2);
    assert_eq!(count(|event| matches!(event, expect::Event::Error)), 2);
}

/// The mutations reach what they are for: valid JSON of the right shape and of wrong ones, and what is no JSON.
#[test]
fn the_rounds_reach_every_kind_of_answer() {
    let (mut right, mut wrong, mut broken, mut unreadable, mut events) =
        (0, 0, 0, 0, std::collections::BTreeMap::new());
    for seed in 0..1_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let list: &str = rng.choice(LISTS).unwrap();
        let bytes = mutate::list(list, WATCH, &mut rng);
        match expect::list(&bytes, &format(Keep::All)) {
            None => broken += 1,
            Some(None) => wrong += 1,
            Some(Some(list)) => {
                right += 1;
                unreadable += list.unreadable;
            }
        }
        for line in mutate::watch(WATCH, list, &mut rng).split(|byte| *byte == b'\n') {
            let kind = match expect::event(line, &format(Keep::All)) {
                None => "broken",
                Some(None) => "wrong",
                Some(Some(event)) => event.name(),
            };
            *events.entry(kind).or_insert(0) += 1;
        }
    }
    assert!(
        right > 100 && wrong > 50 && broken > 100 && unreadable > 50,
        "{right} {wrong} {broken} {unreadable}"
    );
    let kinds = [
        "broken",
        "wrong",
        "added",
        "changed",
        "deleted",
        "bookmark",
        "initial end",
        "error",
        "unknown",
    ];
    for kind in kinds {
        assert!(events.get(kind).is_some_and(|n| *n > 20), "{kind}: {events:?}");
    }
}
