//! What persons order, and whether it came to that.

use std::time::Duration;

use http::StatusCode;
use pilothouse_lifecycle::{Hash, LifeState, LifeStatus, Order, OrderError};
use pilothouse_object::escape_control;
use tokio::time::Instant;

use super::{
    SHORT_HASH,
    answers::{Admin, Answer, Result, failed, json},
    api::{self, VERSION},
    forms::{bounded, state_name},
    route::Ask,
};
use crate::front::pause;

/// How often it is looked whether an order was followed.
const LOOK: Duration = Duration::from_millis(25);

/// Digits of a hash that name a version, at least.
const LEAST_DIGITS: usize = 6;

impl Admin {
    /// Passes an order on, and waits so long at most until it is followed.
    #[expect(clippy::disallowed_methods, reason = "a driver: its clock")]
    pub(super) async fn order(&self, name: &str, ask: &Ask, wait: Duration) -> Result<Answer> {
        let control = self.control()?;
        let (before, _) = self.found(name)?;
        let before = before.ok_or_else(|| failed(StatusCode::NOT_FOUND, "nothing is known of it"))?;
        let deadline = Instant::now() + wait;
        let order = match ask {
            Ask::Enable => Order::Enable,
            Ask::Disable => Order::Disable,
            Ask::Rollback => Order::Rollback,
            Ask::Reset => Order::Reset,
            Ask::Promote(digits) => Order::Promote(chosen_version(&before, digits)?),
        };
        let wanted = match order {
            Order::Promote(hash) => Some(hash),
            _ => None,
        };
        // A host that only begins to supervise takes the order, and follows it later.
        let taken = tokio::time::timeout(wait.max(LOOK), control.order(name, order)).await;
        if let Ok(Err(error)) = taken {
            let status = match error {
                OrderError::NoPlugin => StatusCode::NOT_FOUND,
                OrderError::NoVersion { .. } | OrderError::NoEarlier | OrderError::NotGranted => StatusCode::CONFLICT,
                OrderError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            };
            return Err(failed(status, &format!("{name}: {error}")));
        }
        tracing::info!(plugin = name, "an operator's order: {}", words(ask));
        let serves = |life: &LifeStatus| {
            let hash = wanted.map(|hash| hash.to_string());
            life.serving
                .as_ref()
                .is_some_and(|serving| Some(&serving.hash) == hash.as_ref())
        };
        let promoted = matches!(order, Order::Promote(_)) && serves(&before);
        if promoted || matches!(order, Order::Reset) {
            // It serves already: what may be against it is its breaker.
            self.host()?.reset_breaker(name);
        }
        let mut done = false;
        loop {
            let life = control.status().into_iter().find(|life| life.name == name);
            if taken.is_ok() && life.as_ref().is_none_or(is_settled) {
                done = true;
            }
            if done || Instant::now() >= deadline {
                let (_, plugin) = self.found(name).unwrap_or_default();
                let failed = life
                    .as_ref()
                    .filter(|_| done)
                    .and_then(|life| shortfall(ask, &before, life, serves(life)));
                let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
                let ordered = api::Ordered {
                    api_version: VERSION.to_owned(),
                    done,
                    failed,
                    plugin: self.plugin_status(name, life.as_ref(), plugin.as_ref()),
                };
                return Ok((status, json(&ordered)));
            }
            pause(LOOK).await;
        }
    }
}

fn words(ask: &Ask) -> String {
    match ask {
        Ask::Enable => "enable".to_owned(),
        Ask::Disable => "disable".to_owned(),
        Ask::Rollback => "rollback".to_owned(),
        Ask::Reset => "reset".to_owned(),
        Ask::Promote(digits) => format!("promote {}", escape_control(digits)),
    }
}

/// Whether nothing is being done for it.
fn is_settled(life: &LifeStatus) -> bool {
    let moves = matches!(
        life.state,
        LifeState::Loading | LifeState::Draining | LifeState::Waiting
    );
    !moves && life.candidate.is_none()
}

/// What is otherwise than was ordered.
fn shortfall(ask: &Ask, before: &LifeStatus, after: &LifeStatus, wanted_serves: bool) -> Option<String> {
    let met = match ask {
        Ask::Enable => after.serving.is_some(),
        Ask::Disable => after.serving.is_none(),
        Ask::Rollback => after.serving.is_some() && after.serving != before.serving,
        Ask::Promote(_) => wanted_serves,
        Ask::Reset => after.quarantined.is_none(),
    };
    if met {
        return None;
    }
    let refused = after.refusal.as_ref().map(|refusal| bounded(&refusal.to_string()));
    let held = after.held_back.as_ref();
    let held = held.map(|held| {
        bounded(&format!(
            "what lies in the directory waits: {}; {}",
            held.why, held.mend
        ))
    });
    Some(
        refused
            .or(held)
            .unwrap_or_else(|| format!("the plugin is {} now", state_name(after.state))),
    )
}

/// The version that these digits name: a whole hash, or the beginning of one that is known.
fn chosen_version(life: &LifeStatus, digits: &str) -> Result<Hash> {
    let wrong = |message: String| failed(StatusCode::BAD_REQUEST, &message);
    if let Some(hash) = Hash::from_hex(digits) {
        return Ok(hash);
    }
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || !(LEAST_DIGITS..64).contains(&digits.len()) {
        return Err(wrong(format!(
            "a version is named by its module's SHA-256, or by at least {LEAST_DIGITS} of its first digits"
        )));
    }
    let digits = digits.to_ascii_lowercase();
    let versions = life.serving.iter().chain(&life.candidate).chain(&life.previous);
    let hashes = versions.map(|version| &version.hash);
    let mut known: Vec<&String> = hashes.chain(&life.quarantined).chain(&life.rolled_back_from).collect();
    known.sort();
    known.dedup();
    let named: Vec<&String> = known.iter().copied().filter(|hash| hash.starts_with(&digits)).collect();
    match &named[..] {
        [one] => Hash::from_hex(one).ok_or_else(|| wrong("that is no hash".to_owned())),
        [] => {
            let shown: Vec<&str> = known.iter().filter_map(|hash| hash.get(..SHORT_HASH)).collect();
            let message = format!(
                "no version at hand begins with {digits}; these are: {}",
                shown.join(", ")
            );
            Err(failed(StatusCode::CONFLICT, &message))
        }
        _ => Err(wrong(format!(
            "more than one version begins with {digits}: give more digits"
        ))),
    }
}

#[cfg(test)]
mod tests;
