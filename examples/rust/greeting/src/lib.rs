//! A `Greeting` says whom to greet; this plugin writes the greeting into a ConfigMap and keeps it there.
//!
//! It shows what most controllers do: own an object and repair it, report a status with conditions, refuse a spec that
//! makes no sense, say what happened with Events, and clean up behind a finalizer.

use pilothouse_sdk::kinds::ConfigMap;
use pilothouse_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// A greeting: what people write in `spec`, and what this plugin answers in `status`. `crd.yaml` says the same to the API
/// server.
#[derive(Clone, Debug, Serialize, Deserialize, Kind)]
#[kind("demo.pilothouse.dev/v1")]
pub struct Greeting {
    /// Name, labels, finalizers and the like, as all objects have.
    pub metadata: Metadata,
    /// Whom to greet.
    pub spec: GreetingSpec,
    /// What became of it.
    #[serde(default)]
    pub status: GreetingStatus,
}

/// Whom to greet, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GreetingSpec {
    /// Who is greeted; must not be empty.
    pub name: String,
    /// How; "Hello" unless said.
    pub salutation: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GreetingStatus {
    /// The greeting as it stands in the ConfigMap.
    pub message: Option<String>,
    /// Which version of the spec this is about.
    pub observed_generation: Option<i64>,
    /// `Ready`: whether the ConfigMap holds the greeting.
    pub conditions: Conditions,
}

/// Holds a Greeting until we have said goodbye.
const FINALIZER: &str = "demo.pilothouse.dev/goodbye";

/// What this plugin is, what wakes it, and what it asks to be allowed.
#[plugin]
pub fn plugin() -> Plugin {
    Plugin::new("greeting")
        .description("Writes a greeting into a ConfigMap and keeps it there")
        .controller(
            Controller::new("greeting", reconcile)
                .when([Predicate::Generation])
                .owns::<ConfigMap>(),
        )
        .may::<Greeting>([Verb::Patch])
        .may_save_status::<Greeting>()
        .may::<ConfigMap>([Verb::Create, Verb::Patch, Verb::Delete])
}

/// Makes the world as one Greeting says: runs when the Greeting or its ConfigMap changed, and may run at any other time.
fn reconcile(cx: &Context, mut greeting: Object<Greeting>) -> Result<Outcome, Failure> {
    // Adds the finalizer, or, once the Greeting is deleted, says goodbye and takes it away.
    if cx.finalizer(&mut greeting, FINALIZER, say_goodbye)? == Life::Over {
        return Ok(Outcome::done());
    }
    let generation = greeting.generation();
    greeting.status.observed_generation = Some(generation);

    // A spec that makes no sense: say so where people look, and don't try again before it changes.
    let name = greeting.spec.name.trim();
    if name.is_empty() {
        let why = "spec.name is empty: say whom to greet";
        greeting.status.message = None;
        greeting.status.conditions.set(
            cx.now(),
            Condition::no("Ready", "InvalidSpec", why).observed(generation),
        );
        greeting.save_status(cx)?;
        return Err(Failure::never("InvalidSpec", why));
    }
    let message = format!("{}, {name}!", greeting.spec.salutation.as_deref().unwrap_or("Hello"));

    // The ConfigMap is created if it isn't there, mended if it is different, and left alone if it is as it should be.
    let child = cx.ensure_owned(&greeting, ConfigMap::named(greeting.name()).with("message", &message))?;
    if child.did != Did::Nothing {
        let note = format!("ConfigMap {} {}: {message}", child.object.name(), child.did);
        cx.event(&greeting, Severity::Normal, "Greeted", note);
    }

    // Only what changed is sent, and nothing if nothing did.
    greeting.status.message = Some(message);
    let ready = Condition::yes("Ready", "Greeted", "the ConfigMap holds the greeting").observed(generation);
    greeting.status.conditions.set(cx.now(), ready);
    greeting.save_status(cx)?;
    Ok(Outcome::done())
}

/// Runs once a Greeting is deleted, while the finalizer still holds it; again if it fails.
fn say_goodbye(cx: &Context, greeting: &mut Object<Greeting>) -> Result<(), Failure> {
    // Not one of the same name that is somebody else's.
    if let Some(child) = cx.get::<ConfigMap>(greeting.namespace(), greeting.name())?
        && child.is_controlled_by(greeting)
    {
        cx.delete(&child)?;
    }
    cx.event(
        greeting,
        Severity::Normal,
        "Goodbye",
        format!("Goodbye, {}!", greeting.spec.name),
    );
    Ok(())
}

#[cfg(test)]
mod tests;
