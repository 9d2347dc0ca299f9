//! A server of HTTP/2 and HTTP/1.1 over TLS that can be made to misbehave.

use std::{
    convert::Infallible,
    io::Write as _,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures_util::future::BoxFuture;
use http::{
    Request, Response,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

pub(crate) struct Options {
    pub(crate) http2: bool,
    /// Requests at once on one connection.
    pub(crate) streams: u32,
    pub(crate) client_certificates: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            http2: true,
            streams: 100,
            client_certificates: false,
        }
    }
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    hanging: AtomicUsize,
    /// The one client certificate that is taken; all of them where it is none.
    taken: Mutex<Option<Vec<u8>>>,
}

/// Told to all connections; each number is a new order.
#[derive(Clone, Copy, Default)]
struct Orders {
    cut: usize,
    away: usize,
    frozen: bool,
}

pub(crate) struct Server {
    port: u16,
    ca: CertifiedIssuer<'static, KeyPair>,
    shared: Arc<Shared>,
    orders: watch::Sender<Orders>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(options: Options) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
            .unwrap()
            .signed_by(&key, &ca)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if options.client_certificates {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut tls = builder
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        tls.alpn_protocols = match options.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let orders = watch::Sender::new(Orders::default());
        let task = tokio::spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            shared.clone(),
            orders.clone(),
            options.streams,
        ));
        Self {
            port,
            ca,
            shared,
            orders,
            task,
        }
    }

    pub(crate) fn config(&self) -> kube::Config {
        self.config_at(self.port)
    }

    pub(crate) fn config_at(&self, port: u16) -> kube::Config {
        let mut config = kube::Config::new(format!("https://127.0.0.1:{port}").parse().unwrap());
        config.root_cert = Some(vec![self.ca.der().to_vec()]);
        config
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests that get no answer.
    pub(crate) fn hanging(&self) -> usize {
        self.shared.hanging.load(Ordering::SeqCst)
    }

    /// Ends all connections.
    pub(crate) fn cut(&self) {
        self.orders.send_modify(|orders| orders.cut += 1);
    }

    /// Tells all clients to go elsewhere.
    pub(crate) fn go_away(&self) {
        self.orders.send_modify(|orders| orders.away += 1);
    }

    /// Reads nothing and writes nothing on the connections there are.
    pub(crate) fn freeze(&self) {
        self.orders.send_modify(|orders| orders.frozen = true);
    }

    pub(crate) fn thaw(&self) {
        self.orders.send_modify(|orders| orders.frozen = false);
    }

    /// Listens no more, and ends all connections.
    pub(crate) async fn stop(&self) {
        self.task.abort();
        self.cut();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// A certificate and its key, in PEM.
    pub(crate) fn client_certificate(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// All others get a 401.
    pub(crate) fn takes_only(&self, certificate: &str) {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        *self.shared.taken.lock().unwrap() = Some(der.to_vec());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    orders: watch::Sender<Orders>,
    streams: u32,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, shared, mut orders) = (tls.clone(), shared.clone(), orders.subscribe());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
            let service = service_fn(move |request| answer(shared.clone(), certificate.clone(), request));
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().max_concurrent_streams(streams);
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let mut told = *orders.borrow_and_update();
            loop {
                tokio::select! {
                    biased;
                    changed = orders.changed() => {
                        let now = *orders.borrow_and_update();
                        if changed.is_err() || now.cut != told.cut {
                            return;
                        }
                        if now.away != told.away {
                            connection.as_mut().graceful_shutdown();
                        }
                        if now.frozen {
                            std::future::pending::<()>().await;
                        }
                        told = now;
                    }
                    _ = &mut connection => return,
                }
            }
        });
    }
}

fn answer(
    shared: Arc<Shared>,
    certificate: Option<Vec<u8>>,
    request: Request<Incoming>,
) -> BoxFuture<'static, Result<Response<BoxBody<Bytes, Infallible>>, Infallible>> {
    Box::pin(async move {
        let taken = shared.taken.lock().unwrap().clone();
        if taken.is_some() && taken != certificate {
            let answer = Response::builder().status(401);
            return Ok(answer.body(Full::default().boxed()).unwrap());
        }
        let asked = request.headers().get(ACCEPT_ENCODING);
        let packs = asked.is_some_and(|coding| coding == "gzip") && request.uri().path() == "/packed";
        if packs || request.uri().query() == Some("watch=true") {
            let said = asked.and_then(|coding| coding.to_str().ok()).unwrap_or("nothing");
            if !packs {
                return Ok(Response::new(Full::from(said.to_owned()).boxed()));
            }
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&[b'x'; 1 << 20]).unwrap();
            let body = Full::from(encoder.finish().unwrap()).boxed();
            return Ok(Response::builder().header(CONTENT_ENCODING, "gzip").body(body).unwrap());
        }
        Ok(Response::new(match request.uri().path() {
            "/version" => Full::from(format!("{:?}", request.version())).boxed(),
            "/watch" => {
                let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
                StreamBody::new(never).boxed()
            }
            _ => {
                shared.hanging.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        }))
    })
}
