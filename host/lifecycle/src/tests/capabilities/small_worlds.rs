//! Against a plain model: what is asked, granted and wanted in worlds so small that they meet often.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

// Small worlds, so that what is asked, granted and wanted meets often.
const GROUPS: [&str; 2] = ["", "x.io"];
const KINDS: [&str; 3] = ["Secret", "ConfigMap", "Thing"];
const PLACES: [&str; 3] = ["a", "kube-system", "c"];
const NAMES: [&str; 3] = ["n", "m", "o"];
const SUBRESOURCES: [&str; 3] = ["status", "scale", "exec"];
/// The namespace of the host.
const HOME: &str = "c";

fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(of.to_vec(), 0..=2).prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

fn some_or_star(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![4 => some(of), 1 => Just(vec!["*".to_owned()])]
}

fn any_permission() -> impl Strategy<Value = Permission> {
    let verbs = subsequence(Verb::ALL.to_vec(), 1..=8);
    (
        select(&GROUPS[..]),
        select(&KINDS[..]),
        verbs,
        some(&PLACES),
        some(&NAMES),
        some(&SUBRESOURCES),
    )
        .prop_map(|(group, kind, verbs, namespaces, names, subresources)| Permission {
            group: group.to_owned(),
            kind: kind.to_owned(),
            verbs,
            namespaces,
            names,
            subresources,
        })
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let all = [
        GrantedVerb::Get,
        GrantedVerb::List,
        GrantedVerb::Watch,
        GrantedVerb::Digest,
        GrantedVerb::Create,
        GrantedVerb::Patch,
        GrantedVerb::Replace,
        GrantedVerb::Delete,
        GrantedVerb::All,
    ];
    let group = prop_oneof![3 => select(&GROUPS[..]), 1 => Just("*")];
    let kind = prop_oneof![3 => select(&KINDS[..]), 1 => Just("*")];
    let verbs = subsequence(all.to_vec(), 1..=4);
    (
        group,
        kind,
        verbs,
        some_or_star(&PLACES),
        some_or_star(&NAMES),
        some_or_star(&SUBRESOURCES),
        any::<bool>(),
    )
        .prop_map(
            |(group, kind, verbs, namespaces, names, subresources, dangerous)| Grant {
                dangerous,
                group: group.to_owned(),
                kind: kind.to_owned(),
                verbs,
                namespaces,
                names,
                subresources,
            },
        )
}

type Wanted = (
    Verb,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
);

fn any_call() -> impl Strategy<Value = Wanted> {
    (
        select(&Verb::ALL[..]),
        select(&GROUPS[..]),
        select(&KINDS[..]),
        proptest::option::of(select(&PLACES[..])),
        proptest::option::of(select(&NAMES[..])),
        proptest::option::weighted(0.3, select(&SUBRESOURCES[..])),
    )
}

/// The meaning of one entry, written down a second time and as plainly as can be. `star` tells grants.
fn entry_covers(
    (group, kind, verbs): (&str, &str, &[Verb]),
    (namespaces, names, subresources): (&[String], &[String], &[String]),
    star: bool,
    wanted: Wanted,
) -> bool {
    let (verb, wanted_group, wanted_kind, namespace, name, subresource) = wanted;
    let sensitive = wanted_group.is_empty() && wanted_kind == "Secret";
    let by_name = group == wanted_group && kind == wanted_kind;
    let by_star = (group == wanted_group || group == "*") && (kind == wanted_kind || kind == "*");
    if !(by_name || (star && by_star && !sensitive)) || !verbs.contains(&verb) {
        return false;
    }
    let within = |list: &[String], one: Option<&str>| match one {
        _ if list.is_empty() || (star && list.contains(&"*".to_owned())) => true,
        None => false,
        Some(one) => list.contains(&one.to_owned()),
    };
    let about_objects = subresources.is_empty() || matches!(verb, Verb::List | Verb::Watch | Verb::Digest);
    let right_part = match subresource {
        None => about_objects,
        Some(part) => {
            let by_star = star && subresources.contains(&"*".to_owned());
            !matches!(verb, Verb::List | Verb::Watch | Verb::Digest)
                && (subresources.contains(&part.to_owned()) || by_star)
        }
    };
    right_part && within(namespaces, namespace) && within(names, name)
}

fn asked_for(p: &Permission, wanted: Wanted) -> bool {
    entry_covers(
        (&p.group, &p.kind, &p.verbs),
        (&p.namespaces, &p.names, &p.subresources),
        false,
        wanted,
    )
}

fn granted(g: &Grant, wanted: Wanted) -> bool {
    let verbs: Vec<Verb> = Verb::ALL
        .into_iter()
        .filter(|verb| g.verbs.iter().any(|own| own.covers(*verb)))
        .collect();
    let (verb, group, kind, namespace, _, subresource) = wanted;
    let is_secret = group.is_empty() && kind == "Secret";
    let writes = matches!(verb, Verb::Create | Verb::Patch | Verb::Replace | Verb::Delete);
    let shows = is_secret && matches!(verb, Verb::Get | Verb::Digest);
    let by_name = !g.names.is_empty() && !g.names.contains(&"*".to_owned());
    let is_dangerous = subresource == Some("exec") || (is_secret && writes) || (shows && !by_name);
    if is_dangerous && !g.dangerous {
        return false;
    }
    let touches_home = namespace == Some(HOME) && (writes || (is_secret && verb == Verb::Get));
    let touches_cluster = namespace == Some("kube-system") && group.is_empty() && kind == "ConfigMap" && writes;
    let named = |place: &str| g.dangerous && g.namespaces.contains(&place.to_owned());
    if (touches_home && !named(HOME)) || (touches_cluster && !named("kube-system")) {
        return false;
    }
    entry_covers(
        (&g.group, &g.kind, &verbs),
        (&g.namespaces, &g.names, &g.subresources),
        true,
        wanted,
    )
}

/// These grants, to a plugin of a host that runs in [`HOME`].
fn at_home(grants: Vec<Grant>) -> Granted {
    let (dangerous, plain) = grants.into_iter().partition(|grant| grant.dangerous);
    Granted {
        plain: Grants::Only(plain),
        dangerous,
        host_namespace: Some(HOME.to_owned()),
    }
}

fn allowed(own: &Capabilities, (verb, group, kind, namespace, name, subresource): Wanted) -> bool {
    own.allows(verb, &Gvk::new(group, "v1", kind), namespace, name, subresource)
        .is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn capabilities_are_exactly_what_one_entry_asks_and_one_entry_grants(
        asked in proptest::collection::vec(any_permission(), 0..4),
        grants in proptest::collection::vec(any_grant(), 0..4),
        calls in proptest::collection::vec(any_call(), 20),
    ) {
        let own = Capabilities::new("x", &asked, &at_home(grants.clone()));
        for wanted in calls {
            let by_asked = asked.iter().any(|p| asked_for(p, wanted));
            let by_granted = grants.iter().any(|g| granted(g, wanted));
            prop_assert_eq!(allowed(&own, wanted), by_asked && by_granted, "{:?}", wanted);
        }
    }

    #[test]
    fn granting_everything_allows_what_is_asked_and_nothing_more(
        asked in proptest::collection::vec(any_permission(), 0..4),
        calls in proptest::collection::vec(any_call(), 20),
    ) {
        let own = Capabilities::new("x", &asked, &Granted { plain: Grants::Everything, ..at_home(Vec::new()) });
        for wanted in calls {
            prop_assert_eq!(allowed(&own, wanted), asked.iter().any(|p| asked_for(p, wanted)));
        }
    }

    #[test]
    fn where_nothing_is_missing_every_place_and_name_that_was_asked_for_is_allowed(
        asked in proptest::collection::vec(any_permission(), 1..4),
        grants in proptest::collection::vec(any_grant(), 0..6),
    ) {
        let granted = at_home(grants);
        let own = Capabilities::new("x", &asked, &granted);
        if missing(&asked, &granted).is_empty() {
            for permission in &asked {
                for &verb in &permission.verbs {
                    for namespace in &permission.namespaces {
                        for name in &permission.names {
                            let part = permission.subresources.first().filter(|_| verb.knows_subresources());
                            let kind = Gvk::new(&permission.group, "v1", &permission.kind);
                            let part = part.map(String::as_str);
                            prop_assert!(own.allows(verb, &kind, Some(namespace), Some(name), part).is_ok());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn granting_what_was_missing_leaves_nothing_missing(
        asked in proptest::collection::vec(any_permission(), 1..4),
        grants in proptest::collection::vec(any_grant(), 0..4),
    ) {
        let lacking = missing(&asked, &at_home(grants.clone()));
        let text = format!("apiVersion: pilothouse.dev/v1\n{}\n", grants_of_config("x", &lacking, Some(HOME)));
        let more = Config::parse(&text, "x.yaml".as_ref()).unwrap().plugin("x").granted();
        if let Grants::Only(plain) = more.plain {
            let all = at_home(grants.into_iter().chain(plain).chain(more.dangerous).collect());
            prop_assert_eq!(missing(&asked, &all), []);
        }
    }
}
