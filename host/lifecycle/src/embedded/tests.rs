use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tests::{least_manifest, whole_manifest, with, without};

/// A component with a core module inside, which holds custom sections of our names that are not the component's own.
fn component() -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    sections::append(&mut module, MANIFEST_SECTION, b"nested").unwrap();
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    component.extend_from_slice(&[1, u8::try_from(module.len()).unwrap()]);
    component.extend_from_slice(&module);
    sections::append(&mut component, "producers", b"\0").unwrap();
    component
}

fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "greetings.demo.io"},
        "spec": {
            "group": "demo.io", "scope": "Namespaced", "names": {"kind": "Greeting", "plural": "greetings"},
            "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object"}}}, {"name": "v2"}],
        },
    })
}

fn crd_named(plural: &str) -> Crd {
    let named = with(crd(), "/metadata/name", json!(format!("{plural}.demo.io")));
    let named = with(named, "/spec/names/plural", json!(plural));
    Crd::parse(&named.to_string()).unwrap()
}

fn everything() -> Embedded {
    Embedded {
        manifest: Some(Manifest::parse(&whole_manifest().to_string()).unwrap()),
        crds: vec![crd_named("a"), crd_named("b")],
        scenarios: vec![
            Scenario::new("first/a.yaml", "a: \"\u{e9}\n\"").unwrap(),
            Scenario::new("z", "").unwrap(),
        ],
    }
}

fn with_section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = component();
    sections::append(&mut out, name, data).unwrap();
    out
}

#[track_caller]
fn refused(name: &str, data: impl AsRef<[u8]>) -> String {
    let text = read(&with_section(name, data.as_ref())).unwrap_err().to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    text
}

#[test]
fn what_is_embedded_is_read_as_it_was_written() {
    let packed = embed(&component(), everything()).unwrap();
    assert_eq!(read(&packed).unwrap(), everything());
    assert_eq!(read(&component()).unwrap(), Embedded::default());
    assert_eq!(embed(&component(), Embedded::default()).unwrap(), component());
}

#[test]
fn the_same_input_gives_the_same_bytes_in_whatever_order_it_is_named() {
    let mut turned = everything();
    turned.crds.reverse();
    turned.scenarios.reverse();
    let packed = embed(&component(), everything()).unwrap();
    assert_eq!(embed(&component(), turned).unwrap(), packed);
    assert_eq!(embed(&packed, everything()).unwrap(), packed);
}

#[test]
fn embedding_replaces_what_was_embedded_and_leaves_the_rest() {
    let packed = embed(&component(), everything()).unwrap();
    assert_eq!(embed(&packed, Embedded::default()).unwrap(), component());
    // Even what nobody can read.
    let broken = with_section(CRDS_SECTION, b"rubbish");
    assert_eq!(embed(&broken, Embedded::default()).unwrap(), component());
}

#[test]
fn a_section_within_a_nested_module_is_not_the_components_own() {
    // `component` has one inside, whose content is no JSON.
    assert_eq!(read(&component()).unwrap().manifest, None);
}

#[test]
fn only_components_are_read() {
    let told = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(
        told(b"\0asm\x01\0\0\0"),
        "it is a core WebAssembly module and no component; turn it into one with `pilothouse pack`"
    );
    assert!(told(b"").contains("no WebAssembly component"));
    assert!(told(b"\0asm").contains("no WebAssembly component"));
    assert!(told(b"\0asm\x0d\0\x01\0\0\xff\xff\xff\xff\x1f").contains("the section at byte 8 can't be read"));
}

#[test]
fn a_section_that_is_there_twice_is_refused() {
    let once = with_section(SCENARIOS_SECTION, br#"{"version":1,"files":[]}"#);
    assert!(read(&once).is_ok());
    let mut twice = once;
    sections::append(&mut twice, SCENARIOS_SECTION, br#"{"version":1,"files":[]}"#).unwrap();
    assert!(
        read(&twice)
            .unwrap_err()
            .to_string()
            .contains("pilothouse:scenarios: is in the component twice")
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let long = vec![b' '; (4 << 20) + 1];
    assert!(refused(CRDS_SECTION, long).contains("holds 4194305 bytes; 4194304 are the most"));
    let files: Vec<Value> = (0..=MAX_SCENARIOS)
        .map(|i| json!({"name": i.to_string(), "text": ""}))
        .collect();
    let many = json!({"version": 1, "files": files}).to_string();
    assert!(refused(SCENARIOS_SECTION, many).contains("holds 1001 entries; 1000 are the most"));
    let crds: Vec<Value> = (0..=MAX_CRDS).map(|_| crd()).collect();
    let many = json!({"version": 1, "crds": crds}).to_string();
    assert!(refused(CRDS_SECTION, many).contains("holds 257 entries; 256 are the most"));
    assert!(Scenario::new("a", "x".repeat(MAX_SCENARIO_BYTES)).is_ok());
    assert!(Scenario::new("a", "x".repeat(MAX_SCENARIO_BYTES + 1)).is_err());
    let eight: Vec<Scenario> = (0..8)
        .map(|i| Scenario::new(i.to_string(), "x".repeat(MAX_SCENARIO_BYTES)).unwrap())
        .collect();
    let most = Embedded {
        scenarios: eight,
        ..Embedded::default()
    };
    let refusal = embed(&component(), most).unwrap_err().to_string();
    assert!(refusal.contains("4194304 are the most; embed less"), "{refusal}");
}

#[test]
fn a_section_of_a_later_version_asks_for_a_later_host() {
    let text = refused(MANIFEST_SECTION, r#"{"version":2,"something":"else"}"#);
    assert!(
        text.contains("is of version 2; this host reads version 1; update the host"),
        "{text}"
    );
}

#[test]
fn hostile_sections_are_refused_with_their_place_and_without_control_characters() {
    for (section, data, expected) in [
        (MANIFEST_SECTION, "", "pilothouse:manifest: EOF"),
        (MANIFEST_SECTION, r#"{"version":1}"#, "missing field `manifest`"),
        (
            MANIFEST_SECTION,
            r#"{"version":1,"manifest":{},"\u001b[2J":1}"#,
            "unknown field",
        ),
        (
            MANIFEST_SECTION,
            r#"{"version":1,"manifest":{"name":"x"}}"#,
            "missing field",
        ),
        (
            MANIFEST_SECTION,
            r#"{"version":1,"version":1,"manifest":{}}"#,
            "duplicate field",
        ),
        (
            CRDS_SECTION,
            r#"{"version":1,"crds":[{"kind":"\u001b[31m"}]}"#,
            "pilothouse:crds: crds[0]: is `\\u{1b}[31m`",
        ),
        (
            CRDS_SECTION,
            r#"{"version":1,"crds":[7]}"#,
            "pilothouse:crds: crds[0]: invalid type",
        ),
        (
            SCENARIOS_SECTION,
            r#"{"version":1,"files":[{"name":"../a","text":""}]}"#,
            "files[0]: ../a: is no name",
        ),
        (
            SCENARIOS_SECTION,
            r#"{"version":1,"files":[{"name":"a","text":""},{"name":"a","text":"b"}]}"#,
            "holds `a` twice",
        ),
    ] {
        let text = refused(section, data);
        assert!(text.contains(expected), "{text}");
    }
    assert!(refused(MANIFEST_SECTION, b"\xff\xfe").starts_with("pilothouse:manifest: "));
    let deep = format!(
        r#"{{"version":1,"crds":[{}{}]}}"#,
        "[".repeat(1 << 20),
        "]".repeat(1 << 20)
    );
    assert!(refused(CRDS_SECTION, deep).starts_with("pilothouse:crds: "));
}

#[test]
fn only_whole_definitions_of_kinds_are_taken() {
    let crd_json = crd().to_string();
    let taken = Crd::parse(&crd_json).unwrap();
    assert_eq!(taken.json(), crd_json);
    assert_eq!((&*taken.name, &*taken.kind), ("greetings.demo.io", "Greeting"));
    assert_eq!(taken.versions, ["v1", "v2"]);
    for (bad, expected) in [
        (
            with(crd(), "/apiVersion", json!("v1")),
            "and no CustomResourceDefinition",
        ),
        (
            with(crd(), "/metadata/name", json!("other.demo.io")),
            "metadata.name: is `other.demo.io`",
        ),
        (with(crd(), "/spec/versions", json!([])), "1 to 64 versions"),
        (with(crd(), "/spec/versions/0/name", json!("V 1")), "1 to 64 versions"),
        (with(crd(), "/spec/names/kind", json!("")), "1 to 63 bytes"),
        (without(crd(), "/spec/group"), "missing field `group`"),
    ] {
        let text = Crd::parse(&bad.to_string()).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn names_of_scenarios_stay_below_the_folder_they_are_written_to() {
    for good in ["a", "a/b.yaml", "_x/A-1/b_2.json", "1/2/3/4/5/6/7/8"] {
        assert!(Scenario::new(good, "").is_ok(), "{good}");
    }
    let long = "a".repeat(201);
    for bad in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        ".hidden",
        "-rf",
        "a\\b",
        "a:b",
        "a b",
        "a\0",
        "\u{e9}",
        "1/2/3/4/5/6/7/8/9",
        &long,
    ] {
        assert!(Scenario::new(bad, "").is_err(), "{bad:?}");
    }
}

#[test]
fn a_manifest_that_differs_from_what_describe_says_is_refused() {
    let packed = embed(&component(), everything()).unwrap();
    let same = everything().manifest.unwrap();
    let other = Manifest::parse(&least_manifest().to_string()).unwrap();
    assert_eq!(check("greeting", &packed, &same), Ok(()));
    assert_eq!(check("greeting", &component(), &other), Ok(()), "nothing is embedded");
    let refusal = check("greeting", &packed, &other).unwrap_err();
    assert_eq!(refusal.step, Step::Manifest);
    assert!(
        refusal
            .why
            .contains("says something else than the manifest that is embedded")
    );
    let broken = check("greeting", &with_section(CRDS_SECTION, b"{"), &same).unwrap_err();
    assert!(
        broken
            .why
            .starts_with("what is embedded in it can't be read: pilothouse:crds: "),
        "{broken}"
    );
}

proptest! {
    #[test]
    fn a_module_that_was_cut_off_is_refused_or_says_less_and_never_something_else(at in 0usize..4000) {
        let packed = embed(&component(), everything()).unwrap();
        let whole = everything();
        if let Ok(read) = read(&packed[..at.min(packed.len())]) {
            // Cut between two sections, of which the manifest comes first.
            prop_assert!(read.manifest.is_none() || read.manifest == whole.manifest);
            prop_assert!(read.crds.is_empty() || read.crds == whole.crds);
            prop_assert!(read.scenarios.is_empty() || read.scenarios == whole.scenarios);
        }
    }

    #[test]
    fn flipped_bits_never_break_the_reader_nor_its_bounds(flips in prop::collection::vec((0usize..4000, 0u8..8), 1..4)) {
        let mut packed = embed(&component(), everything()).unwrap();
        for (at, bit) in flips {
            let at = at % packed.len();
            packed[at] ^= 1 << bit;
        }
        match read(&packed) {
            Ok(read) => {
                prop_assert!(read.crds.len() <= MAX_CRDS && read.scenarios.len() <= MAX_SCENARIOS);
                // What could be read can be written, and is read the same.
                let sorted = read.crds.is_sorted_by(|a, b| a.name < b.name)
                    && read.scenarios.is_sorted_by(|a, b| a.name < b.name);
                if sorted {
                    let again = embed(&component(), read.clone()).unwrap();
                    prop_assert_eq!(super::read(&again).unwrap(), read);
                }
            }
            Err(problem) => {
                // A manifest may have several problems, each on a line of its own.
                let text = problem.to_string();
                let escaped = !text.lines().any(|line| line.contains(char::is_control));
                prop_assert!(escaped);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        component.extend_from_slice(&bytes);
        if let Ok(read) = read(&component) {
            prop_assert_eq!(read, Embedded::default());
        }
    }
}
