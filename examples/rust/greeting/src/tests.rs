use pilothouse_sdk::testing::Fake;
use pilothouse_sdk::{ApiError, OwnerReference, Retry};

use super::*;

/// A cluster in memory with this plugin and one Greeting.
fn with_greeting(name: &str) -> Fake {
    let fake = Fake::new(plugin());
    let greeting = Greeting {
        metadata: Metadata::named("world").in_namespace("default"),
        spec: GreetingSpec {
            name: name.to_owned(),
            salutation: None,
        },
        status: GreetingStatus::default(),
    };
    fake.create(&greeting).unwrap();
    fake
}

fn greeting(fake: &Fake) -> Object<Greeting> {
    fake.get("default", "world").unwrap().expect("the greeting is there")
}

fn message(fake: &Fake) -> Option<String> {
    fake.get::<ConfigMap>("default", "world")
        .unwrap()
        .and_then(|child| child.data.get("message").cloned())
}

#[test]
fn a_greeting_gets_its_config_map_and_becomes_ready() {
    let fake = with_greeting("World");
    assert!(fake.settle().failures().is_empty());
    assert_eq!(message(&fake).as_deref(), Some("Hello, World!"));
    let greeting = greeting(&fake);
    assert!(greeting.status.conditions.is_true("Ready"));
    assert_eq!(greeting.status.observed_generation, Some(greeting.generation()));
    assert_eq!(fake.events()[0].note, "ConfigMap world created: Hello, World!");
}

#[test]
fn a_config_map_that_someone_changed_or_deleted_is_mended() {
    let fake = with_greeting("World");
    fake.settle();
    fake.edit::<ConfigMap>("default", "world", |child| {
        child.data.insert("message".to_owned(), "Go away".to_owned());
    })
    .unwrap();
    fake.settle();
    assert_eq!(message(&fake).as_deref(), Some("Hello, World!"));
    fake.delete::<ConfigMap>("default", "world").unwrap();
    fake.settle();
    assert_eq!(message(&fake).as_deref(), Some("Hello, World!"));
}

#[test]
fn a_changed_spec_changes_the_greeting() {
    let fake = with_greeting("World");
    fake.settle();
    fake.edit::<Greeting>("default", "world", |greeting| {
        greeting.spec.salutation = Some("Good morning".to_owned())
    })
    .unwrap();
    fake.settle();
    assert_eq!(message(&fake).as_deref(), Some("Good morning, World!"));
    assert_eq!(greeting(&fake).status.observed_generation, Some(2));
}

#[test]
fn nothing_is_written_when_nothing_changed() {
    let fake = with_greeting("World");
    fake.settle();
    fake.take_writes();
    fake.settle();
    assert_eq!(fake.writes(), []);
}

#[test]
fn an_empty_name_is_reported_and_not_tried_again() {
    let fake = with_greeting(" ");
    let settled = fake.settle();
    assert_eq!(settled.failures()[0].retry, Retry::Never);
    let greeting = greeting(&fake);
    assert_eq!(greeting.status.conditions.get("Ready").unwrap().reason, "InvalidSpec");
    assert_eq!(message(&fake), None);
}

#[test]
fn a_deleted_greeting_says_goodbye_and_takes_its_config_map_with_it() {
    let fake = with_greeting("World");
    fake.settle();
    fake.delete::<Greeting>("default", "world").unwrap();
    fake.settle();
    assert!(fake.get::<Greeting>("default", "world").unwrap().is_none());
    assert_eq!(message(&fake), None);
    assert_eq!(fake.events().last().unwrap().note, "Goodbye, World!");
}

#[test]
fn a_config_map_of_somebody_else_is_left_alone() {
    let fake = with_greeting("World");
    let mut theirs = ConfigMap {
        metadata: Metadata::named("world").in_namespace("default"),
        ..ConfigMap::default()
    };
    theirs.data.insert("message".to_owned(), "mine".to_owned());
    theirs.metadata.add_owner(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: "theirs".to_owned(),
        uid: "theirs".to_owned(),
        controller: true,
        block_owner_deletion: false,
    });
    fake.create(&theirs).unwrap();
    let failure = fake.reconcile::<Greeting>("default", "world").unwrap_err();
    assert_eq!(failure.reason, "OwnedByAnother");
    fake.delete::<Greeting>("default", "world").unwrap();
    fake.reconcile::<Greeting>("default", "world").unwrap();
    assert_eq!(message(&fake).as_deref(), Some("mine"));
}

#[test]
fn a_failed_clean_up_keeps_the_finalizer() {
    let fake = with_greeting("World");
    fake.settle();
    fake.delete::<Greeting>("default", "world").unwrap();
    fake.fail_next(Verb::Delete, ApiError::new("InternalError", 500, "etcd is away"));
    assert_eq!(
        fake.reconcile::<Greeting>("default", "world").unwrap_err().reason,
        "InternalError"
    );
    assert_eq!(greeting(&fake).metadata.finalizers, [FINALIZER]);
    fake.settle();
    assert!(fake.get::<Greeting>("default", "world").unwrap().is_none());
}
