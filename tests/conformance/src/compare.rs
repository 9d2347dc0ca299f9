//! Two answers, field by field.
//!
//! What can't be equal on two servers is compared by what it means:
//!
//! - uids map one to one. So do resourceVersions of objects, and they keep their order: a version that is the same as
//!   an earlier one on one server is that on the other, too. Versions of lists and bookmarks count foreign writes as
//!   well: they must not be older than what was seen.
//! - times of today are a time, ages in tables are an age, `continue` tokens are a token;
//! - bookmarks in a row are one: how many come is a matter of time;
//! - the causes of a status are a set: a real server tells some of them twice, and in no fixed order;
//! - `metadata.managedFields` is left out, except where a step asks for it: the local cluster has none, which is one
//!   difference and not one in every answer.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use crate::server::Answer;
use crate::texts::{AGE, Texts, UID};
use crate::versions::Versions;

/// The longest value that a difference shows whole.
const SHOWN: usize = 140;
/// How many fields a difference shows.
const FIELDS: usize = 8;

/// How a difference shows on either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first server's.
    pub real: String,
    /// The second server's.
    pub ours: String,
}

/// What a step says about the comparison.
#[derive(Debug, Default)]
pub struct Rules {
    /// What in texts is not compared.
    pub mask: Vec<Regex>,
    /// Values that were saved, by server, and the names they were saved under.
    pub saved: [BTreeMap<String, String>; 2],
    /// Whether `managedFields` is compared.
    pub managed_fields: bool,
}

/// Compares answers, and remembers which uids and versions are each other's.
#[derive(Debug, Default)]
pub struct Comparer {
    versions: Versions,
    /// Which uids are each other's, or were told not to be.
    uids: BTreeSet<(String, String)>,
    /// Where a uid was seen first, by server.
    seen: [BTreeMap<String, String>; 2],
    texts: Texts,
}

/// One field that differs.
struct Leaf {
    path: String,
    sides: [String; 2],
}

impl Comparer {
    /// One that knows of no uids and versions yet. `today` are the days that the present may be, as `2026-11-25`.
    #[must_use]
    pub fn new(today: BTreeSet<String>) -> Self {
        Self {
            texts: Texts { today },
            ..Self::default()
        }
    }

    /// Compares the answers to a step of this name.
    pub fn answers(&mut self, step: &str, real: &Answer, ours: &Answer, rules: &Rules) -> Option<Found> {
        let mut leaves = Vec::new();
        let names: BTreeSet<&String> = real.headers.keys().chain(ours.headers.keys()).collect();
        for name in names {
            let side = |answer: &Answer| answer.headers.get(name).map(|values| Value::from(values.clone()));
            self.values(
                step,
                &format!("header {name}"),
                side(real),
                side(ours),
                rules,
                &mut leaves,
            );
        }
        self.values(
            step,
            "",
            Some(real.body.clone()),
            Some(ours.body.clone()),
            rules,
            &mut leaves,
        );
        if real.code != ours.code {
            return Some(Found {
                real: self.summary(real, rules, 0),
                ours: self.summary(ours, rules, 1),
            });
        }
        self.found(&real.code.to_string(), &leaves, rules)
    }

    /// Compares the events of a watch.
    pub fn events(&mut self, step: &str, real: &[Value], ours: &[Value], rules: &Rules) -> Option<Found> {
        // How many bookmarks come in a row is a matter of time.
        let folded = |events: &[Value]| {
            let mut events = events.to_vec();
            events.dedup_by(|second, first| second["type"] == "BOOKMARK" && first["type"] == "BOOKMARK");
            events
        };
        let (real, ours) = (&folded(real)[..], &folded(ours)[..]);
        let mut leaves = Vec::new();
        let kinds = |events: &[Value]| -> Vec<String> {
            let kind = |event: &Value| event["type"].as_str().unwrap_or("?").to_owned();
            events.iter().map(kind).collect()
        };
        let (real_kinds, our_kinds) = (kinds(real), kinds(ours));
        if real_kinds != our_kinds {
            leaves.push(Leaf {
                path: "events".into(),
                sides: [real_kinds.join(", "), our_kinds.join(", ")],
            });
        } else {
            for (number, (real, ours)) in real.iter().zip(ours).enumerate() {
                let path = format!("events[{number}]");
                self.values(step, &path, Some(real.clone()), Some(ours.clone()), rules, &mut leaves);
            }
        }
        self.found("watch", &leaves, rules)
    }

    fn found(&self, head: &str, leaves: &[Leaf], rules: &Rules) -> Option<Found> {
        if leaves.is_empty() {
            return None;
        }
        let side = |side: usize| {
            let mut parts = vec![head.to_owned()];
            for leaf in leaves.iter().take(FIELDS) {
                let path = self.texts.text(&leaf.path, rules, side);
                parts.push(format!("{path}: {}", leaf.sides[side]));
            }
            if leaves.len() > FIELDS {
                parts.push(format!("and {} more fields", leaves.len() - FIELDS));
            }
            parts.join("; ")
        };
        Some(Found {
            real: side(0),
            ours: side(1),
        })
    }

    fn summary(&self, answer: &Answer, rules: &Rules, side: usize) -> String {
        let what = match &answer.body {
            Value::String(text) => self.texts.text(text, rules, side),
            body => match (body["reason"].as_str(), body["message"].as_str(), body["kind"].as_str()) {
                (reason, Some(message), _) => {
                    format!(
                        "{}: {}",
                        reason.unwrap_or("no reason"),
                        self.texts.text(message, rules, side)
                    )
                }
                (_, None, Some(kind)) => kind.to_owned(),
                (_, None, None) => self.shown(Some(body), rules, side),
            },
        };
        format!(
            "{} {}",
            answer.code,
            shortened(UID.replace_all(what.trim_end(), "<uid>").as_ref())
        )
    }

    fn values(
        &mut self,
        step: &str,
        path: &str,
        real: Option<Value>,
        ours: Option<Value>,
        rules: &Rules,
        leaves: &mut Vec<Leaf>,
    ) {
        match (real, ours) {
            (Some(Value::Object(mut real)), Some(Value::Object(mut ours))) => {
                let counts_others = |map: &serde_json::Map<String, Value>| {
                    map.get("items").is_some()
                        || map.get("rows").is_some()
                        || map.get("type").is_some_and(|kind| kind == "BOOKMARK")
                };
                if counts_others(&real) && counts_others(&ours) {
                    let place = if real.contains_key("type") {
                        "object"
                    } else {
                        "metadata"
                    };
                    let take = |map: &mut serde_json::Map<String, Value>| {
                        let mut at = map.get_mut(place)?;
                        if place == "object" {
                            at = at.get_mut("metadata")?;
                        }
                        at.as_object_mut()?.remove("resourceVersion")
                    };
                    let (real, ours) = (take(&mut real), take(&mut ours));
                    let sides = [real, ours].map(|version| version.and_then(|v| Some(v.as_str()?.to_owned())));
                    if let Some(sides) = self.versions.of_lists(&sides[0], &sides[1]) {
                        let path = joined(&joined(path, place), "resourceVersion");
                        leaves.push(Leaf { path, sides });
                    }
                }
                let keys: BTreeSet<String> = real.keys().chain(ours.keys()).cloned().collect();
                for key in keys {
                    if key == "managedFields" && path.ends_with("metadata") && !rules.managed_fields {
                        continue;
                    }
                    let (real, ours) = (real.remove(&key), ours.remove(&key));
                    self.field(step, &joined(path, &key), &key, real, ours, rules, leaves);
                }
            }
            (Some(Value::Array(mut real)), Some(Value::Array(mut ours))) => {
                if path.ends_with("causes") {
                    for causes in [&mut real, &mut ours] {
                        causes.sort_by_key(|cause| {
                            ["field", "reason", "message"].map(|field| cause[field].as_str().unwrap_or("").to_owned())
                        });
                        causes.dedup();
                    }
                }
                self.lists(step, path, real, ours, rules, leaves);
            }
            (real, ours) => {
                let sides = self.shown_both(step, path, real.as_ref(), ours.as_ref(), rules);
                if sides[0] != sides[1] {
                    leaves.push(Leaf {
                        path: path.to_owned(),
                        sides: told_apart(sides),
                    });
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a step of a recursion")]
    fn field(
        &mut self,
        step: &str,
        path: &str,
        key: &str,
        real: Option<Value>,
        ours: Option<Value>,
        rules: &Rules,
        leaves: &mut Vec<Leaf>,
    ) {
        let masked = |value: Option<Value>| match value {
            Some(Value::String(token)) if key == "continue" && !token.is_empty() => Some("<token>".into()),
            other => other,
        };
        if key == "resourceVersion"
            && let (Some(Value::String(real)), Some(Value::String(ours))) = (&real, &ours)
        {
            if let Some(sides) = self.versions.of_objects(step, real, ours) {
                let path = path.to_owned();
                leaves.push(Leaf { path, sides });
            }
            return;
        }
        self.values(step, path, masked(real), masked(ours), rules, leaves);
    }

    /// Lists of things with names are compared by name, all others by place.
    fn lists(
        &mut self,
        step: &str,
        path: &str,
        real: Vec<Value>,
        ours: Vec<Value>,
        rules: &Rules,
        leaves: &mut Vec<Leaf>,
    ) {
        if let (Some(real_names), Some(our_names)) = (names(&real), names(&ours)) {
            let common = |names: &[String], others: &[String]| -> Vec<String> {
                names.iter().filter(|name| others.contains(name)).cloned().collect()
            };
            let orders = [common(&real_names, &our_names), common(&our_names, &real_names)];
            if orders[0] != orders[1] {
                leaves.push(Leaf {
                    path: format!("order of {path}"),
                    sides: told_apart(orders.map(|names| names.join(", "))),
                });
            }
            let missing = |names: &[String], others: &[String]| {
                let names: Vec<&str> = names
                    .iter()
                    .filter(|name| !others.contains(name))
                    .map(String::as_str)
                    .collect();
                if names.is_empty() {
                    "–".to_owned()
                } else {
                    names.join(", ")
                }
            };
            let sides = [missing(&real_names, &our_names), missing(&our_names, &real_names)];
            if sides[0] != sides[1] {
                leaves.push(Leaf {
                    path: format!("only here in {path}"),
                    sides,
                });
            }
            for (name, real) in real_names.iter().zip(real) {
                if let Some(at) = our_names.iter().position(|other| other == name) {
                    let path = format!("{path}[{name}]");
                    self.values(step, &path, Some(real), Some(ours[at].clone()), rules, leaves);
                }
            }
            return;
        }
        let (mut real, mut ours) = (real.into_iter(), ours.into_iter());
        for number in 0.. {
            let (real, ours) = (real.next(), ours.next());
            if real.is_none() && ours.is_none() {
                return;
            }
            self.values(step, &format!("{path}[{number}]"), real, ours, rules, leaves);
        }
    }

    /// Two leaves; uids in texts are paired by their places.
    fn shown_both(
        &mut self,
        step: &str,
        path: &str,
        real: Option<&Value>,
        ours: Option<&Value>,
        rules: &Rules,
    ) -> [String; 2] {
        let mut sides = [self.shown(real, rules, 0), self.shown(ours, rules, 1)];
        if path.contains(".cells[") {
            for side in &mut sides {
                if AGE.is_match(side.trim_matches('"')) {
                    *side = "<age>".into();
                }
            }
        }
        let found = sides.each_ref().map(|side| {
            let uids = UID.find_iter(side).map(|uid| uid.as_str().to_owned());
            uids.collect::<Vec<_>>()
        });
        if found[0].len() == found[1].len() {
            for (real, ours) in found[0].iter().zip(&found[1]) {
                let label = self.paired(step, real, ours);
                sides[0] = sides[0].replace(real, &label[0]);
                sides[1] = sides[1].replace(ours, &label[1]);
            }
        }
        // Those that have nothing to be paired with.
        sides.map(|side| UID.replace_all(&side, "<uid>").into_owned())
    }

    /// What two uids are called: the same if they are each other's.
    fn paired(&mut self, step: &str, real: &str, ours: &str) -> [String; 2] {
        let pair = (real.to_owned(), ours.to_owned());
        let known = [self.seen[0].get(real).cloned(), self.seen[1].get(ours).cloned()];
        let equal = known == [None, None] || self.uids.contains(&pair);
        for (side, uid) in [(0, real), (1, ours)] {
            let seen = self.seen[side].entry(uid.to_owned());
            seen.or_insert_with(|| format!("<the uid as at {step:?}>"));
        }
        // What is told once is not told in each later answer.
        self.uids.insert(pair);
        if equal {
            return ["<uid>".into(), "<uid>".into()];
        }
        known.map(|known| known.unwrap_or_else(|| "<a new uid>".into()))
    }

    /// A leaf as text.
    fn shown(&self, value: Option<&Value>, rules: &Rules, side: usize) -> String {
        match value {
            None => "–".into(),
            Some(Value::String(text)) => format!("{:?}", self.texts.text(text, rules, side)),
            Some(other) => self.texts.text(&other.to_string(), rules, side),
        }
    }
}

/// The names of a list's elements, where all of them have one of their own.
fn names(list: &[Value]) -> Option<Vec<String>> {
    let name = |value: &Value| {
        let name = value.get("name").or_else(|| value.get("metadata")?.get("name"))?;
        Some(name.as_str()?.to_owned())
    };
    let names: Vec<String> = list.iter().map(name).collect::<Option<_>>()?;
    let unique: BTreeSet<&String> = names.iter().collect();
    (unique.len() == names.len()).then_some(names)
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Two texts that differ, cut to where they do.
fn told_apart(sides: [String; 2]) -> [String; 2] {
    let common = sides[0]
        .chars()
        .zip(sides[1].chars())
        .take_while(|(a, b)| a == b)
        .count();
    let from = common.saturating_sub(SHOWN / 4);
    if from == 0 || sides.iter().all(|side| side.chars().count() <= SHOWN) {
        return sides.map(|side| shortened(&side));
    }
    sides.map(|side| {
        let rest: String = side.chars().skip(from).collect();
        format!("…{}", shortened(&rest))
    })
}

fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= SHOWN {
        return text.to_owned();
    }
    let kept: String = text.chars().take(SHOWN).collect();
    format!("{kept}… ({length} characters)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_far_behind_are_shown_where_they_differ() {
        let long = "x".repeat(1000);
        let [real, ours] = told_apart([format!("{long}a"), format!("{long}b")]);
        assert_ne!(real, ours);
        assert!(real.chars().count() < 2 * SHOWN, "{real}");
        let short = ["a".to_owned(), "b".to_owned()];
        assert_eq!(told_apart(short.clone()), short);
    }
}
