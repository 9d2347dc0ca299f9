use super::*;
use crate::kept::LAST_APPLIED;

const POD: &str = r#" {"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns","uid":"u1",
  "resourceVersion":"12","generation":3,"labels":{"b":"2","a":"1"},"managedFields":[{"manager":"m"}],
  "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","note":"kept"},
  "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"u0","controller":true}],
  "deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"big":12345678901234567890123456789,"ratio":1.10}} "#;

fn pod(keep: Keep) -> Object {
    Object::parse(POD.as_bytes(), None, keep).unwrap()
}

#[test]
fn the_head_tells_what_the_host_decides_by() {
    let pod = pod(Keep::All);
    let head = pod.head();
    assert_eq!(head.gvk.to_string(), "v1 Pod");
    assert_eq!(head.key.to_string(), "ns/p");
    assert_eq!(
        (head.uid, head.version.as_str(), head.generation),
        ("u1", "12", Some(3))
    );
    assert_eq!(head.labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    assert_eq!(head.deletion, Some("2026-01-01T00:00:00Z"));
    let owner = head.controller_owner().unwrap();
    assert!(owner.is_of(&Gvk::new("apps", "v1beta9", "ReplicaSet")));
    assert!(!owner.is_of(&Gvk::new("", "v1", "ReplicaSet")));
    assert_eq!(pod.json(), POD.trim());
}

#[test]
fn cutting_takes_managed_fields_and_the_applied_copy_and_nothing_else() {
    let pod = pod(Keep::Cut);
    let json = pod.json();
    assert!(
        !json.contains("managedFields") && !json.contains("last-applied"),
        "{json}"
    );
    assert!(json.contains(r#""annotations":{"note":"kept"}"#), "{json}");
    let mut want: serde_json::Value = serde_json::from_str(POD).unwrap();
    want["metadata"].as_object_mut().unwrap().remove("managedFields");
    want["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove(LAST_APPLIED);
    assert_eq!(serde_json::from_str::<serde_json::Value>(json).unwrap(), want);
}

#[test]
fn numbers_keep_their_text() {
    let pod = pod(Keep::Cut);
    assert!(
        pod.json()
            .contains(r#""spec":{"big":12345678901234567890123456789,"ratio":1.10}"#)
    );
}

#[test]
fn metadata_only_drops_the_rest() {
    for object in [
        pod(Keep::Metadata),
        pod(Keep::Cut).metadata_only(),
        pod(Keep::All).metadata_only(),
    ] {
        let value: serde_json::Value = serde_json::from_str(object.json()).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["apiVersion", "kind", "metadata"]);
        assert!(value["metadata"].get("managedFields").is_none());
        assert_eq!(object.head(), pod(Keep::All).head());
    }
}

#[test]
fn a_secrets_data_is_not_kept_but_its_change_is_seen() {
    let secret = |data: &str, uid: &str| {
        let json = format!(
            r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"s","uid":"{uid}"}},"data":{{"k":"{data}"}},"type":"Opaque"}}"#
        );
        Object::parse(json.as_bytes(), None, Keep::Secret).unwrap()
    };
    let object = secret("aHVudGVyMg==", "u");
    assert!(!object.json().contains("aHVudGVyMg"), "{}", object.json());
    assert!(object.json().contains("Opaque"));
    assert!(!format!("{object:?}").contains("aHVudGVyMg"));
    assert_eq!(object.digest(), secret("aHVudGVyMg==", "u").digest());
    assert_ne!(object.digest(), secret("b3RoZXI=", "u").digest());
    assert_ne!(object.digest(), secret("aHVudGVyMg==", "v").digest());
}

#[test]
fn the_digest_leaves_metadata_and_status_out() {
    let object = |rest: &str, version: &str| {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"a","uid":"u","resourceVersion":"{version}"}}{rest}}}"#
        );
        Object::parse(json.as_bytes(), None, Keep::All).unwrap().digest()
    };
    assert_eq!(
        object(r#","spec":{"a":1},"status":{"b":1}"#, "1"),
        object(r#","status":{"b":2},"spec":{"a":1}"#, "2")
    );
    assert_ne!(object(r#","spec":{"a":1}"#, "1"), object(r#","spec":{"a":2}"#, "1"));
}

#[test]
fn items_of_lists_take_the_lists_kind() {
    let gvk = Gvk::new("", "v1", "ConfigMap");
    let item = Object::parse(br#"{"metadata":{"name":"a"}}"#, Some(&gvk), Keep::Cut).unwrap();
    assert_eq!(*item.head().gvk, gvk);
    assert!(Object::parse(br#"{"metadata":{"name":"a"}}"#, None, Keep::Cut).is_err());
}

#[test]
fn broken_objects_are_errors_and_never_panics() {
    for bad in [
        &b""[..],
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"\xff\xfe",
        br#"{"apiVersion":"v1","kind":"X"}"#,
        br#"{"apiVersion":"v1","kind":"X","metadata":[]}"#,
        br#"{"apiVersion":"v1","kind":"X","metadata":{}}"#,
        br#"{"apiVersion":"v1","kind":"X","metadata":{"name":1}}"#,
        br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a","labels":[]}}"#,
        br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a"}} trailing"#,
    ] {
        assert!(
            Object::parse(bad, None, Keep::Cut).is_err(),
            "{:?}",
            String::from_utf8_lossy(bad)
        );
    }
}

#[test]
fn nesting_without_end_costs_no_stack() {
    let deep = format!(
        r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"a"}},"spec":{}{}}}"#,
        "[".repeat(500_000),
        "]".repeat(500_000)
    );
    let object = Object::parse(deep.as_bytes(), None, Keep::Cut).unwrap();
    assert_eq!(object.json(), deep);
    assert_eq!(object.digest().len(), 64);
}

#[test]
fn nulls_in_the_head_count_as_absent() {
    let json = br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a","namespace":null,"labels":null,"ownerReferences":null,"generation":null,"creationTimestamp":null}}"#;
    let object = Object::parse(json, None, Keep::Cut).unwrap();
    assert_eq!(*object.head().key, Key::new(None, "a"));
}

#[test]
fn annotations_that_can_not_be_written_anew_stay_as_they_are() {
    let json = format!(
        r#"{{"apiVersion":"v1","kind":"X","metadata":{{"name":"x","annotations":{{"{LAST_APPLIED}":"","\ud800":""}}}}}}"#
    );
    let object = Object::parse(json.as_bytes(), None, Keep::Cut).unwrap();
    assert_eq!(object.json(), json);
}

#[test]
fn an_answer_of_metadata_alone_takes_the_kind_that_was_asked_for() {
    let json = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}"#;
    let gvk = Gvk::new("apps", "v1", "Deployment");
    let object = Object::parse(json, Some(&gvk), Keep::Metadata).unwrap();
    assert_eq!(*object.head().gvk, gvk);
    assert_eq!(
        object.json(),
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"}}"#
    );
    // Where more was asked for it is no answer.
    let more = Object::parse(json, Some(&gvk), Keep::Cut).unwrap();
    assert_ne!(*more.head().gvk, gvk);
}

#[test]
fn what_was_kept_whole_can_be_cut_later() {
    assert_eq!(pod(Keep::All).cut(), pod(Keep::Cut));
    assert_eq!(pod(Keep::Cut).cut(), pod(Keep::Cut));
}
