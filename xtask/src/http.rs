//! A client of an API server on this machine: plain HTTP and JSON.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::{Agent, Body};

/// One request may take so long.
const TIME: Duration = Duration::from_secs(10);

/// An answer may be so long.
const LONGEST: u64 = 16 * 1024 * 1024;

/// The API server behind a base URL.
pub(crate) struct Api {
    base: String,
    agent: Agent,
}

impl Api {
    /// `base` is like `http://127.0.0.1:1234`.
    pub(crate) fn new(base: &str) -> Self {
        let config = Agent::config_builder()
            // A proxy from the environment is not for this machine's own addresses.
            .proxy(None)
            .timeout_global(Some(TIME))
            .http_status_as_error(false)
            .build();
        Self {
            base: base.trim_end_matches('/').to_owned(),
            agent: config.into(),
        }
    }

    /// The object; none if there is none.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call();
        read("GET", path, answer)
    }

    /// Sends a merge patch; answers the object.
    pub(crate) fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let answer = self
            .agent
            .patch(format!("{}{path}", self.base))
            .header("content-type", "application/merge-patch+json")
            .send(patch.to_string());
        read("PATCH", path, answer)?.with_context(|| format!("PATCH {path}: there is no such object"))
    }

    /// Deletes the object.
    pub(crate) fn delete(&self, path: &str) -> Result<()> {
        let answer = self.agent.delete(format!("{}{path}", self.base)).call();
        read("DELETE", path, answer)?.with_context(|| format!("DELETE {path}: there is no such object"))?;
        Ok(())
    }
}

fn read(verb: &str, path: &str, answer: Result<ureq::http::Response<Body>, ureq::Error>) -> Result<Option<Value>> {
    let mut answer = answer.with_context(|| format!("{verb} {path}"))?;
    let status = answer.status();
    let text = answer
        .body_mut()
        .with_config()
        .limit(LONGEST)
        .read_to_string()
        .with_context(|| format!("{verb} {path}: the answer breaks off"))?;
    if status == 404 {
        return Ok(None);
    }
    let value = serde_json::from_str::<Value>(&text);
    if !status.is_success() {
        let message = value
            .ok()
            .and_then(|status| status["message"].as_str().map(str::to_owned))
            .unwrap_or(text);
        bail!("{verb} {path}: {status}: {message}");
    }
    Ok(Some(
        value.with_context(|| format!("{verb} {path}: the answer is no JSON"))?,
    ))
}
