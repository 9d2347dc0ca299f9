//! Two local clusters, one of them with a fault: what must be found is found, and what is equal is not.

use pilothouse_conformance::server::{Answer, Fault, Sent};
use pilothouse_conformance::session::differences;
use pilothouse_conformance::walk::Ground;
use pilothouse_conformance::{Difference, Differences, LocalServer, Script, Server};
use serde_json::json;

/// The script on two local clusters, the second with a fault if one is given.
fn compared(script: &str, fault: Option<Fault>) -> Vec<Difference> {
    let script = Script::parse(script).unwrap();
    let (first, second) = (LocalServer::start(), LocalServer::start());
    crate::runtime().block_on(async {
        let one = Server::at(&first.kubeconfig()).await;
        let mut other = Server::at(&second.kubeconfig()).await;
        if let Some(fault) = fault {
            other = other.with_fault(fault);
        }
        differences([&one, &other], "planted", "planted", &script).await
    })
}

const SCRIPT: &str = "
about: A ConfigMap's life.
steps:
- name: create
  request: POST <configmaps>
  body: { apiVersion: v1, kind: ConfigMap, metadata: { name: a } }
  save: { v: /metadata/resourceVersion }
- { name: watch, request: 'GET <configmaps>?watch=true&resourceVersion=<v>', watch: w }
- { name: change, request: PATCH <configmaps>/a, content-type: merge, body: { data: { k: v } } }
- { name: get, request: GET <configmaps>/a }
- { name: delete, request: DELETE <configmaps>/a }
- { name: gone, request: GET <configmaps>/a }
- { name: events, drain: w, events: 2 }
";

#[test]
fn equal_servers_do_not_differ() {
    assert_eq!(compared(SCRIPT, None), []);
}

#[test]
fn a_field_that_differs_is_found_at_its_step() {
    let fault = |sent: &Sent, answer: &mut Answer| {
        if sent.method == "GET" && answer.code == 200 {
            answer.body["data"]["k"] = json!("w");
        }
    };
    let found = compared(SCRIPT, Some(Box::new(fault)));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].request, "get");
    assert_eq!(found[0].real, "200; data.k: \"v\"");
    assert_eq!(found[0].ours, "200; data.k: \"w\"");
    // Both ways: it fails while it is not listed, and fails when it is listed and gone.
    let list = Differences::parse(&found[0].to_string()).unwrap();
    assert!(Differences::default().check("planted", &found).is_err());
    assert_eq!(list.check("planted", &found), Ok(()));
    assert!(list.check("planted", &compared(SCRIPT, None)).is_err());
}

#[test]
fn codes_headers_versions_and_uids_that_differ_are_found() {
    let spoilt = |what: &str, spoil: fn(&mut Answer)| {
        let fault = move |sent: &Sent, answer: &mut Answer| {
            if sent.method == "GET" && sent.path.ends_with("/a") && answer.code == 200 {
                spoil(answer);
            }
        };
        let found = compared(SCRIPT, Some(Box::new(fault)));
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        assert_eq!(found[0].request, "get", "{what}");
    };
    spoilt("code", |answer| answer.code = 201);
    spoilt("header", |answer| {
        _ = answer.headers.insert("warning".into(), vec!["299 - \"x\"".into()])
    });
    spoilt("new version", |answer| {
        answer.body["metadata"]["resourceVersion"] = json!("999")
    });
    spoilt("version of another", |answer| {
        answer.body["metadata"]["resourceVersion"] = json!("1")
    });
    spoilt("uid", |answer| {
        answer.body["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000")
    });
    spoilt("time", |answer| {
        answer.body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z")
    });
    spoilt("missing", |answer| {
        _ = answer.body.as_object_mut().map(|body| body.remove("kind"))
    });
    spoilt("more", |answer| answer.body["more"] = json!(null));
}

/// Whether an answer is to the deletion of a widget that finalizers hold.
fn holds(sent: &Sent, answer: &Answer) -> bool {
    sent.method == "DELETE" && sent.path.contains("/widgets/") && answer.body["metadata"]["finalizers"].is_array()
}

#[test]
fn a_walk_finds_a_planted_fault_and_shrinks_it_to_what_shows_it() {
    let (first, second) = (LocalServer::start(), LocalServer::start());
    crate::runtime().block_on(async {
        let one = Server::at(&first.kubeconfig()).await;
        let other = Server::at(&second.kubeconfig())
            .await
            .with_fault(Box::new(|sent, answer| {
                if holds(sent, answer) {
                    answer.body["metadata"]["planted"] = json!(true);
                }
            }));
        let ground = Ground::prepare([&one, &other], "planted").await;
        let walked = ground.walk(1, 300, &Differences::default()).await;
        let (difference, script) = walked.found.expect("the fault is found");
        assert!(difference.ours.contains("metadata.planted: true"), "{difference}");
        // A widget must be there, with a finalizer, and be deleted.
        assert!((2..=3).contains(&script.steps.len()), "{}", script.text());
        let last = &script.steps[script.steps.len() - 1];
        assert!(
            last.request.as_deref().unwrap().starts_with("DELETE <widgets>/"),
            "{last:?}"
        );
        // Listed, it does not stop the walk any more.
        let list = Differences::parse(&difference.to_string()).unwrap();
        let again = ground.walk(1, 300, &list).await;
        assert!(again.listed.contains(&difference), "{:?}", again.listed);
    });
}

#[test]
fn a_walk_between_equal_servers_finds_nothing() {
    let (first, second) = (LocalServer::start(), LocalServer::start());
    crate::runtime().block_on(async {
        let (one, other) = (
            Server::at(&first.kubeconfig()).await,
            Server::at(&second.kubeconfig()).await,
        );
        let ground = Ground::prepare([&one, &other], "equal").await;
        for seed in 1..=3 {
            let walked = ground.walk(seed, 300, &Differences::default()).await;
            assert!(walked.found.is_none(), "{:?}", walked.found);
        }
    });
}
