//! From the command line and the environment to a client of a cluster, as kubectl does it.
//!
//! The order is kubectl's: `--kubeconfig`; the files that `KUBECONFIG` names, merged, where missing ones are left out;
//! `~/.kube/config`; the service account of the pod that this runs in. Promises: whatever is wrong becomes one message
//! that names the file, what is wrong in it and the mend; no message quotes contents, which may hold credentials.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use kube::{
    Client, Config,
    client::AuthError,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError},
};
use pilothouse_apiclient::{Error, Meter, Settings};
use pilothouse_object::{escape_control, shorten};

use crate::exit::Stop;

/// So many names of contexts stand in a message.
const SHOWN_CONTEXTS: usize = 10;

/// What of the environment matters here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// `KUBECONFIG`, if set.
    pub(crate) kubeconfig: Option<OsString>,
    /// The home directory.
    pub(crate) home: Option<PathBuf>,
    /// Whether this runs in a pod.
    pub(crate) in_cluster: bool,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG"),
            home: std::env::home_dir(),
            in_cluster: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

/// A client, and how messages call what it talks to.
#[derive(Debug)]
pub(crate) struct Target {
    /// What to make the client from.
    pub(crate) config: Config,
    /// Where that came from, for people: `~/.kube/config, context kind`.
    pub(crate) source: String,
}

/// Finds the cluster.
///
/// # Errors
/// Wrong usage: what is wrong in which file, and the mend.
pub(crate) async fn find(
    file: Option<&Path>,
    context: Option<&str>,
    surroundings: &Surroundings,
) -> Result<Target, Stop> {
    let Some((kubeconfig, origin)) = read(file, surroundings)? else {
        if context.is_some() {
            return Err(Stop::usage(
                "--context is given, but there is no kubeconfig that could have it (this runs in a pod): give \
                 --kubeconfig, or drop --context",
            ));
        }
        let config = Config::incluster().map_err(|error| Stop::usage(in_cluster(&error)))?;
        return Ok(Target {
            config: ours(config),
            source: "the pod's service account".to_owned(),
        });
    };
    let contexts: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let chosen = match context {
        Some(name) => name.to_owned(),
        None => match kubeconfig.current_context.as_deref() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => {
                return Err(Stop::usage(format!(
                    "{origin}: current-context is not set: {}",
                    choose(&contexts, "name one with --context")
                )));
            }
        },
    };
    if !contexts.contains(&chosen) {
        return Err(Stop::usage(format!(
            "{origin}: there is no context {:?}: {}",
            shown(&chosen),
            choose(&contexts, "give another with --context")
        )));
    }
    let options = KubeConfigOptions {
        context: Some(chosen.clone()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| Stop::usage(format!("{origin}, context {}: {}", shown(&chosen), wrong(&error))))?;
    if !is_address(&config.cluster_url) {
        return Err(Stop::usage(format!(
            "{origin}, context {}: `server` of its cluster is {}: write it as in https://10.0.0.1:6443",
            shown(&chosen),
            shown(&config.cluster_url.to_string())
        )));
    }
    Ok(Target {
        config: ours(config),
        source: format!("{origin}, context {}", shown(&chosen)),
    })
}

/// Whether a client can be made for it: kube's panics where there is no scheme.
fn is_address(server: &http::Uri) -> bool {
    let good_port = server.authority().is_some_and(|authority| {
        let host_and_port = authority.as_str().rsplit('@').next().unwrap_or_default();
        host_and_port.len() == authority.host().len() || authority.port_u16().is_some()
    });
    matches!(server.scheme_str(), Some("http" | "https"))
        && server.host().is_some_and(|host| !host.is_empty())
        && good_port
}

/// A client for the target, whose requests `meter` counts. Needs a tokio runtime.
///
/// # Errors
/// Wrong usage: credentials or certificates that can't be used.
pub(crate) fn client(target: Target, settings: Settings, meter: &Meter) -> Result<Client, Stop> {
    let Target { config, source } = target;
    pilothouse_apiclient::client(config, settings, meter.clone()).map_err(|error| {
        let message = match &error {
            Error::Kube(kube::Error::Auth(error)) => auth(error),
            Error::Certificate(error) => {
                format!("its client certificate can't be used: {error}: correct client-certificate and client-key")
            }
            Error::Kube(kube::Error::ProxyProtocolUnsupported { .. }) => {
                "proxy-url is set, and this host goes through no proxy: remove it, or reach the server directly"
                    .to_owned()
            }
            other => format!("no client can be made: {}", shown(&other.to_string())),
        };
        Stop::usage(format!("{source}: {message}"))
    })
}

/// kube's own retries would hide 429, 503 and 504 from those that count and space requests; our client has none,
/// whatever stands there.
fn ours(mut config: Config) -> Config {
    config.default_retry = false;
    config
}

/// The kubeconfig and how messages name it; none where there is none and this runs in a pod.
fn read(file: Option<&Path>, surroundings: &Surroundings) -> Result<Option<(Kubeconfig, String)>, Stop> {
    if let Some(file) = file {
        return load(file).map(|kubeconfig| Some((kubeconfig, file.display().to_string())));
    }
    let named: Vec<PathBuf> = surroundings
        .kubeconfig
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if !named.is_empty() {
        let mut merged: Option<Kubeconfig> = None;
        for path in named.iter().filter(|path| path.exists()) {
            let next = load(path)?;
            merged = Some(match merged {
                None => next,
                Some(first) => first
                    .merge(next)
                    .map_err(|error| Stop::usage(format!("{}: {}", path.display(), wrong(&error))))?,
            });
        }
        let names: Vec<String> = named.iter().map(|path| path.display().to_string()).collect();
        let names = names.join(", ");
        return match merged {
            Some(merged) => Ok(Some((merged, names))),
            None => Err(Stop::usage(format!(
                "KUBECONFIG names {names}, and there is no such file: correct KUBECONFIG or unset it, or give --kubeconfig"
            ))),
        };
    }
    let default = surroundings.home.as_ref().map(|home| home.join(".kube").join("config"));
    if let Some(path) = default.filter(|path| path.exists()) {
        return load(&path).map(|kubeconfig| Some((kubeconfig, path.display().to_string())));
    }
    if surroundings.in_cluster {
        return Ok(None);
    }
    Err(Stop::usage(
        "no cluster is configured: KUBECONFIG is not set, there is no ~/.kube/config, and this is no pod: give \
         --kubeconfig FILE, or try `pilothouse dev`, which needs no cluster",
    ))
}

fn load(path: &Path) -> Result<Kubeconfig, Stop> {
    Kubeconfig::read_from(path).map_err(|error| {
        let mend = match &error {
            KubeconfigError::ReadConfig(source, _) if source.kind() == io::ErrorKind::NotFound => {
                "there is no such file: correct the path of the kubeconfig".to_owned()
            }
            _ => wrong(&error),
        };
        Stop::usage(format!("{}: {mend}", path.display()))
    })
}

/// What is wrong with a kubeconfig, without the file's name and without its contents.
fn wrong(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(source, _) => {
            format!("can't be read: {source}: check the file and its permissions")
        }
        KubeconfigError::Parse(source) => {
            // The error itself quotes the lines around it, and what stands in a kubeconfig are keys and tokens.
            let place = source.location().filter(|at| at.line() > 0);
            let place = place
                .map(|at| format!(" at line {}, column {}", at.line(), at.column()))
                .unwrap_or_default();
            format!("is no kubeconfig: the YAML is wrong{place}: mend it, or give another file")
        }
        KubeconfigError::LoadClusterOfContext(cluster) => {
            format!(
                "its cluster {:?} is not in the file: add it under `clusters`, or give another --context",
                shown(cluster)
            )
        }
        KubeconfigError::MissingClusterUrl => {
            "its cluster has no `server`: add the API server's address, as in https://10.0.0.1:6443".to_owned()
        }
        KubeconfigError::ParseClusterUrl(source) => {
            format!("`server` of its cluster is no address ({source}): write it as in https://10.0.0.1:6443")
        }
        KubeconfigError::ParseProxyUrl(source) => format!("`proxy-url` of its cluster is no address ({source})"),
        KubeconfigError::LoadCertificateAuthority(source) => data("certificate-authority", source),
        KubeconfigError::LoadClientCertificate(source) => data("client-certificate", source),
        KubeconfigError::LoadClientKey(source) => data("client-key", source),
        KubeconfigError::ParseCertificates(_) => {
            "the certificates of its cluster are not in PEM form: set certificate-authority(-data) to a PEM file"
                .to_owned()
        }
        other => format!("{}: correct the kubeconfig", shown(&other.to_string())),
    }
}

fn data(field: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::ReadFile(source, path) => {
            format!(
                "`{field}` names {}, which can't be read: {source}: correct the path",
                path.display()
            )
        }
        LoadDataError::DecodeBase64(_) => format!("`{field}-data` is not base64: put the PEM file in, base64-encoded"),
        LoadDataError::NoBase64DataOrFile => format!("`{field}` is missing: add it or `{field}-data`"),
    }
}

fn auth(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(source) => {
            format!(
                "the credentials' command (`exec`) can't be started: {source}: install it, or correct `exec.command`"
            )
        }
        AuthError::AuthExecRun { cmd, out } => {
            let said = String::from_utf8_lossy(&out.stderr);
            let said = said
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("it says nothing");
            format!(
                "the credentials' command {} failed ({}): {}",
                shown(cmd),
                out.status,
                shown(said.trim())
            )
        }
        AuthError::ReadTokenFile(source, path) => {
            format!(
                "`tokenFile` names {}, which can't be read: {source}: correct the path",
                path.display()
            )
        }
        AuthError::AuthExecParse(_) => {
            "the credentials' command (`exec`) answered what is no ExecCredential: check the command".to_owned()
        }
        other => format!(
            "the credentials can't be used: {}: correct `users` in the kubeconfig",
            shown(&other.to_string())
        ),
    }
}

fn in_cluster(error: &InClusterError) -> String {
    let what = match error {
        InClusterError::ReadDefaultNamespace(source) | InClusterError::ReadCertificateBundle(source) => {
            format!("its service account can't be read: {source}: set automountServiceAccountToken")
        }
        other => shown(&other.to_string()),
    };
    format!("this seems to run in a pod (KUBERNETES_SERVICE_HOST is set), but {what}; or give --kubeconfig FILE")
}

fn choose(contexts: &[String], mend: &str) -> String {
    if contexts.is_empty() {
        return "it has no contexts at all; give another file with --kubeconfig".to_owned();
    }
    let names: Vec<String> = contexts.iter().take(SHOWN_CONTEXTS).map(|name| shown(name)).collect();
    let more = match contexts.len().saturating_sub(SHOWN_CONTEXTS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{mend} (it has {}{more})", names.join(", "))
}

fn shown(text: &str) -> String {
    escape_control(&shorten(text, 200)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: v1
kind: Config
clusters:
- {name: one, cluster: {server: 'https://127.0.0.1:6443'}}
- {name: two, cluster: {server: 'http://127.0.0.1:8001'}}
- {name: bare, cluster: {}}
- {name: odd, cluster: {server: 'http://a b'}}
- {name: ca, cluster: {server: 'https://127.0.0.1:1', certificate-authority: nowhere.crt}}
contexts:
- {name: first, context: {cluster: one, user: me}}
- {name: second, context: {cluster: two, user: me}}
- {name: dangling, context: {cluster: three}}
- {name: bare, context: {cluster: bare}}
- {name: odd, context: {cluster: odd}}
- {name: ca, context: {cluster: ca}}
users:
- {name: me, user: {token: hush}}
current-context: first
";

    struct Folder(tempfile::TempDir);
    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    async fn found(file: Option<&Path>, context: Option<&str>, surroundings: &Surroundings) -> Result<String, String> {
        match find(file, context, surroundings).await {
            Ok(target) => {
                assert!(!target.config.default_retry, "kube's own retries hide refusals");
                Ok(target.config.cluster_url.to_string())
            }
            Err(stop) => {
                assert_eq!(stop.code, crate::exit::USAGE);
                assert!(
                    !stop.message.contains('\n') && !stop.message.contains("hush"),
                    "{}",
                    stop.message
                );
                Err(stop.message)
            }
        }
    }

    #[tokio::test]
    async fn the_flag_wins_over_the_environment_and_that_over_the_home_directory() {
        let folder = Folder::new();
        let flag = folder.file("flag", GOOD);
        let env = folder.file(
            "env",
            &GOOD.replace("current-context: first", "current-context: second"),
        );
        let home = GOOD.replace("https://127.0.0.1:6443", "https://10.0.0.1");
        folder.file(".kube/config", &home);
        let missing = folder.0.path().join("missing");
        let joined = std::env::join_paths([&missing, &env]).unwrap();
        let mut around = Surroundings {
            kubeconfig: Some(joined),
            home: Some(folder.0.path().to_owned()),
            in_cluster: true,
        };
        assert_eq!(
            found(Some(&flag), None, &around).await.unwrap(),
            "https://127.0.0.1:6443/"
        );
        assert_eq!(found(None, None, &around).await.unwrap(), "http://127.0.0.1:8001/");
        around.kubeconfig = Some(OsString::new());
        assert_eq!(found(None, None, &around).await.unwrap(), "https://10.0.0.1/");
        assert_eq!(
            found(None, Some("second"), &around).await.unwrap(),
            "http://127.0.0.1:8001/"
        );
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_its_mend() {
        let folder = Folder::new();
        let file = folder.file("k", GOOD);
        let nothing = Surroundings::default();
        let missing = folder.0.path().join("missing");
        let error = found(Some(&missing), None, &nothing).await.unwrap_err();
        assert_eq!(
            error,
            format!(
                "{}: there is no such file: correct the path of the kubeconfig",
                missing.display()
            )
        );
        let error = found(Some(&file), Some("third"), &nothing).await.unwrap_err();
        assert_eq!(
            error,
            format!(
                "{}: there is no context \"third\": give another with --context (it has first, second, dangling, bare, \
                 odd, ca)",
                file.display()
            )
        );
        let none = folder.file("none", &GOOD.replace("current-context: first", ""));
        let error = found(Some(&none), None, &nothing).await.unwrap_err();
        assert!(
            error.contains("current-context is not set: name one with --context (it has first,"),
            "{error}"
        );
        let empty = folder.file("empty", "");
        let error = found(Some(&empty), Some("x"), &nothing).await.unwrap_err();
        assert!(error.contains("it has no contexts at all"), "{error}");
        let error = found(None, None, &nothing).await.unwrap_err();
        assert!(error.contains("--kubeconfig FILE, or try `pilothouse dev`"), "{error}");
        let named = Surroundings {
            kubeconfig: Some(missing.clone().into()),
            ..Surroundings::default()
        };
        let error = found(None, None, &named).await.unwrap_err();
        assert!(
            error.starts_with(&format!(
                "KUBECONFIG names {}, and there is no such file",
                missing.display()
            )),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_is_wrong_in_a_kubeconfig_is_named() {
        let folder = Folder::new();
        let file = folder.file("k", GOOD);
        for (context, expected) in [
            ("dangling", "its cluster \"three\" is not in the file"),
            ("bare", "its cluster has no `server`"),
            ("odd", "`server` of its cluster is no address"),
            ("ca", "nowhere.crt, which can't be read"),
        ] {
            let error = found(Some(&file), Some(context), &Surroundings::default())
                .await
                .unwrap_err();
            assert!(
                error.contains(&format!("k, context {context}: ")) && error.contains(expected),
                "{error}"
            );
        }
        let broken = folder.file("broken", "users:\n- name: me\n  user: {token: hush\nclusters: [\n");
        let error = found(Some(&broken), None, &Surroundings::default()).await.unwrap_err();
        assert!(
            error.contains("broken: is no kubeconfig: the YAML is wrong at line "),
            "{error}"
        );
    }

    /// kube's client panics at the first request to an address without a scheme.
    #[tokio::test]
    async fn a_server_that_is_no_address_of_http_is_named() {
        let folder = Folder::new();
        for (server, shown) in [
            ("127.0.0.1:6443", "127.0.0.1:6443"),
            ("localhost", "localhost"),
            ("/api", "/api"),
            ("ftp://a.example", "ftp://a.example/"),
            ("https://a.example:99999", "https://a.example:99999/"),
        ] {
            let file = folder.file("k", &GOOD.replace("https://127.0.0.1:6443", server));
            let error = found(Some(&file), None, &Surroundings::default()).await.unwrap_err();
            let expected = format!("k, context first: `server` of its cluster is {shown}: write it as in https://");
            assert!(error.contains(&expected), "{error}");
        }
        for server in ["https://[::1]:6443", "http://a.example/prefix", "https://a.example"] {
            let file = folder.file("k", &GOOD.replace("https://127.0.0.1:6443", server));
            let found = found(Some(&file), None, &Surroundings::default()).await;
            assert!(found.is_ok(), "{server}: {found:?}");
        }
    }

    #[tokio::test]
    async fn a_client_for_https_can_be_made() {
        let folder = Folder::new();
        let file = folder.file("k", GOOD);
        let target = find(Some(&file), None, &Surroundings::default()).await.unwrap();
        assert!(client(target, Settings::default(), &Meter::default()).is_ok());
    }

    #[tokio::test]
    async fn credentials_that_can_not_be_had_are_named() {
        let folder = Folder::new();
        let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-command-anywhere, interactiveMode: Never}}";
        let file = folder.file("k", &GOOD.replace("{token: hush}", exec));
        let target = find(Some(&file), None, &Surroundings::default()).await.unwrap();
        let stop = client(target, Settings::default(), &Meter::default())
            .map(drop)
            .unwrap_err();
        assert!(
            stop.message
                .contains("the credentials' command (`exec`) can't be started"),
            "{stop}"
        );
    }
}
