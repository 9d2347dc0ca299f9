//! Which watches a kind needs, from who subscribes to what. Pure: it decides, it starts nothing.
//!
//! The rule: one watch of all namespaces if anybody wants all, else one for each namespace that somebody wants. A watch of
//! all stays until its last subscriber has left, also if those who are left want less: coming back down would cost a list
//! for each namespace. Nothing that was shown is let go before what takes its place holds it. A watch of all that the
//! server forbids does not serve those who named their namespaces: they get watches of their own until it works.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{store::Scope, view::Names};

/// How a running watch fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fares {
    /// Its first list is in the store.
    pub committed: bool,
    /// The server's last word on it was 403.
    pub forbidden: bool,
}

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Watches to start.
    pub start: Vec<Scope>,
    /// Watches to stop.
    pub stop: Vec<Scope>,
}

/// Compares what subscribers want with what runs.
pub fn plan<'a>(wanted: impl IntoIterator<Item = &'a Names>, running: &BTreeMap<Scope, Fares>) -> Plan {
    let mut everything = false;
    let mut namespaces: BTreeSet<&Arc<str>> = BTreeSet::new();
    for names in wanted {
        match names {
            Names::All => everything = true,
            Names::Set(set) => namespaces.extend(set),
        }
    }
    let all = running.get(&Scope::All).copied();
    let forbidden = all.is_some_and(|all| all.forbidden);
    let all_holds = all.is_some_and(|all| all.committed && !forbidden);
    let holds = |namespace: &Arc<str>| {
        running
            .get(&Scope::Namespace(namespace.clone()))
            .is_some_and(|fares| fares.committed)
    };
    let mut plan = Plan::default();

    if everything && all.is_none() {
        plan.start.push(Scope::All);
    }
    if !all_holds && (!everything || forbidden) {
        for namespace in &namespaces {
            let scope = Scope::Namespace((*namespace).clone());
            if !running.contains_key(&scope) {
                plan.start.push(scope);
            }
        }
    }
    for (scope, fares) in running {
        let stop = match scope {
            Scope::All if everything => false,
            Scope::All if fares.committed && fares.forbidden => namespaces.iter().all(|n| holds(n)),
            Scope::All => namespaces.is_empty() || !fares.committed,
            // What it holds was shown to those who want everything: it stays until the watch of all has it.
            Scope::Namespace(namespace) => all_holds || (!everything && !namespaces.contains(namespace)),
        };
        if stop {
            plan.stop.push(scope.clone());
        }
    }
    plan
}

/// True where every part that these namespaces need is in the store.
pub fn held(wanted: &Names, running: &BTreeMap<Scope, Fares>) -> bool {
    let committed = |scope: &Scope| running.get(scope).is_some_and(|fares| fares.committed);
    match wanted {
        _ if committed(&Scope::All) => true,
        Names::All => false,
        Names::Set(set) => set.iter().all(|n| committed(&Scope::Namespace(n.clone()))),
    }
}

#[cfg(test)]
mod tests {
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

    fn decide(wanted: &[Names], running: &[(Scope, Fares)]) -> (Vec<Scope>, Vec<Scope>) {
        let plan = plan(wanted, &running.iter().cloned().collect());
        (plan.start, plan.stop)
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
    fn a_watch_of_all_stays_for_those_who_want_less_if_it_holds_something() {
        let wanted = [Names::of(["a"])];
        assert_eq!(decide(&wanted, &[(Scope::All, HOLDS)]), (vec![], vec![]));
        assert_eq!(
            decide(&wanted, &[(Scope::All, LISTS)]),
            (vec![ns("a")], vec![Scope::All])
        );
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
        let running: BTreeMap<_, _> = [(ns("a"), HOLDS), (ns("b"), LISTS)].into();
        assert!(held(&Names::of(["a"]), &running));
        assert!(!held(&Names::of(["a", "b"]), &running));
        assert!(!held(&Names::All, &running));
        assert!(held(&Names::Set(BTreeSet::new()), &running));
        assert!(held(&Names::of(["a", "x"]), &[(Scope::All, HOLDS)].into()));
    }
}
