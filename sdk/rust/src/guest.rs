//! The component's side: exports that run the plugin, imports behind [`Host`]. Only in a component, only for `#[plugin]`.

use std::marker::PhantomData;
use std::sync::Once;
use std::time::Duration;

use bindings::exports::pilothouse::plugin::controller as exported;
use bindings::pilothouse::plugin::{call, events, log, read, types, write};

use crate::context::Context;
use crate::error::{ApiError, Failure, Outcome, Retry};
use crate::host::Host;
use crate::plugin::{Plugin, RawRequest};
use crate::wire::{
    Cause, Change, Freshness, Gvk, Level, ObjectRef, Page, Propagation, Query, Severity, Timestamp, WriteOptions,
};

#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from wit/"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "reconciler",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "::pilothouse_sdk::guest::bindings",
    });
}

/// Where the plugin comes from: `#[plugin]` implements it.
pub trait Described {
    /// Makes the plugin.
    fn plugin() -> Plugin;
}

/// The exports, for a plugin.
pub struct Exports<D>(PhantomData<D>);

impl<D: Described> exported::Guest for Exports<D> {
    fn describe() -> String {
        report_panics();
        D::plugin().describe()
    }

    fn check_config(config: String) -> Result<(), Vec<types::Cause>> {
        report_panics();
        let causes = D::plugin().check_config(&config);
        if causes.is_empty() {
            Ok(())
        } else {
            Err(causes.into_iter().map(cause_out).collect())
        }
    }

    fn reconcile(request: exported::Request) -> Result<exported::Outcome, exported::Failure> {
        report_panics();
        let request = RawRequest {
            controller: request.controller,
            key: reference_in(request.key),
            object: request.object,
        };
        match D::plugin().reconcile(&Context::imports(), request) {
            Ok(Outcome { requeue_after, note }) => Ok(exported::Outcome {
                requeue_after_ms: requeue_after.map(milliseconds),
                note,
            }),
            Err(Failure { retry, reason, message }) => {
                let retry = match retry {
                    Retry::Backoff => exported::Retry::Backoff,
                    Retry::After(delay) => exported::Retry::AfterMs(milliseconds(delay)),
                    Retry::Never => exported::Retry::Never,
                };
                Err(exported::Failure { retry, reason, message })
            }
        }
    }
}

/// A panic aborts the instance: tell the host what and where before.
fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let message = panic
                .payload_as_str()
                .unwrap_or("a panic with a payload that is no text");
            let (file, line) = panic
                .location()
                .map_or(("", 0), |location| (location.file(), location.line()));
            let fields = [
                ("panic", "true"),
                ("file", file),
                ("line", &line.to_string()),
                ("message", message),
            ];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            log::emit(log::Level::Error, message, &fields);
        }));
    });
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The component's imports.
#[derive(Clone)]
pub struct Imports;

impl Host for Imports {
    fn config(&self) -> String {
        call::config()
    }

    fn now(&self) -> Timestamp {
        let types::Timestamp { seconds, nanoseconds } = call::now();
        Timestamp { seconds, nanoseconds }
    }

    fn random(&self, count: u32) -> Vec<u8> {
        call::random(count)
    }

    fn attempt(&self) -> u32 {
        call::attempt()
    }

    fn remaining_ms(&self) -> u32 {
        call::remaining_ms()
    }

    fn trace_parent(&self) -> Option<String> {
        call::trace_parent()
    }

    fn get(&self, target: &ObjectRef, how: &Freshness) -> Result<Option<String>, ApiError> {
        read::get(&reference_out(target), &freshness(how)).map_err(error_in)
    }

    fn select(&self, kind: &Gvk, query: &Query, page: Option<&str>) -> Result<Page, ApiError> {
        let wanted = read::Query {
            kind: gvk_out(kind),
            namespace: query.namespace.clone(),
            labels: query.labels.clone(),
            index: query.index.clone(),
            limit: query.page_size,
            page: page.map(str::to_owned),
        };
        let read::Page {
            items,
            next,
            resource_version,
        } = read::select(&wanted, &freshness(&query.how)).map_err(error_in)?;
        Ok(Page {
            items,
            next,
            resource_version,
        })
    }

    fn digest(&self, target: &ObjectRef) -> Result<Option<String>, ApiError> {
        read::digest(&reference_out(target)).map_err(error_in)
    }

    fn create(&self, target: &ObjectRef, object: &str, options: &WriteOptions) -> Result<String, ApiError> {
        write::create(&reference_out(target), object, &options_out(options)).map_err(error_in)
    }

    fn patch(&self, target: &ObjectRef, change: &Change, options: &WriteOptions) -> Result<String, ApiError> {
        let change = match change {
            Change::Merge(patch) => write::Change::Merge(patch.clone()),
            Change::JsonPatch(patch) => write::Change::JsonPatch(patch.clone()),
            Change::Strategic(patch) => write::Change::Strategic(patch.clone()),
            Change::Apply(object) => write::Change::Apply(object.clone()),
        };
        write::patch(&reference_out(target), &change, &options_out(options)).map_err(error_in)
    }

    fn replace(&self, target: &ObjectRef, object: &str, options: &WriteOptions) -> Result<String, ApiError> {
        write::replace(&reference_out(target), object, &options_out(options)).map_err(error_in)
    }

    fn remove(
        &self,
        target: &ObjectRef,
        propagation: Propagation,
        options: &WriteOptions,
    ) -> Result<Option<String>, ApiError> {
        let propagation = match propagation {
            Propagation::Background => write::Propagation::Background,
            Propagation::Foreground => write::Propagation::Foreground,
            Propagation::Orphan => write::Propagation::Orphan,
        };
        write::remove(&reference_out(target), propagation, &options_out(options)).map_err(error_in)
    }

    fn event(&self, regarding: &ObjectRef, severity: Severity, reason: &str, action: &str, note: &str) {
        let severity = match severity {
            Severity::Normal => events::Severity::Normal,
            Severity::Warning => events::Severity::Warning,
        };
        events::emit(&reference_out(regarding), severity, reason, action, note);
    }

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let level = match level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
            Level::Trace => log::Level::Trace,
        };
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        log::emit(level, message, &fields);
    }
}

fn gvk_out(kind: &Gvk) -> types::Gvk {
    types::Gvk {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
    }
}

fn reference_out(target: &ObjectRef) -> types::ObjectRef {
    types::ObjectRef {
        kind: gvk_out(&target.kind),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    }
}

fn reference_in(target: types::ObjectRef) -> ObjectRef {
    let types::Gvk { group, version, kind } = target.kind;
    ObjectRef {
        kind: Gvk { group, version, kind },
        namespace: target.namespace,
        name: target.name,
    }
}

fn freshness(how: &Freshness) -> read::Freshness {
    match how {
        Freshness::Cached => read::Freshness::Cached,
        Freshness::AtLeast(version) => read::Freshness::AtLeast(version.clone()),
        Freshness::Live => read::Freshness::Live,
    }
}

fn options_out(options: &WriteOptions) -> write::Options {
    write::Options {
        subresource: options.subresource.clone(),
        uid: options.uid.clone(),
        resource_version: options.resource_version.clone(),
        force: options.force,
        dry_run: options.dry_run,
        manager_suffix: options.manager_suffix.clone(),
    }
}

fn cause_out(cause: Cause) -> types::Cause {
    types::Cause {
        reason: cause.reason,
        field: cause.field,
        message: cause.message,
    }
}

fn error_in(error: types::ApiError) -> ApiError {
    let causes = error.causes.into_iter();
    ApiError {
        reason: error.reason,
        code: error.code,
        message: error.message,
        causes: causes
            .map(|cause| Cause {
                reason: cause.reason,
                field: cause.field,
                message: cause.message,
            })
            .collect(),
        retry_after: error.retry_after_ms.map(|ms| Duration::from_millis(ms.into())),
        maybe_applied: error.maybe_applied,
    }
}
