//! Waiting for an API server that is not there yet.

use std::time::Duration;

use http::{Request, StatusCode};
use kube::{Client, client::Body};
use pilothouse_object::{escape_control, shorten};

use crate::{front::pause, present::duration};

/// How often an API server that isn't there is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);

/// Returns once the API server answers. Each different reason why it doesn't is said once.
pub(crate) async fn reach(client: &Client, server: &str) {
    let mut said = String::new();
    loop {
        match attempt(client).await {
            Ok(()) if said.is_empty() => return,
            Ok(()) => {
                tracing::info!("the API server {server} answers");
                return;
            }
            Err(why) => {
                if why != said {
                    tracing::warn!("the API server {server} {why}; waiting for it");
                    said = why;
                }
                pause(TRY_AGAIN).await;
            }
        }
    }
}

/// Whether the server answers. Any answer will do but one that says that nothing will be answered.
async fn attempt(client: &Client) -> Result<(), String> {
    let request = Request::get("/version")
        .body(Body::empty())
        .map_err(|error| format!("can't be asked: {error}"))?;
    #[expect(clippy::disallowed_methods, reason = "this is a driver: the try is bounded in time")]
    let answer = tokio::time::timeout(TRY, client.send(request)).await;
    match answer {
        Err(_) => Err(format!("does not answer within {}", duration(TRY))),
        Ok(Err(error)) => Err(unreachable(&error)),
        Ok(Ok(response)) => match response.status() {
            StatusCode::UNAUTHORIZED => {
                Err("refuses the kubeconfig's credentials (401): renew them, or choose another --context".to_owned())
            }
            status if status.is_server_error() => Err(format!("answers {status}")),
            _ => Ok(()),
        },
    }
}

/// The innermost reason, which is the one that tells, and the mend where it is known.
pub(crate) fn unreachable(error: &(dyn std::error::Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| error.source())
        .last()
        .unwrap_or(error);
    let text = escape_control(&shorten(&innermost.to_string(), 300)).into_owned();
    let mend = if text.contains("UnknownIssuer") {
        ": the kubeconfig's certificate-authority is not the one that signed the server's certificate"
    } else if text.contains("NotValidForName") {
        ": set tls-server-name in the kubeconfig to a name in the server's certificate"
    } else if text.contains("Expired") {
        ": a certificate has expired: renew it"
    } else {
        ""
    };
    format!("can't be reached ({text}){mend}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);
    impl std::fmt::Display for Layer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }
    impl std::error::Error for Layer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn what_is_wrong_with_a_connection_is_said_by_its_innermost_reason() {
        let refused = Layer("Connection refused (os error 111)", None);
        let error = Layer(
            "client error",
            Some(Box::new(Layer("connect", Some(Box::new(refused))))),
        );
        assert_eq!(
            unreachable(&error),
            "can't be reached (Connection refused (os error 111))"
        );
        let tls = Layer(
            "tls",
            Some(Box::new(Layer("invalid peer certificate: UnknownIssuer", None))),
        );
        assert!(
            unreachable(&tls).ends_with("certificate-authority is not the one that signed the server's certificate")
        );
    }
}
