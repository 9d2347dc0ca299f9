//! The columns of Events.

use std::time::Duration;

use serde_json::Value;

use super::{Column, column, first_text, integer, name, text, wide};
use crate::age::age;

/// Both groups of events: `events.k8s.io` names some fields differently.
pub(super) fn events() -> Vec<Column> {
    vec![
        column("Last Seen", |o, now| match o.pointer("/series/lastObservedTime") {
            Some(time) => age(time.as_str(), now).into(),
            None => match first_text(o, &["/lastTimestamp", "/deprecatedLastTimestamp"]) {
                "" => first_seen(o, now).into(),
                time => age(Some(time), now).into(),
            },
        }),
        column("Type", |o, _| text(o, "/type").into()),
        column("Reason", |o, _| text(o, "/reason").into()),
        column("Object", |o, _| {
            let kind = first_text(o, &["/involvedObject/kind", "/regarding/kind"]).to_lowercase();
            match first_text(o, &["/involvedObject/name", "/regarding/name"]) {
                "" => kind.into(),
                name => format!("{kind}/{name}").into(),
            }
        }),
        wide("Subobject", |o, _| {
            first_text(o, &["/involvedObject/fieldPath", "/regarding/fieldPath"]).into()
        }),
        wide("Source", |o, _| {
            let component = first_text(
                o,
                &[
                    "/source/component",
                    "/deprecatedSource/component",
                    "/reportingComponent",
                    "/reportingController",
                ],
            );
            match first_text(o, &["/source/host", "/deprecatedSource/host", "/reportingInstance"]) {
                "" => component.into(),
                instance => format!("{component}, {instance}").into(),
            }
        }),
        column("Message", |o, _| first_text(o, &["/message", "/note"]).trim().into()),
        wide("First Seen", |o, now| first_seen(o, now).into()),
        wide("Count", |o, _| {
            let counts = ["/series/count", "/count", "/deprecatedCount"];
            counts
                .iter()
                .map(|at| integer(o, at))
                .find(|n| *n > 0)
                .unwrap_or(1)
                .into()
        }),
        Column { priority: 1, ..name() },
    ]
}

fn first_seen(event: &Value, now: Duration) -> String {
    age(
        Some(first_text(
            event,
            &["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"],
        )),
        now,
    )
}
