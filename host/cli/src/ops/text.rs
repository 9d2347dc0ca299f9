//! A host's answers as people read them. Pure.

use std::{fmt::Write as _, time::Duration};

use super::table::{Cell, Table};
use crate::{
    admin::{
        SHORT_HASH,
        api::{Breaker, HeldBack, HostStatus, PluginDetail, PluginStatus, Progress, Queue, Status, Version},
    },
    present::{Ink, Style, duration},
};

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) style: Style,
    /// Of the terminal; none: nothing is cut.
    pub(super) columns: Option<usize>,
    pub(super) wide: bool,
}

/// `pilothouse status`.
pub(super) fn status(look: Look, status: &Status) -> String {
    let mut out = host(look.style, &status.host);
    out.push('\n');
    out.push_str(&plugins(look, &status.plugins));
    out
}

fn host(style: Style, host: &HostStatus) -> String {
    let state = if host.ready {
        style.ink(Ink::Green, "ready")
    } else {
        style.ink(Ink::Yellow, "not ready")
    };
    let mut out = format!(
        "pilothouse {}, process {}, up {}: {state}, {} of {} reconciles run\n",
        style.shown(&host.version),
        host.pid,
        age(host.uptime_seconds),
        host.running,
        host.pool_size
    );
    if let Some(away) = host.api_server_away_seconds {
        let text = format!("the API server has not answered for {}", age(away));
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}", style.ink(Ink::Red, &text));
    }
    if let Some(why) = &host.plugin_directory {
        let text = format!("changes of plugins are not seen: {why}");
        let _ = writeln!(out, "{}", style.ink(Ink::Red, &style.shown(&text)));
    }
    for line in &host.waiting_for {
        let _ = writeln!(out, "waits for {}", style.shown(line));
    }
    out
}

/// `pilothouse plugins list`.
pub(super) fn plugins(look: Look, plugins: &[PluginStatus]) -> String {
    if plugins.is_empty() {
        return "There is no plugin: what is put into the plugin directory is loaded as it comes.\n".to_owned();
    }
    let mut table = if look.wide {
        Table::new([
            "NAME", "STATE", "FOR", "VERSION", "MODULE", "BREAKER", "TRIPS", "RUN", "READY", "LATER", "WORK", "PARKED",
            "OLDEST", "RUNS", "FAILED", "CACHE", "OBJECTS", "MAX-MEM", "NOTE",
        ])
    } else {
        Table::new([
            "NAME", "STATE", "VERSION", "MODULE", "BREAKER", "RUN", "QUEUE", "PARKED", "OLDEST", "NOTE",
        ])
    };
    for plugin in plugins {
        table.row(if look.wide { wide(plugin) } else { narrow(plugin) });
    }
    table.text(look.style, look.columns)
}

fn narrow(plugin: &PluginStatus) -> Vec<Cell> {
    let queue = &plugin.queue;
    vec![
        (&plugin.name).into(),
        state(plugin),
        version(plugin.serving.as_ref()),
        module(plugin.serving.as_ref()),
        breaker(plugin.breaker.as_ref()),
        run(queue).into(),
        format!("{}+{}", queue.queued, queue.delayed).into(),
        parked_count(queue),
        seconds(queue.oldest_seconds).into(),
        note(plugin),
    ]
}

fn wide(plugin: &PluginStatus) -> Vec<Cell> {
    let queue = &plugin.queue;
    let trips = plugin.breaker.as_ref().map_or(0, |breaker| breaker.trips);
    vec![
        (&plugin.name).into(),
        state(plugin),
        plugin.serving_seconds.map_or("-".to_owned(), age).into(),
        version(plugin.serving.as_ref()),
        module(plugin.serving.as_ref()),
        breaker(plugin.breaker.as_ref()),
        trips.to_string().into(),
        run(queue).into(),
        queue.queued.to_string().into(),
        queue.delayed.to_string().into(),
        queue.working.to_string().into(),
        parked_count(queue),
        seconds(queue.oldest_seconds).into(),
        queue.runs.to_string().into(),
        queue.failed.to_string().into(),
        plugin.cache_bytes.map_or("-".to_owned(), bytes).into(),
        plugin
            .cache_objects
            .map_or("-".to_owned(), |count| count.to_string())
            .into(),
        plugin.memory_limit_bytes.map_or("-".to_owned(), bytes).into(),
        note(plugin),
    ]
}

fn state(plugin: &PluginStatus) -> Cell {
    let ink = match &*plugin.state {
        "serving" => Ink::Green,
        "refused" => Ink::Red,
        "disabled" => Ink::Dim,
        _ => Ink::Yellow,
    };
    Cell::inked(&plugin.state, ink)
}

fn breaker(breaker: Option<&Breaker>) -> Cell {
    let Some(breaker) = breaker else { return "-".into() };
    let ink = match &*breaker.state {
        "closed" => Ink::Plain,
        "half-open" => Ink::Yellow,
        _ => Ink::Red,
    };
    let text = match breaker.left_seconds {
        Some(left) => format!("{} {}", breaker.state, age(left)),
        None => breaker.state.clone(),
    };
    Cell::inked(text, ink)
}

fn version(version: Option<&Version>) -> Cell {
    version
        .and_then(|version| version.version.as_deref())
        .unwrap_or("-")
        .into()
}

fn module(version: Option<&Version>) -> Cell {
    version.map_or("-", |version| short(&version.hash)).into()
}

/// The first digits of a hash.
fn short(hash: &str) -> &str {
    hash.get(..SHORT_HASH).unwrap_or(hash)
}

fn run(queue: &Queue) -> String {
    format!("{}/{}", queue.running, queue.concurrency)
}

fn parked_count(queue: &Queue) -> Cell {
    let ink = if queue.parked > 0 { Ink::Yellow } else { Ink::Plain };
    Cell::inked(queue.parked.to_string(), ink)
}

/// How far a version is that is on its way.
fn far(progress: &Progress) -> String {
    let age = age(progress.seconds);
    match &*progress.step {
        "waiting" => format!("for {age} waiting for its turn to be loaded"),
        step => format!("for {age} at the step {step}"),
    }
}

/// What an operator should know first.
fn note(plugin: &PluginStatus) -> Cell {
    let mut notes = Vec::new();
    let far = plugin.progress.as_ref().map(far);
    match (&plugin.candidate, far) {
        (Some(candidate), Some(far)) => notes.push(format!("{} is on its way: {far}", short(&candidate.hash))),
        (Some(candidate), None) => notes.push(format!("{} is on its way", short(&candidate.hash))),
        (None, Some(far)) => notes.push(far),
        (None, None) => {}
    }
    if plugin.absent {
        notes.push(absent(&plugin.name));
    }
    if let Some(refusal) = &plugin.refusal {
        // Of several lines one: a note is.
        let lines: Vec<&str> = refusal.why.lines().map(str::trim).collect();
        notes.push(format!("{}: {}", refusal.step, lines.join("; ")));
    }
    if let Some(held) = &plugin.held_back {
        notes.push(format!(
            "{} waits: {}; for a change of it, or `plugins promote`",
            short(&held.hash),
            decided(held)
        ));
    }
    // Said already of what waits for that.
    let waits = |hash: &&String| plugin.held_back.as_ref().is_none_or(|held| held.hash != **hash);
    if let Some(quarantined) = plugin.quarantined.as_ref().filter(waits) {
        notes.push(format!("{} is in quarantine", short(quarantined)));
    }
    if plugin.enabled_by_person == Some(false) {
        notes.push("disabled by a person".to_owned());
    }
    if let Some(why) = &plugin.held {
        notes.push(format!("not called: {why}"));
    }
    if let Some(breaker) = &plugin.breaker
        && breaker.state != "closed"
        && let Some(why) = &breaker.why
    {
        notes.push(why.clone());
    }
    if let Some(first) = plugin.hot_loops.first() {
        notes.push(format!("a key loops: {first}"));
    }
    if let Some(from) = plugin.rolled_back_from.as_ref().filter(waits) {
        notes.push(format!("rolled back from {}", short(from)));
    }
    if let Some(error) = &plugin.last_error {
        notes.push(format!("{} ago {}: {}", age(error.seconds_ago), error.key, error.why));
    }
    if notes.is_empty() {
        notes.extend(
            plugin
                .probation_seconds
                .map(|left| format!("on probation for {}", age(left))),
        );
    }
    notes.join("; ").into()
}

/// Of a plugin of which nothing is left but a person's word.
fn absent(name: &str) -> String {
    format!("the plugin directory holds no {name}.wasm, only a person's word on it is kept: put it there")
}

/// What was decided against a version, and when.
fn decided(held: &HeldBack) -> String {
    match held.seconds_ago {
        Some(seconds) => format!("{} {} ago", held.why, age(seconds)),
        None => held.why.clone(),
    }
}

/// `pilothouse plugins show`.
pub(super) fn plugin(look: Look, detail: &PluginDetail) -> String {
    let (style, plugin) = (look.style, &detail.plugin);
    let mut out = String::new();
    let mut line = |label: &str, text: &str| {
        // An empty label goes on with the one above.
        let text = style.shown(text);
        let _ = writeln!(out, "{} {text}", style.ink(Ink::Dim, &format!("{label:<12}")));
    };
    line("plugin", &plugin.name);
    if !detail.description.is_empty() {
        line("", &detail.description);
    }
    let serving = plugin.serving_seconds.filter(|_| plugin.serving.is_some());
    line(
        "state",
        &match serving {
            Some(seconds) => format!("{} for {}", plugin.state, age(seconds)),
            None => plugin.state.clone(),
        },
    );
    let named = |version: &Version| {
        let mut text = match &version.version {
            Some(own) => format!("{own}, module {}", version.hash),
            None => format!("module {}", version.hash),
        };
        if !version.configuration.is_empty() {
            let _ = write!(text, ", configuration {}", short(&version.configuration));
        }
        text
    };
    if let Some(version) = &plugin.serving {
        line("serves", &named(version));
    }
    if !detail.path.is_empty() {
        line("", &detail.path);
    }
    if let Some(left) = plugin.probation_seconds {
        line("probation", &format!("for {} more", age(left)));
    }
    if let Some(version) = &plugin.candidate {
        line("on its way", &named(version));
        if let Some(progress) = &plugin.progress {
            line("", &far(progress));
        }
    }
    if plugin.absent {
        line("missing", &absent(&plugin.name));
    }
    if let Some(refusal) = &plugin.refusal {
        line("refused", &format!("at the step {}: {}", refusal.step, refusal.why));
        for (number, mend) in refusal.mend.lines().enumerate() {
            line(if number == 0 { "mend" } else { "" }, mend);
        }
    }
    if let Some(held) = &plugin.held_back {
        line("waits", &format!("module {}: {}", held.hash, decided(held)));
        line("mend", &held.mend);
    }
    for (number, version) in plugin.previous.iter().enumerate() {
        line(if number == 0 { "at hand" } else { "" }, &named(version));
    }
    if let Some(hash) = &plugin.rolled_back_from {
        line("rolled back", &format!("from module {hash}"));
    }
    if let Some(hash) = &plugin.quarantined {
        line(
            "quarantine",
            &format!(
                "module {hash}: `pilothouse plugins reset {}` lets it go on",
                plugin.name
            ),
        );
    }
    if let Some(enabled) = plugin.enabled_by_person {
        line("person", if enabled { "enabled it" } else { "disabled it" });
    }
    if let Some(why) = &plugin.held {
        line("not called", why);
    }
    if let Some(breaker) = &plugin.breaker {
        let mut text = format!("{} for {}", breaker.state, age(breaker.seconds));
        if let Some(left) = breaker.left_seconds {
            let _ = write!(text, ", half-open in {}", age(left));
        }
        if let Some(why) = &breaker.why {
            let _ = write!(text, ": {why}");
        }
        line("breaker", &text);
        line(
            "",
            &format!(
                "opened {}; of its last {} calls {} failed, {} were slow",
                times(breaker.trips, "time"),
                breaker.calls,
                breaker.failed,
                breaker.slow
            ),
        );
    }
    for controller in &plugin.controllers {
        let queue = &controller.queue;
        let started = if controller.started {
            ""
        } else {
            ", waits for its first lists"
        };
        line(
            "controller",
            &format!("{}: {}{started}", controller.name, controller.kind),
        );
        line(
            "",
            &format!(
                "{} of {} run; {} ready, {} later, {} parked; {} runs, {} of them failed",
                queue.running, queue.concurrency, queue.queued, queue.delayed, queue.parked, queue.runs, queue.failed
            ),
        );
        if let Some(oldest) = queue.oldest_seconds {
            line(
                "",
                &format!("the oldest ready key has waited for {}", seconds(Some(oldest))),
            );
        }
    }
    for (number, found) in plugin.hot_loops.iter().enumerate() {
        line(if number == 0 { "loops" } else { "" }, found);
    }
    if let (Some(held), Some(objects)) = (plugin.cache_bytes, plugin.cache_objects) {
        line("cache", &format!("{objects} objects, {}", bytes(held)));
    }
    for (number, watch) in detail.watches.iter().enumerate() {
        line(if number == 0 { "watches" } else { "" }, watch);
    }
    for (number, permission) in detail.permissions.iter().enumerate() {
        line(if number == 0 { "asks for" } else { "" }, permission);
    }
    for (number, held) in detail.holds.iter().enumerate() {
        line(if number == 0 { "holds" } else { "" }, held);
    }
    if detail.holds_more > 0 {
        line("", &format!("and {} more", detail.holds_more));
    }
    if let Some(error) = &plugin.last_error {
        let text = format!(
            "{} ago, {} {} (attempt {}): {}",
            age(error.seconds_ago),
            error.controller,
            error.key,
            error.attempt,
            error.why
        );
        line("last error", &text);
    }
    for (number, past) in detail.history.iter().enumerate() {
        line(
            if number == 0 { "history" } else { "" },
            &format!("{} ago: {}", age(past.seconds_ago), past.what),
        );
    }
    out
}

/// `1 failure`, `2 failures`.
pub(super) fn times(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0 => "0s".to_owned(),
        1..172_800 => duration(Duration::from_secs(seconds)),
        _ => format!("{}d", seconds / 86_400),
    }
}

pub(super) fn seconds(seconds: Option<f64>) -> String {
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        None => "-".to_owned(),
        Some(short) if short < Duration::from_secs(10) => format!("{:.1}s", short.as_secs_f64()),
        Some(long) => age(long.as_secs()),
    }
}

fn bytes(count: u64) -> String {
    const KIB: u64 = 1024;
    match count {
        0..KIB => format!("{count} B"),
        KIB..1_048_576 => format!("{} KiB", count / KIB),
        _ => format!("{} MiB", count / 1_048_576),
    }
}

#[cfg(test)]
mod tests;
