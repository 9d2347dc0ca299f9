//! Beasts that want too much of something, or answer what is no answer.

use std::hint::black_box;
use std::time::Duration;

use pilothouse_sdk::kinds::ConfigMap;
use pilothouse_sdk::prelude::*;
use pilothouse_sdk::serde_json::json;
use pilothouse_sdk::{Level, WriteOptions};

use crate::{Beast, ZooConfig, beside, config_map, trap};

/// Calls itself until there is no stack left.
pub(crate) fn dive(depth: u64) -> u64 {
    let ballast = black_box([depth; 64]);
    if black_box(false) {
        0
    } else {
        dive(depth + 1) + ballast[3]
    }
}

/// Traps at each third call of the plugin. Calls share nothing, so a ConfigMap counts them.
pub(crate) fn trap_third(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    let counter = cx.get_live::<ConfigMap>(beast.namespace(), "calls")?;
    let calls = counter
        .as_ref()
        .and_then(|map| map.data.get("calls")?.parse::<u32>().ok());
    let calls = calls.unwrap_or_default() + 1;
    if counter.is_none() {
        cx.create(&beside(beast, "calls"))?;
    }
    let change = json!({"data": {"calls": calls.to_string()}});
    cx.patch_merge::<ConfigMap>(beast.namespace(), "calls", &change)?;
    if calls % 3 == 0 {
        trap();
    }
    Ok(Outcome::done())
}

/// Logs much more than a call may, each line with orders to the terminal and a forged line within it.
pub(crate) fn flood(cx: &Context) -> Outcome {
    for n in 0..2_000 {
        let line = format!("\u{1b}[2J\u{1b}]0;owned\u{7}{n}\r\n{{\"level\":\"ERROR\",\"forged\":true}}");
        cx.log(Level::Warn, line, &[("\u{9b}31m", "\u{202e}backwards")]);
    }
    Outcome::done()
}

/// A text that the zoo's keeper replaces in the module by bytes that are no text.
pub(crate) fn rubbish() -> String {
    black_box("RUBBISH TO COME: SPOIL THESE BYTES").to_owned()
}

/// Writes an object of a hundred thousand levels.
pub(crate) fn deep(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    let (open, close) = ("{\"a\":".repeat(100_000), "}".repeat(100_000));
    let object = format!("{{\"data\":{open}1{close}}}");
    cx.host()
        .create(&config_map(beast, "deep"), &object, &WriteOptions::default())?;
    Ok(Outcome::done())
}

/// Reads one more time than a call may by default.
pub(crate) fn thousand_reads(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    for _ in 0..1_001 {
        black_box(cx.get::<ConfigMap>(beast.namespace(), "nothing-there")?.is_some());
    }
    Ok(Outcome::done())
}

/// Writes as fast as it can, something else each time.
pub(crate) fn write_storm(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    if cx.get_live::<ConfigMap>(beast.namespace(), "storm")?.is_none() {
        cx.create(&beside(beast, "storm"))?;
    }
    for n in 0_u64.. {
        let change = json!({"data": {"gust": format!("{n} {:?}", cx.random(8))}});
        cx.patch_merge::<ConfigMap>(beast.namespace(), "storm", &change)?;
    }
    Ok(Outcome::done())
}

/// Emits many more Events than a call may, again and again.
pub(crate) fn event_storm(cx: &Context, beast: &Object<Beast>) -> Outcome {
    for n in 0..500 {
        cx.event(beast, Severity::Warning, &format!("Gust{n}"), "a message in the storm");
    }
    Outcome::after(Duration::from_millis(100))
}

/// Writes to what wakes it, one of two contents in turn, so that its own write always wakes it again.
pub(crate) fn flap(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    let odd = beast.metadata.generation.unwrap_or_default() % 2 == 1;
    let change = json!({"spec": {"turn": if odd { "left" } else { "right" }}});
    cx.patch_merge::<Beast>(beast.namespace(), beast.name(), &change)?;
    Ok(Outcome::done())
}

/// Insists on its own word in the object, where another plugin insists on another one.
pub(crate) fn fight(cx: &Context, beast: &Object<Beast>) -> Result<Outcome, Failure> {
    let word = cx.config::<ZooConfig>()?.word;
    if beast.spec.turn != word {
        let change = json!({"spec": {"turn": word}});
        cx.patch_merge::<Beast>(beast.namespace(), beast.name(), &change)?;
    }
    Ok(Outcome::done())
}

/// Holds its permit and does nothing.
#[allow(
    clippy::disallowed_methods,
    reason = "a guest: its sleep is the host's, which is what is tried"
)]
pub(crate) fn sleep() -> Outcome {
    std::thread::sleep(Duration::from_secs(3_600));
    Outcome::done()
}
