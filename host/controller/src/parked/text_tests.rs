use proptest::prelude::*;

use super::*;

fn record(name: &str, reason: &str) -> Record {
    Record {
        id: ControllerId::new("zoo", "beast"),
        kind: Gvk::new("zoo.pilothouse.dev", "v1", "Beast"),
        key: Key::new(Some("ns"), name),
        object: Some(Stood {
            uid: "0b8e".into(),
            version: Version::new("41"),
        }),
        module: "aa".into(),
        configuration: "bb".into(),
        since: Duration::from_millis(1_767_225_600_250),
        attempts: 3,
        reason: reason.to_owned(),
        errors: vec![Failure {
            at: Duration::from_secs(1_767_225_600),
            attempt: 3,
            reason: reason.into(),
        }],
    }
}

fn of(records: Vec<Record>) -> Kept {
    Kept {
        no_room: 0,
        records,
        heard: BTreeMap::new(),
    }
}

fn text(kept: &Kept) -> String {
    write(kept, Duration::from_secs(1_767_225_601)).0
}

#[test]
fn people_can_read_it() {
    let mut kept = of(vec![record("web", "Invalid: no")]);
    let heard = kept.heard.entry(ControllerId::new("zoo", "beast")).or_default();
    heard.hear(&"v1 ConfigMap label l".into(), Some(&"ns".into()), &Version::new("45"));
    assert_eq!(
        text(&kept),
        r#"{"pilothouse":"parked-keys/v1","written":"2026-01-01T00:00:01Z","note":"Kept by `pilothouse run` over restarts. Without this file every key here is tried again at the start."}
{"heard":{"plugin":"zoo","controller":"beast","window":"v1 ConfigMap label l","versions":{"ns":"45"}}}
{"key":{"plugin":"zoo","controller":"beast","apiVersion":"zoo.pilothouse.dev/v1","kind":"Beast","namespace":"ns","name":"web","uid":"0b8e","resourceVersion":"41","since":"2026-01-01T00:00:00.25Z","attempts":3,"reason":"Invalid: no","module":"aa","configuration":"bb","errors":[{"at":"2026-01-01T00:00:00Z","attempt":3,"reason":"Invalid: no"}]}}
{"end":{"keys":1}}
"#
    );
    assert_eq!(read(text(&kept).as_bytes()), Ok(kept));
}

#[test]
fn nothing_in_it_moves_a_terminal() {
    let hostile = "\u{1b}[2J\u{7f}\u{9b}31m\u{202e}\r\n\u{2028}\0";
    let kept = of(vec![record("web", hostile)]);
    let text = text(&kept);
    let harmless = |c: char| c == '\n' || !matches!(escape_control(&c.to_string()), std::borrow::Cow::Owned(_));
    assert!(text.chars().all(harmless), "{text}");
    assert_eq!(text.lines().count(), 3, "a reason begins no line");
    assert_eq!(read(text.as_bytes()).unwrap().records[0].reason, hostile);
}

#[test]
fn keys_without_room_are_left_out_the_last_first() {
    let many: Vec<_> = (0..MAX_KEYS + 7).map(|at| record(&format!("k{at}"), "no")).collect();
    let (text, left_out) = write(&of(many), Duration::ZERO);
    assert_eq!(left_out, 7);
    let read = read(text.as_bytes()).unwrap();
    assert_eq!(&*read.records[MAX_KEYS - 1].key.name, format!("k{}", MAX_KEYS - 1));

    // Every byte of the longest reasons takes six of the file's.
    let mut long = record("long", &"\u{1}".repeat(MAX_REASON));
    let error = Failure {
        reason: "\u{1}".repeat(MAX_ERROR).into(),
        ..long.errors[0].clone()
    };
    long.errors = vec![error; MAX_ERRORS];
    let long: Vec<_> = (0..MAX_KEYS)
        .map(|at| Record {
            key: Key::new(Some("ns"), &format!("k{at}")),
            ..long.clone()
        })
        .collect();
    let (text, left_out) = write(&of(long), Duration::ZERO);
    assert!(text.len() <= MAX_BYTES && left_out > MAX_KEYS / 2, "{left_out}");
    assert_eq!(super::read(text.as_bytes()).unwrap().records.len(), MAX_KEYS - left_out);
}

#[test]
fn what_would_not_be_read_again_is_left_out_and_costs_no_other_its_place() {
    let stood = |uid: &str, version: &str| {
        let (uid, version) = (uid.into(), Version::new(version));
        Some(Stood { uid, version })
    };
    let long = "7".repeat(MAX_NAME + 1);
    // Names of Roles have no bound of their own.
    let mut records = vec![
        record(&"r".repeat(254), "no"),
        record("uid", "no"),
        record("version", "no"),
    ];
    records[1].object = stood(&long, "1");
    records[2].object = stood("u", &long);
    records.push(record("good", "no"));
    let mut kept = of(records);
    let heard = kept.heard.entry(ControllerId::new("zoo", "beast")).or_default();
    heard.hear(&"fine".into(), Some(&"ns".into()), &Version::new("45"));
    heard.hear(&"odd".into(), Some(&"ns".into()), &Version::new(&long));
    let (text, left_out) = write(&kept, Duration::ZERO);
    assert_eq!(left_out, 3);
    let read = read(text.as_bytes()).unwrap();
    assert_eq!(read.records, [record("good", "no")]);
    let heard = &read.heard[&ControllerId::new("zoo", "beast")];
    assert!(heard.has("fine", Some("ns"), &Version::new("45")) && !heard.has("odd", Some("ns"), &Version::new("1")));
}

#[test]
fn what_was_heard_of_leaves_room_for_the_keys() {
    let mut kept = of(vec![record("web", "no")]);
    let window: Arc<str> = "v1 ConfigMap all".into();
    // What one controller remembers at most takes about 140 KB here.
    for controller in 0..40 {
        let heard = kept
            .heard
            .entry(ControllerId::new("zoo", &format!("c{controller}")))
            .or_default();
        for namespace in 0..MAX_PARTS + 9 {
            let namespace = format!("namespace-number-{namespace}").into();
            heard.hear(&window, Some(&namespace), &Version::new("1234567890"));
        }
    }
    let (text, left_out) = write(&kept, Duration::ZERO);
    assert!(text.len() < MAX_BYTES / 2 && left_out == 0);
    let read = read(text.as_bytes()).unwrap();
    assert_eq!((read.records.len(), read.heard.len() < 40), (1, true));
}

#[test]
fn a_text_that_was_cut_anywhere_is_refused() {
    let whole = text(&of(vec![record("a", "no"), record("b", "é")]));
    assert!(read(whole.as_bytes()).is_ok());
    for length in 0..whole.len() {
        assert!(read(&whole.as_bytes()[..length]).is_err(), "cut after {length} bytes");
    }
}

#[test]
fn each_fault_is_named_with_its_line() {
    let good = text(&of(vec![record("a", "no")]));
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        read(good.replace(from, to).as_bytes()).unwrap_err().to_string()
    };
    for (from, to, why) in [
        (
            "parked-keys/v1",
            "parked-keys/v9",
            "it is of the form `parked-keys/v9`, and this host reads `parked-keys/v1`",
        ),
        (
            "parked-keys/v1",
            "\\u001b[31m",
            "it is of the form `\\u{1b}[31m`, and this host reads `parked-keys/v1`",
        ),
        ("{\"pilothouse\"", "{\"another\"", "line 1: missing field `pilothouse`"),
        (
            "\"attempts\":3",
            "\"attempts\":-3",
            "line 2: invalid value: integer `-3`, expected u32",
        ),
        (
            "\"attempts\":3",
            "\"attempts\":3,\"more\":1",
            "line 2: unknown field `more`",
        ),
        ("\"name\":\"a\"", "\"name\":\"../a\"", "line 2: "),
        ("\"name\":\"a\"", "\"name\":\"\"", "line 2: "),
        ("\"uid\":\"0b8e\",", "", "line 2: uid and resourceVersion come together"),
        ("2026-01-01T00:00:00.25Z", "yesterday", "line 2: `yesterday` is no time"),
        (
            "2026-01-01T00:00:00.25Z",
            "1969-01-01T00:00:00Z",
            "line 2: `1969-01-01T00:00:00Z` is before 1970",
        ),
        ("\"keys\":1", "\"keys\":2", "its end is missing: it was cut"),
        ("{\"end\"", "{\"key\":1}\n{\"end\"", "line 3: "),
        (
            "{\"end\":{\"keys\":1}}",
            "{\"end\":{\"keys\":1}}\n{\"end\":{\"keys\":1}}",
            "line 4: something follows the end",
        ),
    ] {
        let told = refused(from, to);
        assert!(told.starts_with(why), "{told}");
    }
    let twice = text(&of(vec![record("a", "no"), record("a", "no")]));
    assert_eq!(
        read(twice.as_bytes()).unwrap_err().to_string(),
        "line 3: the key stands there twice"
    );
    // It would not be written.
    let long = text(&of(vec![record("a", "LONG")])).replacen("LONG", &"x".repeat(MAX_REASON + 1), 1);
    assert!(read(long.as_bytes()).is_err());
    assert_eq!(read(&vec![b' '; MAX_BYTES + 1]), Err(Refused::TooLong));
    assert_eq!(read(b""), Err(Refused::Cut));
    assert!(read(b"\xff\xfe").is_err());
    let deep = format!("{}\n{}", good.lines().next().unwrap(), "[".repeat(100_000));
    assert!(read(deep.as_bytes()).is_err());
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?"
}

fn time() -> impl Strategy<Value = Duration> {
    (0..4_000_000_000_000_u64).prop_map(Duration::from_millis)
}

/// Whatever a plugin or a server may say.
fn said(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..40).prop_map(move |chars| {
        let text: String = chars.into_iter().collect();
        text[..text.floor_char_boundary(most)].to_owned()
    })
}

prop_compose! {
    fn errors()(errors in prop::collection::vec((time(), any::<u32>(), said(MAX_ERROR)), 0..=MAX_ERRORS)) -> Vec<Failure> {
        errors.into_iter().map(|(at, attempt, reason)| Failure { at, attempt, reason: reason.into() }).collect()
    }
}

prop_compose! {
    fn any_record()(
        (plugin, controller) in (said(64), said(64)),
        namespace in prop::option::of(name()), name in name(),
        object in prop::option::of((said(64), said(64))),
        (module, configuration) in (said(64), said(64)),
        since in time(), attempts in any::<u32>(), reason in said(MAX_REASON), errors in errors(),
    ) -> Record {
        Record {
            id: ControllerId::new(&plugin, &controller),
            kind: Gvk::new("ex.io", "v1", "Widget"),
            key: Key::new(namespace.as_deref(), &name),
            object: object.map(|(uid, version)| Stood { uid: uid.as_str().into(), version: Version::new(&version) }),
            module: module.as_str().into(),
            configuration: configuration.as_str().into(),
            since, attempts, reason, errors,
        }
    }
}

prop_compose! {
    fn any_kept()(
        records in prop::collection::vec(any_record(), 0..6),
        heard in prop::collection::vec((said(64), said(64), said(64), 0..u64::MAX), 0..6),
    ) -> Kept {
        let mut kept = Kept::default();
        for record in records {
            if !kept.records.iter().any(|other| (&other.id, &other.key) == (&record.id, &record.key)) {
                kept.records.push(record);
            }
        }
        for (plugin, window, namespace, version) in heard {
            let heard = kept.heard.entry(ControllerId::new(&plugin, "c")).or_default();
            heard.hear(&window.as_str().into(), Some(&namespace.as_str().into()), &Version::new(&version.to_string()));
        }
        kept
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_again_as_it_was(kept in any_kept(), now in time()) {
        let (text, left_out) = write(&kept, now);
        prop_assert_eq!(left_out, 0);
        prop_assert_eq!(read(text.as_bytes()), Ok(kept));
    }

    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
    }

    /// A wrong byte is refused, or it changes a text and nothing else: no panic, and no list of another length.
    #[test]
    fn a_byte_that_was_turned_over_breaks_nothing(kept in any_kept(), at in any::<prop::sample::Index>(), by in 1..=255_u8) {
        let mut bytes = write(&kept, Duration::ZERO).0.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        if let Ok(read) = read(&bytes) {
            prop_assert_eq!(read.records.len(), kept.records.len());
        }
    }
}
