//! What operators' commands ask a running host, over a Unix socket of this user's or over HTTP with a token.
//!
//! | module | what is in it |
//! |---|---|
//! | [`api`] | the form of the answers |
//! | `answers`, `forms` | what is answered to who looks |
//! | `orders` | what persons order, and whether it came to that |
//! | `route` | requests: which there are, and what is wrong with others |
//! | `server` | connections: how many, for how long |
//! | `socket` | the Unix socket: where it is, whose it is, and what is left of a host that was killed |
//! | `token` | the token of HTTP |
//! | `recent` | what happened to each plugin lately |
//!
//! Promises: only this user (and root) is answered at the socket, and over HTTP only who has the token; no request body
//! is read; a client that is slow, or sends rubbish, holds up nobody but those beyond the bound of connections, and
//! these for seconds. What is asked costs the host a bounded piece of work at a time.

pub(crate) mod answers;
pub(crate) mod api;
mod forms;
mod orders;
pub(crate) mod recent;
mod route;
mod server;
#[cfg(unix)]
pub(crate) mod socket;
pub(crate) mod token;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use pilothouse_lifecycle::HostConfig;
use pilothouse_object::escape_control;
use tokio::task::JoinSet;

use crate::{args, exit::Stop, serve};
use answers::Admin;
use server::Listener;

/// Digits of a module's hash that are shown to people.
pub(crate) const SHORT_HASH: usize = 12;

/// Where operators' commands reach the host; held as long as they shall.
pub(crate) struct Doors {
    /// Taken away in the end.
    #[cfg(unix)]
    socket: Option<socket::Bound>,
    http: Option<(tokio::net::TcpListener, token::Token)>,
}

/// Where they are to be.
#[derive(Debug)]
pub(crate) struct Places {
    socket: Option<PathBuf>,
    /// It was asked for: a host that can't have it does not start.
    named: bool,
    address: Option<SocketAddr>,
    token_file: Option<PathBuf>,
}

impl Places {
    /// The command line's word, or else the configuration's, or else the default.
    pub(crate) fn find(args: &args::AdminServer, config: &HostConfig) -> Self {
        let named = args.admin_socket.clone().or_else(|| config.admin_socket.clone());
        #[cfg(unix)]
        let default = Some(socket::default_path());
        #[cfg(not(unix))]
        let default = None;
        Self {
            named: named.is_some(),
            socket: match named {
                Some(path) if path.as_os_str() == "off" => None,
                Some(path) => Some(path),
                None => default,
            },
            address: match args.admin_address {
                Some(address) => address.address(),
                None => config.admin_address,
            },
            token_file: args
                .admin_token_file
                .clone()
                .or_else(|| config.admin_token_file.clone()),
        }
    }
}

impl Doors {
    /// Takes the places.
    ///
    /// # Errors
    /// One that was asked for can't be had. That the default socket can't is a warning.
    pub(crate) async fn open(places: Places) -> Result<Self, Stop> {
        let http = match places.address {
            None => None,
            Some(address) => Some(http(address, places.token_file.as_deref()).await?),
        };
        #[cfg(unix)]
        let socket = match &places.socket {
            None => None,
            Some(path) => match socket::bind(path) {
                Ok(bound) => {
                    tracing::info!("operators' commands: {}", escape_control(&path.display().to_string()));
                    Some(bound)
                }
                Err(error) if places.named => {
                    return Err(Stop::usage(format!(
                        "admin socket (--admin-socket, host.adminSocket): {error}"
                    )));
                }
                Err(error) => {
                    tracing::warn!("operators' commands (`pilothouse status`) don't reach this host: {error}");
                    None
                }
            },
        };
        Ok(Self {
            #[cfg(unix)]
            socket,
            http,
        })
    }

    /// Serves until the tasks are dropped. What is answered: a guard that takes the socket away, to be held until the
    /// end.
    pub(crate) fn serve(self, admin: &Arc<Admin>, tasks: &mut JoinSet<()>) -> impl Drop + use<> {
        #[cfg(unix)]
        let guard = match self.socket {
            None => socket::Guard::default(),
            Some(bound) => {
                let (listener, guard) = bound.split();
                tasks.spawn(server::serve(Listener::Unix(listener), admin.clone()));
                guard
            }
        };
        #[cfg(not(unix))]
        let guard = Box::new(());
        if let Some((listener, token)) = self.http {
            tasks.spawn(server::serve(Listener::Tcp(listener, token), admin.clone()));
        }
        guard
    }
}

async fn http(address: SocketAddr, file: Option<&Path>) -> Result<(tokio::net::TcpListener, token::Token), Stop> {
    let Some(file) = file else {
        return Err(Stop::usage(
            "admin address (--admin-address, host.adminAddress): without a token nobody is served there: put one into a file \
             that only you can read (`umask 077; openssl rand -hex 32 > FILE`) and name it with --admin-token-file",
        ));
    };
    let token = token::read(file).map_err(Stop::usage)?;
    let listener = serve::bind(address)
        .await
        .map_err(|error| Stop::usage(format!("admin address: {error}: choose another with --admin-address")))?;
    // Port 0 means a free one: say which it became.
    let address = listener.local_addr().unwrap_or(address);
    if address.ip().is_loopback() {
        tracing::info!("operators' commands: http://{address}, with the token");
    } else {
        tracing::warn!(
            "operators' commands: http://{address}, with the token; the token crosses the network as it is: let only a \
             network that you trust reach it, or a proxy with TLS"
        );
    }
    Ok((listener, token))
}
