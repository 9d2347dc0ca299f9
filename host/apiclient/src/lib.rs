//! One client of the API server for a whole process: a [`kube::Client`] over connections of our own.
#![forbid(unsafe_code)]

mod connect;
mod exchange;
mod identity;
mod lanes;
mod meter;
mod token;

use std::{io, time::Duration};

use kube::{Client, Config, client::ConfigExt as _};
use tower::{BoxError, ServiceBuilder};

use crate::{connect::Connector, exchange::Exchange, identity::Identity, token::TokenFile};
pub use crate::{connect::Unsent, meter::Meter};

/// How connections are made and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether HTTP/2 is spoken where the server does too. Default true. Without TLS it is HTTP/1.1 always.
    pub http2: bool,
    /// How long it may take until a connection is open, TLS included. Default 10 s (Go gives TLS alone as long, and TCP
    /// 30 s).
    pub connect: Duration,
    /// A connection of HTTP/2 over which nothing came for so long is pinged. Default 30 s, as client-go has it.
    pub ping: Duration,
    /// A ping without an answer for so long ends the connection, and all that is under way on it. Default 15 s, as
    /// client-go has it.
    pub ping_answer: Duration,
    /// How much of one answer the server may send ahead of its reader, in bytes, and how much on one connection together.
    /// Default 2 MiB and 8 MiB. Small ones make lists slow where the way is long: a round trip of 100 ms and 64 KiB, the
    /// protocol's own default, are 640 KB a second. It is also what one connection may cost in memory.
    pub stream_window: u32,
    /// See [`Settings::stream_window`].
    pub connection_window: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http2: true,
            connect: Duration::from_secs(10),
            ping: Duration::from_secs(30),
            ping_answer: Duration::from_secs(15),
            stream_window: 2 << 20,
            connection_window: 8 << 20,
        }
    }
}

/// Why there is no client. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the kubeconfig says can't be used.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The files with the client certificate can't be used.
    #[error("the client certificate can't be used: {0}")]
    Certificate(#[source] io::Error),
}

/// A client for what a kubeconfig, or a pod's service account, names. Its requests are counted by `meter`. Needs a tokio
/// runtime.
///
/// Of `config` its time-outs, `default_retry` and `disable_compression` count for nothing here: whoever sends bounds the
/// time, nothing is repeated that may have been sent, and nothing is compressed.
///
/// # Errors
/// Credentials, certificates or a proxy that can't be used.
pub fn client(mut config: Config, settings: Settings, meter: Meter) -> Result<Client, Error> {
    if let Some(proxy) = &config.proxy_url {
        return Err(Error::Kube(kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        }));
    }
    let token = TokenFile::take(&mut config.auth_info).map_err(kube::Error::Auth)?;
    let identity = Identity::of(&config.auth_info).map_err(Error::Certificate)?;
    let connectors = Connector::pair(&config, &settings, identity.as_ref(), &meter)?;
    let exchange = Exchange::new(config.cluster_url.clone(), settings, identity, connectors, meter);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(token)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(exchange);
    Ok(Client::new(service, config.default_namespace))
}
