//! Keys in queues, and parked ones, as people read them. Pure.

use std::fmt::Write as _;

use super::{
    table::{Cell, Table},
    text::{Look, age, seconds, times},
};
use crate::{
    admin::api::{ParkedKey, QueueDetail},
    present::Ink,
};

/// Characters of a cause that are shown where not all is asked for.
const CAUSE: usize = 120;

/// `pilothouse queue`.
pub(super) fn queue(look: Look, detail: &QueueDetail) -> String {
    let mut out = String::new();
    for controller in &detail.controllers {
        let queue = &controller.queue;
        let name = look.style.shown(&format!("{}/{}", detail.plugin, controller.name));
        let _ = writeln!(
            out,
            "{}: {} of {} run; {} ready, {} later, {} parked",
            look.style.ink(Ink::Bold, &name),
            queue.running,
            queue.concurrency,
            queue.queued,
            queue.delayed,
            queue.parked
        );
        if controller.keys.is_empty() {
            continue;
        }
        let mut table = if look.wide {
            Table::new(["KEY", "STATE", "FOR", "DUE", "FAILURES", "ERROR", "CAUSE"])
        } else {
            Table::new(["KEY", "STATE", "FOR", "DUE", "FAILURES", "CAUSE"])
        };
        for key in &controller.keys {
            let ink = match &*key.state {
                "working" => Ink::Green,
                _ => Ink::Plain,
            };
            let state = if key.again {
                format!("{}, again", key.state)
            } else {
                key.state.clone()
            };
            let mut row: Vec<Cell> = vec![
                (&key.key).into(),
                Cell::inked(state, ink),
                seconds(Some(key.seconds)).into(),
                key.due_seconds
                    .map_or("-".to_owned(), |due| format!("in {}", seconds(Some(due))))
                    .into(),
                key.attempts.to_string().into(),
            ];
            if look.wide {
                row.push(key.error.as_deref().unwrap_or("-").into());
            }
            let cause = key.cause.as_deref().unwrap_or("-");
            row.push(match look.wide {
                true => cause.into(),
                // What came before is for those who ask for it.
                false => look.style.cut(cause, CAUSE).into(),
            });
            table.row(row);
        }
        out.push_str(&table.text(look.style, look.columns));
        let shown = controller.keys.len();
        let all = queue.queued + queue.delayed + queue.working;
        if all > shown {
            let _ = writeln!(out, "{} more are not shown: see --limit", all - shown);
        }
    }
    out
}

/// `pilothouse parked list`.
pub(super) fn parked_list(look: Look, keys: &[ParkedKey], more: bool) -> String {
    if keys.is_empty() {
        return "No key is parked.\n".to_owned();
    }
    let mut table = Table::new(["PLUGIN", "CONTROLLER", "KEY", "FOR", "FAILURES", "REASON"]);
    for key in keys {
        table.row([
            (&key.plugin).into(),
            (&key.controller).into(),
            (&key.key).into(),
            age(key.seconds).into(),
            key.attempts.to_string().into(),
            (&key.reason).into(),
        ]);
    }
    let mut out = table.text(look.style, look.columns);
    if more {
        out.push_str("more are parked: see --limit\n");
    }
    out
}

/// `pilothouse parked show`.
pub(super) fn parked_show(look: Look, keys: &[ParkedKey]) -> String {
    let mut out = String::new();
    for key in keys {
        let mut line = |label: &str, text: &str| {
            let label = look.style.ink(Ink::Dim, &format!("{label:<8}"));
            let _ = writeln!(out, "{label} {}", look.style.shown(text));
        };
        line("key", &format!("{}/{} {}", key.plugin, key.controller, key.key));
        line(
            "parked",
            &format!(
                "for {}, after {}",
                age(key.seconds),
                times(key.attempts.into(), "failure")
            ),
        );
        line("reason", &key.reason);
        line("cause", &key.cause);
        for (number, error) in key.errors.iter().enumerate() {
            let text = format!(
                "{} ago, attempt {}: {}",
                age(error.seconds_ago),
                error.attempt,
                error.why
            );
            line(if number == 0 { "errors" } else { "" }, &text);
        }
    }
    out
}
