use pilothouse_object::FieldPath;
use proptest::prelude::*;

use super::*;
use crate::testing::{gvk, labelled};

fn fields(paths: &[&str]) -> Projection {
    let paths: Vec<_> = paths.iter().map(|path| FieldPath::parse(path).unwrap()).collect();
    Projection::Fields(Arc::new(FieldSet::new(&paths).unwrap()))
}

fn index(path: &str) -> IndexSpec {
    IndexSpec {
        name: "i".to_owned(),
        paths: vec![FieldPath::parse(path).unwrap()],
    }
}

fn metadata() -> View {
    View {
        projection: Projection::Metadata,
        ..View::everything()
    }
}

#[test]
fn an_index_needs_the_fields_that_it_reads() {
    let need = |index: IndexSpec| Need::of(&gvk(), &metadata(), &[index]).projection;
    assert_eq!(need(index("metadata.labels['a']")), Projection::Metadata);
    assert_eq!(need(index("spec.color")), fields(&["spec.color"]));
    let many: Vec<_> = (0..300).map(|n| index(&format!("spec.x{n}"))).collect();
    assert_eq!(Need::of(&gvk(), &metadata(), &many).projection, Projection::Whole);
}

#[test]
fn of_a_secret_nobody_needs_its_data() {
    let secret = Gvk::new("", "v1", "Secret");
    for projection in [Projection::Uncut, Projection::Whole, fields(&["data.password"])] {
        let view = View {
            projection,
            ..View::everything()
        };
        let need = Need::of(&secret, &view, &[]);
        assert_eq!(need.keep(&secret), Keep::Secret);
        // One need for all: who asks for more or for fields shares the watch of who asks for whole ones.
        assert_eq!(need.projection, Projection::Whole);
    }
    let need = Need::of(&secret, &metadata(), &[]);
    assert_eq!(
        (need.keep(&secret), need.projection),
        (Keep::Metadata, Projection::Metadata)
    );
    let need = Need::of(&secret, &metadata(), &[index("type")]);
    assert_eq!((need.keep(&secret), need.projection), (Keep::Secret, Projection::Whole));
}

#[test]
fn what_is_not_needed_is_left_out() {
    let need = Need {
        projection: fields(&["spec.other"]),
        selector: LabelSelector::parse("app=web").unwrap(),
        name: Some("x".into()),
    };
    let shaped = need.shape(&labelled("a", "x", "u", 1, "app", "web")).unwrap();
    assert!(shaped.json().ends_with(r#","spec":{}}"#), "{}", shaped.json());
    assert_eq!(need.shape(&labelled("a", "y", "u", 1, "app", "web")), None);
    assert_eq!(need.shape(&labelled("a", "x", "u", 1, "app", "db")), None);
}

fn needs() -> impl Strategy<Value = Need> {
    let path = prop::sample::subsequence(vec!["spec.a", "spec.b", "status"], 0..=3);
    let projection = prop_oneof![
        Just(Projection::Metadata),
        path.prop_map(|paths| fields(&paths)),
        Just(Projection::Whole),
        Just(Projection::Uncut),
    ];
    let selector = prop::sample::select(vec!["", "app=web", "app=db"]);
    let name = prop::sample::select(vec![None, Some("x"), Some("y")]);
    (projection, selector, name).prop_map(|(projection, selector, name)| Need {
        projection,
        selector: LabelSelector::parse(selector).unwrap(),
        name: name.map(Into::into),
    })
}

proptest! {
    #[test]
    fn needs_form_a_lattice(a in needs(), b in needs(), c in needs()) {
        let union = a.union(&b);
        prop_assert!(a.covers(&a) && union.covers(&a) && union.covers(&b));
        prop_assert_eq!(a.union(&a), a.clone());
        prop_assert!(union.covers(&b.union(&a)) && b.union(&a).covers(&union));
        prop_assert!(!(a.covers(&b) && b.covers(&c)) || a.covers(&c));
        // Nothing that covers both covers less than their union.
        prop_assert!(!(c.covers(&a) && c.covers(&b)) || c.covers(&union));
        if a.covers(&b) {
            prop_assert!(a.union(&b).covers(&a) && a.covers(&a.union(&b)));
            // Whoever sees the lesser sees the same of what is kept for the greater.
            for label in ["web", "db"] {
                let whole = labelled("n", "x", "u", 1, "app", label);
                let through = a.shape(&whole).and_then(|kept| b.shape(&kept));
                prop_assert_eq!(through.map(|o| o.json().to_owned()), b.shape(&whole).map(|o| o.json().to_owned()));
            }
        }
    }
}
