//! A token in a file, as service accounts have them: it is renewed there, and read again.
//!
//! kube reads such a file once a minute, so that a token that was revoked and renewed would be refused for as long.
//! This reads it at once after a 401 too, as client-go does (but once a second at most), and takes files that end in a
//! line break.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use kube::{
    client::{AuthError, Body},
    config::AuthInfo,
};
use tower::{Layer, Service};

/// A token is good for so long without a look into its file.
const FRESH: Duration = Duration::from_secs(60);

/// And one that was refused for so long: while a server refuses all of them, not every request reads the file.
const SOON: Duration = Duration::from_secs(1);

/// The longest file that is read; a token has some KB.
const MAX_FILE: u64 = 1 << 20;

/// A file with a token. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    header: HeaderValue,
    read: Instant,
    /// When the file was read last because of a refusal.
    reread: Option<Instant>,
    /// The server has refused it.
    refused: bool,
    /// The last look found no token, and that was said.
    told: bool,
}

#[expect(clippy::disallowed_methods, reason = "this is a driver: how old a token is")]
fn now() -> Instant {
    Instant::now()
}

/// Opens a file, also through links, as those are that a cluster renews.
///
/// # Errors
/// It can't be opened, or is none: a pipe would keep all requests waiting.
pub(crate) fn regular(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    File::open(path)
}

fn read(path: &Path) -> io::Result<HeaderValue> {
    let mut token = String::new();
    regular(path)?.take(MAX_FILE).read_to_string(&mut token)?;
    let none = || io::Error::new(io::ErrorKind::InvalidData, "it holds no token");
    // As in the middle of a renewal by somebody who writes in place.
    if token.trim().is_empty() {
        return Err(none());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| none())?;
    header.set_sensitive(true);
    Ok(header)
}

impl TokenFile {
    /// Takes the token file out of the credentials, where it is what counts.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn take(auth: &mut AuthInfo) -> Result<Option<Self>, AuthError> {
        // What kube prefers to it.
        let other = auth.auth_provider.is_some() || auth.token.is_some();
        if other || (auth.username.is_some() && auth.password.is_some()) {
            return Ok(None);
        }
        let Some(path) = auth.token_file.take().map(PathBuf::from) else {
            return Ok(None);
        };
        let header = read(&path).map_err(|error| AuthError::ReadTokenFile(error, path.clone()))?;
        let held = Mutex::new(Held {
            header,
            read: now(),
            reread: None,
            refused: false,
            told: false,
        });
        Ok(Some(Self(Arc::new(Inner { path, held }))))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn header(&self) -> HeaderValue {
        self.header_at(now())
    }

    fn header_at(&self, now: Instant) -> HeaderValue {
        let mut held = self.held();
        let soon = held.refused
            && held
                .reread
                .is_none_or(|read| now.saturating_duration_since(read) >= SOON);
        if soon || now.saturating_duration_since(held.read) >= FRESH {
            if held.refused {
                held.reread = Some(now);
            }
            match read(&self.0.path) {
                Ok(header) => (held.header, held.told) = (header, false),
                // Some make the file available at the start alone: then the last one read is as good as it gets.
                Err(error) if !held.told => {
                    held.told = true;
                    tracing::warn!(
                        file = %self.0.path.display(), %error,
                        "the token can't be read again; the one read before stays in use (check the file and its permissions)"
                    );
                }
                Err(_) => {}
            }
            (held.read, held.refused) = (now, false);
        }
        held.header.clone()
    }

    fn refused(&self, header: &HeaderValue) {
        let mut held = self.held();
        // Not if another request has read a newer one meanwhile.
        held.refused |= held.header == *header;
    }
}

impl<S> Layer<S> for TokenFile {
    type Service = WithToken<S>;

    fn layer(&self, inner: S) -> WithToken<S> {
        WithToken {
            inner,
            file: self.clone(),
        }
    }
}

/// Adds the token to every request, and learns from the answers whether it is good.
#[derive(Clone, Debug)]
pub(crate) struct WithToken<S> {
    inner: S,
    file: TokenFile,
}

impl<S, B> Service<Request<Body>> for WithToken<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (file, header) = (self.file.clone(), self.file.header());
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                file.refused(&header);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fs};

    use tower::ServiceExt as _;

    use super::*;

    fn of(path: &Path) -> AuthInfo {
        AuthInfo {
            token_file: Some(path.display().to_string()),
            ..AuthInfo::default()
        }
    }

    /// What a server is shown that takes one token alone.
    async fn ask(file: &TokenFile, good: &'static str) -> (String, u16) {
        let server = tower::service_fn(move |request: Request<Body>| async move {
            let shown = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
            let code = if shown == good { 200 } else { 401 };
            let answer = Response::builder().status(code).body(shown).unwrap();
            Ok::<_, Infallible>(answer)
        });
        let request = Request::get("/").body(Body::empty()).unwrap();
        let Ok(answer) = file.layer(server).oneshot(request).await;
        let code = answer.status().as_u16();
        (answer.into_body(), code)
    }

    #[tokio::test]
    async fn a_token_that_is_refused_is_read_again_before_the_next_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one\n").unwrap();
        let file = TokenFile::take(&mut of(&path)).unwrap().unwrap();
        assert_eq!(ask(&file, "Bearer one").await, ("Bearer one".to_owned(), 200));
        fs::write(&path, "two\n").unwrap();
        assert_eq!(
            ask(&file, "Bearer one").await.0,
            "Bearer one",
            "while it is good it is kept"
        );
        assert_eq!(ask(&file, "Bearer two").await, ("Bearer one".to_owned(), 401));
        assert_eq!(ask(&file, "Bearer two").await, ("Bearer two".to_owned(), 200));
        // In the middle of a renewal there may be nothing in it.
        fs::write(&path, "\n").unwrap();
        assert_eq!(ask(&file, "Bearer three").await, ("Bearer two".to_owned(), 401));
        assert_eq!(
            ask(&file, "Bearer two").await.0,
            "Bearer two",
            "it was looked at, and stays"
        );
        // A file that is gone costs nothing.
        fs::remove_file(&path).unwrap();
        assert_eq!(ask(&file, "Bearer three").await.1, 401);
        assert_eq!(ask(&file, "Bearer two").await.1, 200);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_without_end_or_without_a_token_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for text in ["", " \n", "a\nb"] {
            fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text:?}");
        }
        // Reading it to its end would take all memory; so many zeros are no header.
        assert!(read(Path::new("/dev/zero")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_not_opened_and_a_link_to_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("token"), folder.path().join("link"));
        fs::write(&path, "one").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap(), "Bearer one");
        for path in [Path::new("/dev/null"), folder.path()] {
            let error = read(path).unwrap_err().to_string();
            assert_eq!(error, "it is no regular file");
        }
    }

    #[test]
    fn while_the_server_refuses_every_token_the_file_is_read_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "one").unwrap();
        let file = TokenFile::take(&mut of(&path)).unwrap().unwrap();
        let start = now();
        let ask = |at: Duration| {
            let header = file.header_at(start + at);
            file.refused(&header);
            header.to_str().unwrap().to_owned()
        };
        assert_eq!(ask(Duration::ZERO), "Bearer one");
        fs::write(&path, "two").unwrap();
        assert_eq!(
            ask(Duration::ZERO),
            "Bearer two",
            "the first refusal is worth a look at once"
        );
        fs::write(&path, "three").unwrap();
        assert_eq!(ask(SOON / 2), "Bearer two");
        assert_eq!(ask(SOON), "Bearer three");
    }

    #[test]
    fn a_token_file_counts_where_nothing_else_does() {
        let path = Path::new("/nowhere/at/all");
        let error = TokenFile::take(&mut of(path)).unwrap_err();
        assert!(matches!(error, AuthError::ReadTokenFile(_, named) if named == path));
        let mut auth = AuthInfo {
            token: Some("inline".to_owned().into()),
            ..of(path)
        };
        assert!(TokenFile::take(&mut auth).unwrap().is_none());
        assert!(TokenFile::take(&mut AuthInfo::default()).unwrap().is_none());
    }
}
