//! Conditions: what an object's status says about it in the words that all of Kubernetes uses.

use serde::{Deserialize, Serialize};

use crate::wire::Timestamp;

/// The conditions in a status, at most one of a type. For a field `conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    /// Sets the condition of this type. Its `lastTransitionTime` becomes `now` only if its status is another than it was:
    /// setting the same again changes nothing, so that saving it writes nothing.
    pub fn set(&mut self, now: Timestamp, mut condition: Condition) {
        match self.0.iter_mut().find(|old| old.type_ == condition.type_) {
            Some(old) => {
                condition.last_transition_time = if old.status == condition.status {
                    old.last_transition_time.clone()
                } else {
                    now.rfc3339()
                };
                *old = condition;
            }
            None => {
                condition.last_transition_time = now.rfc3339();
                self.0.push(condition);
            }
        }
    }

    /// The condition of this type.
    pub fn get(&self, type_: &str) -> Option<&Condition> {
        self.0.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether there is a condition of this type and it is true.
    pub fn is_true(&self, type_: &str) -> bool {
        self.get(type_).is_some_and(|condition| condition.status == "True")
    }

    /// Takes the condition of this type away; answers whether there was one.
    pub fn remove(&mut self, type_: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|condition| condition.type_ != type_);
        self.0.len() < before
    }

    /// All of them, in the order they were first set.
    pub fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }
}

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// What it is about: `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, as one word for programs.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// When the status last changed, RFC 3339; [`Conditions::set`] sees to it.
    pub last_transition_time: String,
    /// Which generation of the object this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// It is so. `reason` is one word in CamelCase, which API servers insist on.
    pub fn yes(type_: &str, reason: &str, message: impl Into<String>) -> Condition {
        Condition::new(type_, "True", reason, message.into())
    }

    /// It is not so.
    pub fn no(type_: &str, reason: &str, message: impl Into<String>) -> Condition {
        Condition::new(type_, "False", reason, message.into())
    }

    /// Nobody can tell.
    pub fn unknown(type_: &str, reason: &str, message: impl Into<String>) -> Condition {
        Condition::new(type_, "Unknown", reason, message.into())
    }

    /// The same, about this generation of the object.
    pub fn observed(mut self, generation: i64) -> Condition {
        self.observed_generation = Some(generation);
        self
    }

    fn new(type_: &str, status: &str, reason: &str, message: String) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            ..Condition::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_when_the_status_does() {
        let at = |seconds| Timestamp {
            seconds,
            nanoseconds: 0,
        };
        let mut conditions = Conditions::default();
        conditions.set(at(10), Condition::yes("Ready", "Fine", "").observed(1));
        conditions.set(at(20), Condition::yes("Ready", "StillFine", "").observed(2));
        let ready = conditions.get("Ready").unwrap();
        assert_eq!(
            (ready.last_transition_time.as_str(), ready.reason.as_str()),
            ("1970-01-01T00:00:10Z", "StillFine")
        );
        conditions.set(at(30), Condition::no("Ready", "Broken", ""));
        assert_eq!(
            conditions.get("Ready").unwrap().last_transition_time,
            "1970-01-01T00:00:30Z"
        );
        assert!(!conditions.is_true("Ready"));
        assert_eq!(conditions.iter().count(), 1);
    }
}
