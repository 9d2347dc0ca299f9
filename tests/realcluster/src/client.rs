//! Clients of kube-rs.

use kube::{Client, Config};

use crate::ControlPlane;

impl ControlPlane {
    /// The administrator's client, for the runtime it is called in.
    ///
    /// # Panics
    /// Outside a tokio runtime, or if what this crate wrote itself is no certificate or address.
    #[must_use]
    pub fn client(&self) -> Client {
        let url = self.apiserver().url().parse().expect("an address of our own");
        let mut config = Config::new(url);
        let credentials = &self.site().credentials;
        config.root_cert = Some(vec![credentials.ca_der.clone()]);
        config.auth_info.token = Some(credentials.token.clone().into());
        // A test sees what the server answers, not what a client made of it.
        config.default_retry = false;
        Client::try_from(config).expect("a client with a certificate of our own")
    }
}
