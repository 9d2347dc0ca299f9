//! Which watches a kind needs, from who subscribes to what. Pure: it decides, it starts nothing.
//!
//! The rule:
//! - All watches of a kind bring the same, the union of what its subscribers need ([`Need`]): whole objects if anybody
//!   wants them whole, else the fields that were named, else metadata; those with one label selector, or of one name,
//!   if all ask for the same, else every object.
//! - One watch of all namespaces if anybody wants all or more than [`MANY`] are named, else one for each that is named.
//!   It comes back down once nobody wants all and no more than [`FEW`] are named.
//! - Who needs more is waited for: the watch that brings more takes over once it holds what the lesser one held, and
//!   until then those who need less go on with that.
//! - When less is needed, what runs brings less from then on and what is held is cut, without a list.
//! - Nothing that was shown is let go before what takes its place holds it.
//! - A watch of all that the server forbids does not serve those who named their namespaces, however many: they get
//!   watches of their own until it works. Who wants all waits for it.
//! - Nobody there, nothing runs.

pub mod need;
pub mod registry;
pub mod wire;

use std::{collections::BTreeSet, sync::Arc};

use crate::{shared::need::Need, store::Scope, view::Names};

/// So many namespaces have a watch each. A watch that runs costs an API server nothing measurable, a list of everything
/// seconds of CPU in a large cluster, so single watches pay for long. But each is a stream, and Go's HTTP/2 server
/// gives a connection 250 at a time: with eight for a kind, thirty kinds fit.
pub const MANY: usize = 8;

/// A watch of all gives way to so many single ones: half of [`MANY`], so that one namespace that comes and goes does
/// not cost a list each time.
pub const FEW: usize = MANY / 2;

/// How a running watch fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fares {
    /// Its first list is in the store.
    pub committed: bool,
    /// The server's last word on it was 403.
    pub forbidden: bool,
}

/// A watch that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its number; a younger one has a higher.
    pub id: u64,
    /// What it watches.
    pub scope: Scope,
    /// It brings what is needed now, not less.
    pub fits: bool,
    /// How it fares.
    pub fares: Fares,
}

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Watches to start.
    pub start: Vec<Scope>,
    /// Watches to stop.
    pub stop: Vec<u64>,
    /// A watch of all is to serve everybody.
    pub wide: bool,
}

/// What all of these need together; none where there is nobody.
pub fn union<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Option<Need> {
    let mut needs = needs.into_iter();
    let first = needs.next()?.clone();
    Some(needs.fold(first, |all, need| all.union(need)))
}

/// Compares what subscribers want with what runs.
pub fn plan<'a>(wanted: impl IntoIterator<Item = &'a Names>, running: &[Running]) -> Plan {
    let mut everything = false;
    let mut namespaces: BTreeSet<&Arc<str>> = BTreeSet::new();
    for names in wanted {
        match names {
            Names::All => everything = true,
            Names::Set(set) => namespaces.extend(set),
        }
    }
    let runs_all = running.iter().any(|watch| watch.scope == Scope::All);
    let wide = everything || namespaces.len() > if runs_all { FEW } else { MANY };
    // The one that stays of those that bring what is needed: one that holds something already, or the eldest.
    let best = |scope: &Scope| {
        let fitting = running.iter().filter(|watch| watch.fits && watch.scope == *scope);
        fitting.min_by_key(|watch| (!watch.fares.committed, watch.id))
    };
    let of = |namespace: &Arc<str>| Scope::Namespace(namespace.clone());
    let holds = |scope: &Scope| best(scope).is_some_and(|watch| watch.fares.committed);
    let all = best(&Scope::All);
    let forbidden = all.is_some_and(|all| all.fares.forbidden);
    let all_holds = wide && holds(&Scope::All) && !forbidden;
    let singles_hold = || namespaces.iter().all(|namespace| holds(&of(namespace)));

    let mut plan = Plan {
        wide,
        ..Plan::default()
    };
    if wide && all.is_none() {
        plan.start.push(Scope::All);
    }
    if !wide || forbidden {
        let missing = namespaces.iter().map(|namespace| of(namespace));
        plan.start.extend(missing.filter(|scope| best(scope).is_none()));
    }
    for watch in running {
        let is_best = best(&watch.scope).is_some_and(|best| best.id == watch.id);
        let stop = match &watch.scope {
            // It brings too little, or another one brings the same; it holds nothing, or the other holds it too.
            scope if !is_best && (!watch.fares.committed || holds(scope)) => true,
            // What takes its place may hold less yet: those who see less go on with it.
            Scope::All if wide => false,
            Scope::All => namespaces.is_empty() || !watch.fares.committed || singles_hold(),
            // What it holds was shown to those who want everything: it stays until the watch of all has it.
            Scope::Namespace(namespace) => all_holds || (!everything && !namespaces.contains(namespace)),
        };
        if stop {
            plan.stop.push(watch.id);
        }
    }
    plan
}

/// True where every part that these namespaces need is in the store: `committed` tells which are, brought by watches
/// that bring enough.
pub fn held(wanted: &Names, committed: &BTreeSet<Scope>) -> bool {
    match wanted {
        _ if committed.contains(&Scope::All) => true,
        Names::All => false,
        Names::Set(set) => set.iter().all(|n| committed.contains(&Scope::Namespace(n.clone()))),
    }
}

#[cfg(test)]
mod tests;
