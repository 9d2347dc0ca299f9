//! Which API server a test meets, and the real one that all tests of a test program share.
//!
//! A test is an `async fn` that takes an [`On`], with one line above it that makes tests of it: `on_both!`, `on_local!`
//! or `on_real!`, the last two with a line of doc that says why. They are called `NAME::local` and `NAME::real`, so
//! that `cargo test … -- ::real` runs the real half and `--skip ::real` the other. Each has a namespace of its own.

use std::sync::{Arc, OnceLock};

use http::Request;
use pilothouse_realcluster::{ControlPlane, Controllers, Options};
use tokio::sync::OnceCell;

use crate::{BEAST_CRD, BEASTS, GREETING_CRD, GREETINGS, wait_until};

/// An API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The project's own, in memory.
    Local,
    /// A real control plane, with every controller at work. The tests share it.
    Real,
}

/// Makes two tests of a function that takes an [`On`].
#[macro_export]
macro_rules! on_both {
    ($test:ident) => {
        mod $test {
            #[tokio::test]
            async fn local() {
                super::$test($crate::On::Local).await;
            }

            #[tokio::test]
            async fn real() {
                super::$test($crate::On::Real).await;
            }
        }
    };
}

/// Makes a test on the local cluster alone of a function that takes an [`On`].
#[macro_export]
macro_rules! on_local {
    ($test:ident) => {
        mod $test {
            #[tokio::test]
            async fn local() {
                super::$test($crate::On::Local).await;
            }
        }
    };
}

/// Makes a test on the real control plane alone of a function that takes an [`On`].
#[macro_export]
macro_rules! on_real {
    ($test:ident) => {
        mod $test {
            #[tokio::test]
            async fn real() {
                super::$test($crate::On::Real).await;
            }
        }
    };
}

/// The API server of a test; clones are the same.
#[derive(Clone, Debug)]
pub(crate) enum Cluster {
    /// A local one.
    Local,
    /// The real one that all tests share.
    Shared,
    /// A real one that no other test has.
    Own(Arc<ControlPlane>),
}

impl Cluster {
    /// A real control plane, once it can be used.
    ///
    /// # Panics
    /// If it can't be had.
    pub(crate) async fn ready(&self) -> Option<&ControlPlane> {
        if matches!(self, Self::Shared) {
            return Some(serving().await);
        }
        self.plane()
    }

    /// The same, for who comes later.
    #[track_caller]
    pub(crate) fn plane(&self) -> Option<&ControlPlane> {
        match self {
            Self::Local => None,
            Self::Shared => Some(shared()),
            Self::Own(plane) => Some(plane),
        }
    }
}

/// The real control plane of this process, once it serves the kinds of both CustomResourceDefinitions.
async fn serving() -> &'static ControlPlane {
    static SERVES: OnceCell<()> = OnceCell::const_new();
    let plane = shared();
    let serves = async || {
        let client = plane.client();
        for kind in [GREETINGS, BEASTS] {
            let listed = async || {
                let request = Request::get(kind.path("")).body(Vec::new()).expect("a request");
                client.request_text(request).await.ok()
            };
            wait_until("the real control plane to serve its new kinds", listed).await;
        }
    };
    SERVES.get_or_init(serves).await;
    plane
}

/// It ends with the process.
#[track_caller]
fn shared() -> &'static ControlPlane {
    static PLANE: OnceLock<Result<ControlPlane, String>> = OnceLock::new();
    let options = Options {
        controllers: Controllers::All,
        // Garbage collection learns of later ones only after half a minute.
        objects: [GREETING_CRD, BEAST_CRD].map(str::to_owned).into(),
        ..Options::default()
    };
    ControlPlane::shared_as(&PLANE, &options)
}
