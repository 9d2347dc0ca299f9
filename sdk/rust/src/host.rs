//! What stands behind a [`Context`](crate::Context): in a component the host's imports, in a native test the fake.

use crate::error::ApiError;
use crate::wire::{
    Change, Freshness, Gvk, Level, ObjectRef, Page, Propagation, Query, Severity, Timestamp, WriteOptions,
};

/// The host's functions as the contract has them: untyped, objects as JSON text. [`Context`](crate::Context) is the
/// comfortable way; [`Context::host`](crate::Context::host) reaches these for what it does not offer.
///
/// Every function that reaches for an object fails with an [`ApiError`]: the API server's, or the host's own where the
/// manifest did not ask for it or the operator did not grant it.
#[allow(missing_docs, reason = "documented where Context has them")]
pub trait Host {
    fn config(&self) -> String;
    fn now(&self) -> Timestamp;
    /// At most 256 bytes.
    fn random(&self, count: u32) -> Vec<u8>;
    fn attempt(&self) -> u32;
    fn remaining_ms(&self) -> u32;
    fn trace_parent(&self) -> Option<String>;

    fn get(&self, target: &ObjectRef, how: &Freshness) -> Result<Option<String>, ApiError>;
    /// One page; `page` is what the page before said comes next.
    fn select(&self, kind: &Gvk, query: &Query, page: Option<&str>) -> Result<Page, ApiError>;
    fn digest(&self, target: &ObjectRef) -> Result<Option<String>, ApiError>;

    fn create(&self, target: &ObjectRef, object: &str, options: &WriteOptions) -> Result<String, ApiError>;
    fn patch(&self, target: &ObjectRef, change: &Change, options: &WriteOptions) -> Result<String, ApiError>;
    /// Replaces the whole object: only with a resource version that this call has read live.
    fn replace(&self, target: &ObjectRef, object: &str, options: &WriteOptions) -> Result<String, ApiError>;
    fn remove(
        &self,
        target: &ObjectRef,
        propagation: Propagation,
        options: &WriteOptions,
    ) -> Result<Option<String>, ApiError>;

    fn event(&self, regarding: &ObjectRef, severity: Severity, reason: &str, action: &str, note: &str);
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
}
