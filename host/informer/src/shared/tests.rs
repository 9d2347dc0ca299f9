use super::*;

fn ns(name: &str) -> Scope {
    Scope::Namespace(name.into())
}

const HOLDS: Fares = Fares {
    committed: true,
    forbidden: false,
};
const LISTS: Fares = Fares {
    committed: false,
    forbidden: false,
};
const FORBIDDEN: Fares = Fares {
    committed: false,
    forbidden: true,
};

/// A watch that brings enough, and one that brings less than is needed now.
fn fits(scope: Scope, fares: Fares) -> (Scope, Fares, bool) {
    (scope, fares, true)
}

fn lesser(scope: Scope, fares: Fares) -> (Scope, Fares, bool) {
    (scope, fares, false)
}

/// What is started, and the places of those that are stopped.
fn decide_of(wanted: &[Names], running: &[(Scope, Fares, bool)]) -> (Vec<Scope>, Vec<u64>) {
    let running: Vec<_> = running
        .iter()
        .zip(0..)
        .map(|((scope, fares, fits), id)| Running {
            id,
            scope: scope.clone(),
            fits: *fits,
            fares: *fares,
        })
        .collect();
    let plan = plan(wanted, &running);
    (plan.start, plan.stop)
}

fn decide(wanted: &[Names], running: &[(Scope, Fares)]) -> (Vec<Scope>, Vec<Scope>) {
    let all_fit: Vec<_> = running
        .iter()
        .cloned()
        .map(|(scope, fares)| fits(scope, fares))
        .collect();
    let (start, stop) = decide_of(wanted, &all_fit);
    let scope = |id: u64| running[usize::try_from(id).unwrap()].0.clone();
    (start, stop.into_iter().map(scope).collect())
}

/// `count` namespaces.
fn many(count: usize) -> Names {
    let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
    Names::of(names.iter().map(String::as_str))
}

#[test]
fn equal_and_narrower_subscriptions_share_one_watch() {
    let wanted = [Names::All, Names::All, Names::of(["a"])];
    assert_eq!(decide(&wanted, &[]), (vec![Scope::All], vec![]));
    assert_eq!(decide(&wanted, &[(Scope::All, LISTS)]), (vec![], vec![]));
}

#[test]
fn without_anybody_who_wants_all_each_namespace_has_its_watch() {
    let wanted = [Names::of(["a", "b"]), Names::of(["b"])];
    assert_eq!(decide(&wanted, &[]), (vec![ns("a"), ns("b")], vec![]));
    assert_eq!(
        decide(&wanted, &[(ns("a"), HOLDS), (ns("c"), HOLDS)]),
        (vec![ns("b")], vec![ns("c")])
    );
}

#[test]
fn a_wider_watch_takes_over_once_it_holds_everything() {
    let wanted = [Names::All, Names::of(["a"])];
    assert_eq!(decide(&wanted, &[(ns("a"), HOLDS)]), (vec![Scope::All], vec![]));
    assert_eq!(
        decide(&wanted, &[(ns("a"), HOLDS), (Scope::All, LISTS)]),
        (vec![], vec![])
    );
    assert_eq!(
        decide(&wanted, &[(ns("a"), HOLDS), (Scope::All, HOLDS)]),
        (vec![], vec![ns("a")])
    );
}

#[test]
fn a_watch_of_all_comes_back_down_once_single_ones_hold_what_is_left() {
    let wanted = [Names::of(["a", "b"])];
    assert_eq!(
        decide(&wanted, &[(Scope::All, HOLDS)]),
        (vec![ns("a"), ns("b")], vec![])
    );
    let rest = |b| [(Scope::All, HOLDS), (ns("a"), HOLDS), (ns("b"), b)];
    assert_eq!(decide(&wanted, &rest(LISTS)), (vec![], vec![]));
    assert_eq!(decide(&wanted, &rest(HOLDS)), (vec![], vec![Scope::All]));
    // One that holds nothing is not waited for.
    assert_eq!(
        decide(&wanted[..1], &[(Scope::All, LISTS)]),
        (vec![ns("a"), ns("b")], vec![Scope::All])
    );
}

#[test]
fn more_than_eight_namespaces_become_one_watch_and_it_comes_down_at_four() {
    let singles: Vec<_> = (0..8).map(|n| (ns(&format!("n{n}")), HOLDS)).collect();
    assert_eq!(decide(&[many(8)], &singles), (vec![], vec![]));
    assert_eq!(decide(&[many(5), many(9)], &singles), (vec![Scope::All], vec![]));
    let mut taken = singles.clone();
    taken.push((Scope::All, HOLDS));
    let all_singles: Vec<_> = singles.iter().map(|(scope, _)| scope.clone()).collect();
    assert_eq!(decide(&[many(9)], &taken), (vec![], all_singles));
    // Coming and going between the two bounds changes nothing.
    for count in 5..=9 {
        assert_eq!(decide(&[many(count)], &[(Scope::All, HOLDS)]), (vec![], vec![]));
    }
    assert_eq!(decide(&[many(4)], &[(Scope::All, HOLDS)]).0.len(), 4);
}

#[test]
fn however_many_namespaces_are_named_they_are_watched_where_all_are_forbidden() {
    let (start, stop) = decide(&[many(20)], &[(Scope::All, FORBIDDEN)]);
    assert_eq!((start.len(), stop), (20, vec![]));
}

#[test]
fn a_watch_that_brings_more_takes_over_once_it_holds_what_the_lesser_one_held() {
    let (a, wanted) = (|| ns("a"), [Names::of(["a"])]);
    assert_eq!(decide_of(&wanted, &[lesser(a(), HOLDS)]), (vec![a()], vec![]));
    let both = |fares| [lesser(a(), HOLDS), fits(a(), fares)];
    assert_eq!(decide_of(&wanted, &both(LISTS)), (vec![], vec![]));
    assert_eq!(decide_of(&wanted, &both(HOLDS)), (vec![], vec![0]));
    // One that holds nothing yet is of no use.
    assert_eq!(decide_of(&wanted, &[lesser(a(), LISTS)]), (vec![a()], vec![0]));
    let all = [lesser(Scope::All, HOLDS), fits(Scope::All, HOLDS)];
    assert_eq!(decide_of(&[Names::All], &all), (vec![], vec![0]));
}

#[test]
fn more_and_wider_at_once_takes_over_from_all_that_was_less() {
    let wanted = [Names::All, Names::of(["a"])];
    let running = |all| [lesser(ns("a"), HOLDS), fits(ns("b"), HOLDS), fits(Scope::All, all)];
    assert_eq!(decide_of(&wanted, &running(LISTS)), (vec![], vec![]));
    assert_eq!(decide_of(&wanted, &running(HOLDS)), (vec![], vec![0, 1]));
}

#[test]
fn of_two_watches_that_bring_the_same_the_one_that_holds_something_stays() {
    let twice = [fits(ns("a"), LISTS), fits(ns("a"), HOLDS)];
    assert_eq!(decide_of(&[Names::of(["a"])], &twice), (vec![], vec![0]));
}

#[test]
fn a_lesser_watch_goes_on_while_the_one_that_brings_more_is_forbidden() {
    let wanted = [Names::All, Names::of(["a"])];
    let running = [lesser(Scope::All, HOLDS), fits(Scope::All, FORBIDDEN)];
    assert_eq!(decide_of(&wanted, &running), (vec![ns("a")], vec![]));
}

#[test]
fn a_forbidden_watch_of_all_falls_back_to_the_namespaces_that_were_named() {
    let wanted = [Names::All, Names::of(["a", "b"])];
    assert_eq!(
        decide(&wanted, &[(Scope::All, FORBIDDEN)]),
        (vec![ns("a"), ns("b")], vec![])
    );
    let lost = Fares {
        committed: true,
        forbidden: true,
    };
    assert_eq!(
        decide(&wanted, &[(Scope::All, lost), (ns("a"), HOLDS)]),
        (vec![ns("b")], vec![])
    );
    let narrow = &wanted[1..];
    let rest = |b| [(Scope::All, lost), (ns("a"), HOLDS), (ns("b"), b)];
    assert_eq!(decide(narrow, &rest(LISTS)), (vec![], vec![]));
    assert_eq!(decide(narrow, &rest(HOLDS)), (vec![], vec![Scope::All]));
}

#[test]
fn what_those_who_want_everything_were_shown_is_not_let_go() {
    assert_eq!(
        decide(&[Names::All], &[(Scope::All, LISTS), (ns("a"), HOLDS)]),
        (vec![], vec![])
    );
}

#[test]
fn the_last_one_gone_stops_the_watch() {
    assert_eq!(decide(&[], &[(Scope::All, LISTS)]), (vec![], vec![Scope::All]));
    assert_eq!(decide(&[], &[(ns("a"), HOLDS)]), (vec![], vec![ns("a")]));
}

#[test]
fn a_subscriber_is_synced_when_every_part_of_its_own_is_there() {
    let committed: BTreeSet<_> = [ns("a")].into();
    assert!(held(&Names::of(["a"]), &committed));
    assert!(!held(&Names::of(["a", "b"]), &committed));
    assert!(!held(&Names::All, &committed));
    assert!(held(&Names::Set(BTreeSet::new()), &committed));
    assert!(held(&Names::of(["a", "x"]), &[Scope::All].into()));
}
