//! One client of the API server for a whole process: a [`kube::Client`] over connections of our own.
//!
//! # Promised
//! - **Few connections.** HTTP/2 where the server speaks it: one connection for everything, and another one only when
//!   the server takes no more requests on the first. kube's own client opens a connection for each request at once.
//! - **A peer that is gone is found out**: by pings over HTTP/2, also while nothing is sent, by the system's keep-alive
//!   over HTTP/1.1. A request that was given up while nothing at all came over its connection leaves the next one
//!   another connection.
//! - **Nothing is sent twice.** A request that was certainly not sent is sent over another connection, or fails with
//!   [`Unsent`] among the sources of its error. Whatever else went wrong is the sender's to judge.
//! - **Credentials are read again**: a token file each minute, a client certificate and its key each ten seconds, both
//!   at once after a 401. New connections use what was read; what is under way, watches above all, stays where it is.
//!   What can't be read leaves the old in use. A pod's `ca.crt` is read again by kube.
//! - Requests, their time, and connections are counted ([`Meter`]).
//!
//! # Not promised
//! - Requests are not bounded in number or time here; only connecting is. [`Pace`] is for those who send.
//! - A certificate that a credentials' command (`exec`) brought is not renewed; its token is, by kube. Other files of a
//!   kubeconfig (its `certificate-authority`, itself) are read once. Proxies are refused with an error that says so.
//!
//! # Why HTTP/2, and what was measured
//! Against kube-apiserver 1.36 on the same machine (2 cores, AMD EPYC, others working on it), one thread, release
//! build, by `cargo run --release -p pilothouse-apiclient --example measure`:
//!
//! | 2,000 patches, three runs | | CPU here | in the server | wall | connections |
//! |---|---|---|---|---|---|
//! | 4 at once | kube 5 | 114–151 ms | 1.8–2.3 s | 2.4–3.6 s | not counted |
//! | | HTTP/1.1 here | 126–153 ms | 1.9–2.4 s | 3.0–3.7 s | 4 |
//! | | HTTP/2 | 167–209 ms | 2.1–2.7 s | 2.5–5.0 s | 1 |
//! | 16 at once | kube 5 | 126–133 ms | 2.1–2.3 s | 2.8–3.6 s | not counted |
//! | | HTTP/1.1 here | 126–141 ms | 1.8–2.2 s | 2.4–3.2 s | 16 |
//! | | HTTP/2 | 129–162 ms | 1.9–2.4 s | 2.5–5.2 s | 1 |
//! | 2,000 at once | kube 5 | 715–745 ms | 2.9–3.4 s | 8.0–8.1 s | not counted |
//! | | HTTP/1.1 here | 823–903 ms | 2.8–3.1 s | 6.8–9.0 s | 1,985–2,000 |
//! | | HTTP/2 | 99–107 ms | 1.7–2.2 s | 3.6–5.6 s | 20 |
//!
//! With few at once HTTP/2 is a little dearer or the same, in a burst it is an eighth. What speaks for it besides is
//! what does not show in such figures: one TLS handshake instead of one for each request at once, pings, and one server
//! of several behind a load balancer for reads, watches and writes. Its price: one connection is in one place, and a
//! watch takes one of the 100 requests that kube-apiserver allows on each (not 250, as Go's servers have it by
//! default).
//!
//! From the answer to a write until its event has come over a watch: p50 0.0 ms for all of them (most events come
//! first), p99 0.4 to 2.3 ms without a difference beyond the noise.
//!
//! | a list of 20,000 ConfigMaps of 4 KB | bytes | CPU here | in the server | wall |
//! |---|---|---|---|---|
//! | JSON, HTTP/1.1 | 78.7 MB | 91–146 ms | 300–320 ms | 0.6–2.5 s |
//! | JSON, HTTP/2, windows of 64 KiB | 78.7 MB | 144–195 ms | 660–830 ms | 1.3–3.0 s |
//! | JSON, HTTP/2, windows of 2 and 8 MiB (the default) | 78.7 MB | 104–135 ms | 370–600 ms | 0.9–1.5 s |
//! | JSON, gzip | 26.8 MB | 278–289 ms | 1,030–1,180 ms | 2.5–3.9 s |
//! | protobuf | 74.8 MB | 103–140 ms | 270–350 ms | 0.9–1.9 s |
//! | protobuf, gzip | 26.7 MB | 276–283 ms | 1,010–1,120 ms | 2.3–3.8 s |
//!
//! # Why nothing is compressed unless it is asked for
//! gzip takes two thirds off the bytes and costs the server 0.7 s of CPU more, and the reader 0.17 s, for these 79 MB.
//! It pays in time where 52 MB take longer than that, which is below some 400 Mbit/s, and it never pays in CPU. Hosts
//! of controllers run beside their API server, so [`Settings::compression`] is for those that don't.
//!
//! # Why JSON and not protobuf
//! Built-in kinds could be had as protobuf. For these ConfigMaps, which are one long string each, that saves 5 % of the
//! bytes and nothing measurable in the server. The head of an object (name, namespace, uid, version) is found in 0.4 µs
//! instead of 1.9 µs; a kind of many small fields, such as Pods, would save more of both. It would cost: custom
//! resources have no protobuf at all, so that both forms would be kept and tested; the wire form names no fields, so
//! that the schema of every kind and version had to be compiled in, and what is newer than that is lost or opaque;
//! plugins are handed JSON, so that each object would be turned into it for each call; merge patches and field paths
//! are defined on JSON. 20,000 objects are read once, at the start, in 0.03 s more. JSON stays.
#![forbid(unsafe_code)]

mod connect;
mod exchange;
mod gunzip;
mod identity;
mod lanes;
mod meter;
mod pace;
mod token;

use std::{io, time::Duration};

use kube::{Client, Config, client::ConfigExt as _};
use tower::{BoxError, ServiceBuilder};

use crate::{connect::Connector, exchange::Exchange, identity::Identity, token::TokenFile};
pub use crate::{
    connect::Unsent,
    meter::Meter,
    pace::{Pace, TooLong},
};

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
    /// How much of one answer the server may send ahead of its reader, in bytes, and how much on one connection
    /// together. Default 2 MiB and 8 MiB. Small ones make lists slow where the way is long: a round trip of 100 ms and
    /// 64 KiB, the protocol's own default, are 640 KB a second. It is also what one connection may cost in memory.
    pub stream_window: u32,
    /// See [`Settings::stream_window`].
    pub connection_window: u32,
    /// Whether answers to reads are asked for compressed, whatever the request says; watches never are. The server
    /// compresses what is longer than 128 KB. Default false: it pays where the way to the server is slow, see the
    /// crate's documentation.
    pub compression: bool,
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
            compression: false,
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

/// A client for what a kubeconfig, or a pod's service account, names. Its requests are counted by `meter`. Needs a
/// tokio runtime.
///
/// Of `config` its time-outs, `default_retry` and `disable_compression` count for nothing here: whoever sends bounds
/// the time, nothing is repeated that may have been sent, and compression is a setting.
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
    meter.is_for(&config.cluster_url);
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
