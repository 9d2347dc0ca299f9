//! From the operator's file to what the host is started with.

use std::time::Duration;

use pilothouse_apiclient::Settings;
use pilothouse_controller::HostOptions;
use pilothouse_lifecycle::HostConfig;

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// How connections to the API server are made.
pub(crate) fn connections(config: &HostConfig) -> Settings {
    Settings {
        connect: seconds(config.api_timeouts.connect_seconds),
        compression: config.api_compression,
        ..Settings::default()
    }
}

/// Takes over what the file says of the host.
pub(crate) fn apply(config: &HostConfig, options: &mut HostOptions) {
    options.pool = config.pool_size as usize;
    options.api.per_second = config.api_requests_per_second;
    options.api.burst = config.api_request_burst;
    let times = config.api_timeouts;
    options.api.answer = seconds(times.answer_seconds);
    options.api.timeout = seconds(times.total_seconds);
    options.lists.answer = seconds(times.list_answer_seconds);
    options.lists.piece = seconds(times.list_pause_seconds);
    options.lists.total = seconds(times.list_total_seconds);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pilothouse_controller::{Happening, Observer};

    use super::*;

    struct Nobody;
    impl Observer for Nobody {
        fn happened(&self, _: &Happening) {}
    }

    /// The defaults stand twice: in the file's form, and with what they bound.
    #[test]
    fn what_the_file_has_by_default_is_what_the_host_has() {
        let own = HostOptions::new(1, Arc::new(Nobody));
        let mut from_file = HostOptions::new(1, Arc::new(Nobody));
        apply(&HostConfig::default(), &mut from_file);
        assert_eq!(own.pool, from_file.pool);
        assert_eq!(format!("{:?}", own.api), format!("{:?}", from_file.api));
        assert_eq!(own.lists, from_file.lists);
        assert_eq!(connections(&HostConfig::default()), Settings::default());
    }
}
