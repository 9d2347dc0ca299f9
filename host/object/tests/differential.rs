//! The parser against a plain one over `serde_json`: both accept the same texts, and make the same of them.

use std::{collections::BTreeMap, fmt};

use pilothouse_object::{Gvk, Keep, Object};
use proptest::{prelude::*, strategy::ValueTree};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    controller: Option<bool>,
    #[serde(default)]
    block_owner_deletion: Option<bool>,
}

/// What the plain parser makes of an object: `serde_json` finds members as raw values, and reads each one that counts.
#[derive(Debug, Default)]
struct Plain {
    gvk: (String, String),
    texts: [String; 5],
    generation: Option<i64>,
    labels: BTreeMap<String, Option<String>>,
    owners: Vec<Owner>,
    cut: String,
}

type Members<'a> = Vec<(String, &'a RawValue)>;

fn members(json: &str) -> Option<Members<'_>> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Members<'de>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(entry) = map.next_entry()? {
                out.push(entry);
            }
            Ok(out)
        }
    }
    let mut de = serde_json::Deserializer::from_str(json);
    let out = de.deserialize_map(All).ok()?;
    de.end().ok()?;
    Some(out)
}

fn written(members: impl Iterator<Item = (String, String)>) -> String {
    let members: Vec<String> = members
        .map(|(name, value)| format!("{}:{value}", serde_json::to_string(&name).unwrap()))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// The annotations, where `kubectl apply`'s copy is among them.
fn copied(value: &RawValue) -> Option<Members<'_>> {
    members(value.get()).filter(|all| all.iter().any(|(name, _)| name == LAST_APPLIED))
}

fn plain(bytes: &[u8]) -> Option<Plain> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let top = members(text)?;
    let field = |name: &str| top.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    let string = |name: &str| serde_json::from_str::<String>(field(name)?.get()).ok();
    let metadata = field("metadata")?;
    let inner = members(metadata.get())?;
    let mut plain = Plain {
        gvk: (string("apiVersion")?, string("kind")?),
        cut: text.to_owned(),
        ..Plain::default()
    };
    for (name, value) in &inner {
        let value = value.get();
        let texts = ["name", "namespace", "uid", "resourceVersion", "deletionTimestamp"];
        if let Some(at) = texts.iter().position(|text| text == name) {
            plain.texts[at] = serde_json::from_str::<Option<String>>(value).ok()?.unwrap_or_default();
        }
        match &**name {
            "generation" => plain.generation = serde_json::from_str(value).ok()?,
            "labels" => plain.labels = serde_json::from_str::<Option<_>>(value).ok()?.unwrap_or_default(),
            "ownerReferences" => plain.owners = serde_json::from_str::<Option<_>>(value).ok()?.unwrap_or_default(),
            _ => {}
        }
    }
    if plain.texts[0].is_empty() {
        return None;
    }
    let is_cut = |(name, value): &(String, &RawValue)| {
        name == "managedFields" || (name == "annotations" && copied(value).is_some())
    };
    if inner.iter().any(is_cut) {
        let kept = inner
            .iter()
            .filter(|(name, _)| name != "managedFields")
            .map(|(name, value)| {
                let kept = copied(value).filter(|_| name == "annotations").map(|all| {
                    let all = all.into_iter().filter(|(name, _)| name != LAST_APPLIED);
                    written(all.map(|(name, value)| (name, value.get().to_owned())))
                });
                (name.clone(), kept.unwrap_or_else(|| value.get().to_owned()))
            });
        let start = metadata.get().as_ptr() as usize - text.as_ptr() as usize;
        let (before, after) = (&text[..start], &text[start + metadata.get().len()..]);
        plain.cut = format!("{before}{}{after}", written(kept));
    }
    Some(plain)
}

fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let parse = |bytes: &[u8], keep| {
        Object::parse(bytes, None, keep).map_err(|error| TestCaseError::fail(format!("refused: {error}: {text}")))
    };
    let Some(want) = plain(bytes) else {
        prop_assert!(parse(bytes, Keep::Cut).is_err(), "accepted: {text}");
        return Ok(());
    };
    let object = parse(bytes, Keep::Cut)?;
    let head = object.head();
    prop_assert_eq!(head.gvk, &Gvk::from_api_version(&want.gvk.0, &want.gvk.1));
    let own = [
        &*head.key.name,
        head.key.namespace.as_deref().unwrap_or_default(),
        head.uid,
        head.version.as_str(),
        head.deletion.unwrap_or_default(),
    ];
    prop_assert_eq!(own, want.texts.each_ref().map(String::as_str), "{}", text);
    prop_assert_eq!(head.generation, want.generation);
    let labels = want.labels.iter();
    let labels: Vec<_> = labels
        .map(|(k, v)| (k.as_str(), v.as_deref().unwrap_or_default()))
        .collect();
    prop_assert_eq!(head.labels.iter().collect::<Vec<_>>(), labels.clone(), "{}", text);
    for (key, value) in labels {
        prop_assert_eq!(head.labels.get(key), Some(value));
    }
    prop_assert_eq!(head.owners.len(), want.owners.len());
    for (own, want) in head.owners.iter().zip(&want.owners) {
        let texts = [own.api_version, own.kind, own.name, own.uid];
        prop_assert_eq!(texts, [&*want.api_version, &*want.kind, &*want.name, &*want.uid]);
        let flags = [want.controller, want.block_owner_deletion].map(Option::unwrap_or_default);
        prop_assert_eq!([own.controller, own.block_deletion], flags);
    }
    prop_assert_eq!(object.json(), &want.cut);
    let all = parse(bytes, Keep::All)?;
    prop_assert_eq!((all.json(), all.head()), (text.trim(), head));
    prop_assert_eq!(
        &parse(object.json().as_bytes(), Keep::Cut)?,
        &object,
        "nothing is left to cut"
    );
    let metadata = object.metadata_only();
    prop_assert_eq!(metadata.head(), head);
    prop_assert_eq!(&metadata, &parse(bytes, Keep::Metadata)?);
    prop_assert!(
        serde_json::from_str::<serde::de::IgnoredAny>(metadata.json()).is_ok(),
        "{}",
        metadata.json()
    );
    // Whatever stands before and behind it.
    let more = [b"\xff ", text.trim().as_bytes(), b" ,\xff}"].concat();
    let (first, end) = Object::parse_at(&more, 2, None, Keep::Cut).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!((&first, end), (&object, more.len() - 4));
    Ok(())
}

/// A string's text between its quotes, as servers write it, and as nobody should.
fn text() -> impl Strategy<Value = String> {
    let odd = [
        r#"\u0061\n"#,
        r#"\ud83d\ude00"#,
        r#"\ud800"#,
        r#"\udc00x"#,
        r#"\u00zz"#,
        r#"\x"#,
        "\u{1}",
        "\u{7f}",
        r#"\\\""#,
        r#"\/\b\f\r\t"#,
        "\"",
        "\\",
    ];
    prop_oneof![
        40 => "[a-z0-9./-]{0,12}",
        10 => "[ -~äπ😀]{0,20}".prop_map(|text| {
            let quoted = serde_json::to_string(&text).unwrap();
            quoted[1..quoted.len() - 1].to_owned()
        }),
        1 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
    ]
}

fn string() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("\"{text}\""))
}

fn scalar() -> impl Strategy<Value = String> {
    let sound = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.10",
        "-1e5",
        "12345678901234567890123456789",
        "1E+2",
        "9223372036854775807",
        "9223372036854775808",
        "0.5e-7",
    ];
    let odd = [
        "01", "-", "1.", ".5", "1e", "nul", "+1", "truer", "", "NaN", "'a'", "-01", "0x1",
    ];
    prop_oneof![
        30 => string(),
        15 => prop::sample::select(sound.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
    ]
}

fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![60 => Just(""), 12 => prop::sample::select(vec![" ", "\n\t", "\r"]), 1 => prop::sample::select(vec!["\u{a0}", "\u{b}"])]
}

fn joined(space: &str, parts: &[String], open: char, close: char) -> String {
    format!("{open}{space}{}{space}{close}", parts.join(&format!("{space},{space}")))
}

fn object_of(names: &'static [&'static str], value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = prop_oneof![
        30 => prop::sample::select(names).prop_map(str::to_owned),
        1 => text(),
        // Known names with an escape in them.
        1 => prop::sample::select(names).prop_map(|name| name.replacen('a', "\\u0061", 1)),
    ];
    (prop::collection::vec((name, value), 0..6), gap()).prop_map(|(members, space)| {
        let written = |(name, value)| format!("\"{name}\"{space}:{space}{value}");
        let members: Vec<String> = members.into_iter().map(written).collect();
        joined(space, &members, '{', '}')
    })
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), gap()).prop_map(|(all, space)| joined(space, &all, '[', ']')),
            object_of(&["a", "name", "spec", LAST_APPLIED], inner),
        ]
    })
}

/// Mostly this, at times nothing or something else.
fn mostly(what: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    prop_oneof![40 => what, 1 => scalar(), 2 => Just("null".to_owned())]
}

fn metadata() -> impl Strategy<Value = String> {
    const TEXTS: [&str; 5] = [
        "namespace",
        "uid",
        "resourceVersion",
        "deletionTimestamp",
        "creationTimestamp",
    ];
    const OWNER: &[&str] = &["apiVersion", "kind", "name", "uid", "other"];
    let named = |name: &'static str| move |value: String| (name.to_owned(), value);
    let owner = (
        object_of(OWNER, mostly(string())),
        prop::sample::select(vec![
            "",
            r#","controller":true"#,
            r#","controller":null"#,
            r#","blockOwnerDeletion":true,"controller":false"#,
            r#","controller":1"#,
            r#","controller":true,"controller":true"#,
        ]),
    )
        .prop_map(|(owner, flags)| {
            let end = owner.rfind('}').unwrap();
            let flags = if owner.contains(':') { flags } else { "" };
            format!("{}{flags}{}", owner[..end].trim_end(), &owner[end..])
        });
    let owners = prop::collection::vec(owner, 0..3).prop_map(|all| format!("[{}]", all.join(" , ")));
    let member = prop_oneof![
        4 => (prop::sample::select(TEXTS.to_vec()), mostly(string())).prop_map(|(name, value)| (name.to_owned(), value)),
        1 => prop_oneof![6 => Just("3".to_owned()), 1 => scalar()].prop_map(named("generation")),
        2 => mostly(object_of(&["app", "tier", "a/b"], mostly(string()))).prop_map(named("labels")),
        2 => mostly(owners).prop_map(named("ownerReferences")),
        2 => mostly(object_of(&["note", LAST_APPLIED], mostly(string()))).prop_map(named("annotations")),
        2 => value().prop_map(named("managedFields")),
        1 => value().prop_map(named("managed\\u0046ields")),
        1 => string().prop_map(named("n\\u0061me")),
    ];
    let name = prop_oneof![12 => Just("\"x\"".to_owned()), 1 => scalar()];
    (
        prop::collection::vec(member, 0..8),
        name,
        gap(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut all, name, space, at)| {
            all.insert(at.index(all.len() + 1), ("name".to_owned(), name));
            let all: Vec<String> = all
                .into_iter()
                .map(|(name, value)| format!("\"{name}\":{space}{value}"))
                .collect();
            joined(space, &all, '{', '}')
        })
}

fn object() -> impl Strategy<Value = String> {
    let names = vec!["spec", "status", "metadata", "kind", "x", "met\\u0061data"];
    let rest = prop::collection::vec((prop::sample::select(names), value()), 0..4);
    let kind = prop_oneof![19 => Just(r#""apiVersion":"v1","kind":"X""#), 1 => Just(r#""apiVersion":1,"kind":"X""#)];
    (kind, metadata(), rest, gap(), gap(), any::<prop::sample::Index>()).prop_map(
        |(kind, metadata, rest, space, around, at)| {
            let mut members: Vec<String> = rest
                .into_iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            members.insert(
                at.index(members.len() + 1),
                format!("\"metadata\"{space}:{space}{metadata}"),
            );
            members.insert(at.index(members.len() + 1), kind.to_owned());
            format!("{around}{}{around}", joined(space, &members, '{', '}'))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_parsers_agree_on_objects(text in object()) {
        agree(text.as_bytes())?;
    }

    #[test]
    fn both_parsers_agree_on_damaged_objects(
        text in object(),
        wounds in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let mut bytes = text.into_bytes();
        for (at, byte, how) in wounds {
            let at = at.index(bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => { bytes.remove(at); }
                2 if byte < 32 => bytes.truncate(at),
                _ => bytes.insert(at, br#"{}[]",:\ 0n"#[usize::from(byte) % 11]),
            }
        }
        agree(&bytes)?;
    }

    #[test]
    fn both_parsers_agree_on_any_value(value in value(), space in gap()) {
        let metadata = r#"{"name":"x"}"#;
        agree(format!(r#"{{"apiVersion":"v1","kind":"X","metadata":{metadata},"spec":{space}{value}{space}}}"#).as_bytes())?;
    }
}

#[test]
fn enough_of_what_is_made_up_is_sound() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sound = (0..1_000).filter(|_| plain(object().new_tree(&mut runner).unwrap().current().as_bytes()).is_some());
    let sound = sound.count();
    assert!((200..900).contains(&sound), "{sound} of 1,000");
}
