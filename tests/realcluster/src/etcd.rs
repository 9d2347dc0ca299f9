//! What is asked of etcd itself, over its JSON gateway.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use crate::{ControlPlane, Error};

impl ControlPlane {
    /// Throws etcd's history away up to now. The API server serves what is a little older from its own cache as before,
    /// which a restart empties: after both, lists of old versions, old continue tokens and old watches are answered
    /// with 410.
    ///
    /// # Errors
    /// [`Error::Etcd`] with what it says.
    pub fn compact(&self) -> Result<(), Error> {
        // The header of any answer carries the revision.
        let answer = self.ask("range", &json!({"key": "AA=="}))?;
        let revision = answer["header"]["revision"]
            .as_str()
            .ok_or_else(|| Error::Etcd(format!("no revision in {answer}")))?;
        self.ask("compaction", &json!({"revision": revision, "physical": true}))?;
        Ok(())
    }

    fn ask(&self, what: &str, body: &Value) -> Result<Value, Error> {
        let agent: Agent = Agent::config_builder()
            // A proxy from the environment is not for this machine's own addresses.
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        let failed = |error: ureq::Error| Error::Etcd(format!("{what}: {error}"));
        let mut answer = agent
            .post(format!("http://127.0.0.1:{}/v3/kv/{what}", self.etcd_port()))
            .header("content-type", "application/json")
            .send(body.to_string())
            .map_err(failed)?;
        let text = answer.body_mut().read_to_string().map_err(failed)?;
        serde_json::from_str(&text).map_err(|error| Error::Etcd(format!("{what}: {error}: {text}")))
    }
}
