//! The contract's imports: count, measure, and ask the backend.

use std::time::Duration;

use crate::backend::reason;
use crate::bindings::pilothouse::plugin::{call, events, log, read, types, write};
use crate::limits::{RANDOM, cut};
use crate::panics::Panic;
use crate::state::State;
use crate::{ApiError, Change, Freshness, Level, ObjectRef, Options, Page, Propagation, Query, Severity, Timestamp};

/// What a host function answers: outside, that the call ends; inside, what the guest sees.
type Answer<T> = wasmtime::Result<Result<T, ApiError>>;

impl State {
    /// Counts the call and measures its arguments.
    fn enter(&mut self, function: &str, bytes: usize) -> Answer<()> {
        self.admit()?;
        let limit = self.limits.argument;
        if bytes as u64 > limit {
            let message = format!(
                "the arguments of {function} have {bytes} bytes and may have {limit}: change less of the object at once, \
                 split it, or raise limits.objectKiB ({} now) in the operator's configuration",
                limit >> 10
            );
            return Ok(Err(ApiError::of_host(reason::LIMIT, message)));
        }
        Ok(Ok(()))
    }
}

/// Leaves the function with the guest's error.
macro_rules! enter {
    ($state:expr, $function:literal, $bytes:expr) => {
        if let Err(refusal) = $state.enter($function, $bytes)? {
            return Ok(Err(refusal));
        }
    };
}

impl types::Host for State {}

impl read::Host for State {
    async fn get(&mut self, target: ObjectRef, how: Freshness) -> Answer<Option<String>> {
        enter!(self, "read.get", of_ref(&target) + of_freshness(&how));
        Ok(self.backend.get(target, how).await)
    }

    async fn select(&mut self, query: Query, how: Freshness) -> Answer<Page> {
        enter!(self, "read.select", of_query(&query) + of_freshness(&how));
        Ok(self.backend.select(query, how).await)
    }

    async fn digest(&mut self, target: ObjectRef) -> Answer<Option<String>> {
        enter!(self, "read.digest", of_ref(&target));
        Ok(self.backend.digest(target).await)
    }
}

impl write::Host for State {
    async fn create(&mut self, target: ObjectRef, object: String, options: Options) -> Answer<String> {
        self.admit_write()?;
        enter!(
            self,
            "write.create",
            of_ref(&target) + object.len() + of_options(&options)
        );
        Ok(self.backend.create(target, object, options).await)
    }

    async fn patch(&mut self, target: ObjectRef, change: Change, options: Options) -> Answer<String> {
        self.admit_write()?;
        enter!(
            self,
            "write.patch",
            of_ref(&target) + of_change(&change) + of_options(&options)
        );
        Ok(self.backend.patch(target, change, options).await)
    }

    async fn replace(&mut self, target: ObjectRef, object: String, options: Options) -> Answer<String> {
        self.admit_write()?;
        enter!(
            self,
            "write.replace",
            of_ref(&target) + object.len() + of_options(&options)
        );
        Ok(self.backend.replace(target, object, options).await)
    }

    async fn remove(&mut self, target: ObjectRef, how: Propagation, options: Options) -> Answer<Option<String>> {
        self.admit_write()?;
        enter!(self, "write.remove", of_ref(&target) + of_options(&options));
        Ok(self.backend.remove(target, how, options).await)
    }
}

impl call::Host for State {
    fn config(&mut self) -> wasmtime::Result<String> {
        Ok(self.backend.config())
    }

    fn now(&mut self) -> wasmtime::Result<Timestamp> {
        Ok(self.backend.now())
    }

    fn random(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        let count = count.min(RANDOM);
        let mut bytes = self.backend.random(count);
        bytes.truncate(count as usize);
        Ok(bytes)
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.backend.attempt())
    }

    fn remaining_ms(&mut self) -> wasmtime::Result<u32> {
        let elapsed = if self.backend.time_stands() {
            Duration::ZERO
        } else {
            self.elapsed()
        };
        let left = self.limits.wall.saturating_sub(elapsed);
        Ok(u32::try_from(left.as_millis()).unwrap_or(u32::MAX))
    }

    fn trace_parent(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.backend.trace_parent())
    }
}

impl events::Host for State {
    fn emit(
        &mut self,
        regarding: ObjectRef,
        severity: Severity,
        reason: String,
        action: String,
        note: String,
    ) -> wasmtime::Result<()> {
        self.admit()?;
        let limit = self.limits.events;
        if self.used.events >= limit {
            if self.used.events_dropped == 0 {
                let said = format!(
                    "the plugin emitted more than {limit} events in one call: further ones are dropped (limits.events)"
                );
                self.log(Level::Warn, said, Vec::new());
            }
            self.used.events_dropped = self.used.events_dropped.saturating_add(1);
            return Ok(());
        }
        self.used.events += 1;
        // The API server refuses longer ones (1,024 bytes for the note: the sign of a cut takes three).
        let (reason, action) = (cut(reason, 125), cut(action, 125));
        self.backend
            .emit_event(regarding, severity, reason, action, cut(note, 1_021));
        Ok(())
    }
}

impl log::Host for State {
    fn emit(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let panic = match level {
            Level::Error => Panic::from_log(&message, &fields),
            _ => None,
        };
        match panic {
            // Held back: if the call ends here, this is its error and needs no log line besides.
            Some(panic) => {
                if let Some(earlier) = self.panic.replace(panic) {
                    self.log_panic(earlier);
                }
            }
            None => self.log(level, message, fields),
        }
        Ok(())
    }
}

fn of_ref(target: &ObjectRef) -> usize {
    let kind = &target.kind;
    let namespace = of_option(&target.namespace);
    kind.group.len() + kind.version.len() + kind.kind.len() + namespace + target.name.len()
}

fn of_option(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn of_freshness(how: &Freshness) -> usize {
    match how {
        Freshness::AtLeast(version) => version.len(),
        Freshness::Cached | Freshness::Live => 0,
    }
}

fn of_query(query: &Query) -> usize {
    let kind = &query.kind;
    let index = query.index.as_ref().map_or(0, |(name, value)| name.len() + value.len());
    let texts = of_option(&query.namespace) + query.labels.len() + of_option(&query.page);
    kind.group.len() + kind.version.len() + kind.kind.len() + index + texts
}

fn of_change(change: &Change) -> usize {
    match change {
        Change::Merge(json) | Change::JsonPatch(json) | Change::Strategic(json) | Change::Apply(json) => json.len(),
    }
}

fn of_options(options: &Options) -> usize {
    let version = of_option(&options.resource_version);
    of_option(&options.subresource) + of_option(&options.uid) + version + of_option(&options.manager_suffix)
}
