//! How a reflector asks.

use std::time::Duration;

use crate::reflector::backoff::BackoffConfig;

/// In which form lists are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListMode {
    /// As a stream that goes on as the watch: one request, and neither side holds the list as a whole. Falls back to
    /// [`ListMode::Paged`] where that doesn't work, and tries again after an hour or once the server was away.
    #[default]
    Streaming,
    /// In pages, then a watch.
    Paged,
}

/// How a reflector asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReflectorConfig {
    /// In which form lists are asked for. Default: streaming.
    pub lists: ListMode,
    /// Objects in a page of a list. Default 500. A real server ignores it in its first answer, which comes from its
    /// cache.
    pub page_size: u32,
    /// The most elements of one list, however it comes; a list with more has no end and is given up. Default five
    /// million.
    pub max_elements: u64,
    /// Pauses after failed lists and watches.
    pub backoff: BackoffConfig,
    /// Pauses while the kind is not there: default 0.2–5 s, since people wait for it after installing a CRD.
    pub discovery: BackoffConfig,
}

impl Default for ReflectorConfig {
    fn default() -> Self {
        Self {
            lists: ListMode::default(),
            page_size: 500,
            max_elements: 5_000_000,
            backoff: BackoffConfig::default(),
            discovery: BackoffConfig {
                first: Duration::from_millis(200),
                cap: Duration::from_secs(5),
                healthy: Duration::from_secs(120),
            },
        }
    }
}
