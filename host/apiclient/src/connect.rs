//! Opens connections: TCP, TLS, and which HTTP is spoken, all within one bound.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connection as _, HttpConnector},
    rt::TokioIo,
};
use kube::{Config, client::ConfigExt as _};
use rustls::client::Resumption;
use tokio::net::TcpStream;
use tower::Service;

use crate::{
    Settings,
    identity::Identity,
    meter::{H1, H2, Meter},
};

/// A request was certainly not sent. Whoever finds this among an error's sources may send it again, a write too.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unsent {
    /// No connection came about in time.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// A connection was refused, or TLS failed.
    #[error("can't connect")]
    Failed(#[source] Arc<dyn Error + Send + Sync>),
    /// Every connection was closed before the request went out.
    #[error("the connection was closed before the request was sent")]
    Closed,
}

pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Opens connections to one API server.
#[derive(Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector>,
    bound: Duration,
    meter: Meter,
}

impl Connector {
    /// Two of them: one that offers HTTP/2 beside HTTP/1.1, one that does not.
    ///
    /// # Errors
    /// Certificates or a server name that can't be used.
    pub(crate) fn pair(
        config: &Config,
        settings: &Settings,
        identity: Option<&Identity>,
        meter: &Meter,
    ) -> Result<(Self, Self), kube::Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // A peer that is gone without a word is found out by the system too, for HTTP/1.1, which has no pings.
        tcp.set_keepalive(Some(settings.ping));
        tcp.set_keepalive_interval(Some(settings.ping_answer));
        tcp.set_keepalive_retries(Some(1));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(settings.ping + settings.ping_answer));
        let mut tls = config.rustls_client_config()?;
        if let Some(identity) = identity {
            tls.client_auth_cert_resolver = Arc::new(identity.clone());
            // A resumed session keeps the certificate that it began with.
            tls.resumption = Resumption::disabled();
        }
        let builder = || {
            let builder = HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http();
            Ok::<_, kube::Error>(match &config.tls_server_name {
                None => builder,
                Some(name) => {
                    let name = name.clone().try_into().map_err(|error| {
                        kube::Error::RustlsTls(kube::client::RustlsTlsError::InvalidServerName(error))
                    })?;
                    builder.with_server_name_resolver(FixedServerNameResolver::new(name))
                }
            })
        };
        let made = |https| Self {
            https,
            bound: settings.connect,
            meter: meter.clone(),
        };
        Ok((
            made(builder()?.enable_all_versions().wrap_connector(tcp.clone())),
            made(builder()?.enable_http1().wrap_connector(tcp)),
        ))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Unsent;
    type Future = BoxFuture<'static, Result<Stream, Unsent>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        self.https.poll_ready(cx).map_err(|error| Unsent::Failed(error.into()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connecting = self.https.call(server);
        let (bound, meter) = (self.bound, self.meter.clone());
        Box::pin(async move {
            #[expect(clippy::disallowed_methods, reason = "this is a driver: the bound of a connect")]
            let connected = tokio::time::timeout(bound, connecting).await;
            let stream = connected
                .map_err(|_| Unsent::TimedOut(bound))?
                .map_err(|error| Unsent::Failed(error.into()))?;
            meter.opened(if is_h2(&stream) { H2 } else { H1 });
            Ok(stream)
        })
    }
}

/// Whether the server chose HTTP/2.
pub(crate) fn is_h2(stream: &Stream) -> bool {
    stream.connected().is_negotiated_h2()
}
