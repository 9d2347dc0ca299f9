//! Users with given roles. A user is a service account: its token can be taken away and renewed while everything runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::apiserver::Site;
use crate::{ControlPlane, Error, credentials, shell};

/// Where a role holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// In every namespace, and for objects that live in none.
    Cluster,
    /// In one namespace.
    Namespace(&'a str),
}

/// A user without any rights but those it is [granted](ControlPlane::grant).
#[derive(Debug)]
pub struct User {
    namespace: String,
    name: String,
    token_file: PathBuf,
    kubeconfig: PathBuf,
    /// Whose word counts; the test may have stopped another one.
    admin: PathBuf,
    site: Arc<Site>,
}

impl User {
    /// Its kubeconfig, which names a token file: clients that read it again see a renewed token.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The file with its token.
    #[must_use]
    pub fn token_file(&self) -> &Path {
        &self.token_file
    }

    /// Its token is good no longer: the API server answers 401, at the latest ten seconds from now (so long it
    /// remembers that a token was good). Watches that are open stay. Its roles stay too.
    ///
    /// # Errors
    /// What the API server says.
    pub fn revoke(&self) -> Result<(), Error> {
        let args = ["delete", "serviceaccount", &self.name, "-n", &self.namespace];
        shell::output(self.site.kubectl(&self.admin).args(args)).map(drop)
    }

    /// Writes a new token into its token file, all at once, after [`User::revoke`] or at any time.
    ///
    /// # Errors
    /// What the API server says, or a file that can't be written.
    pub fn renew(&self) -> Result<(), Error> {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": self.name, "namespace": self.namespace},
        });
        self.site
            .kubectl_with_input(&self.admin, &["apply", "-f", "-"], &account.to_string())?;
        let args = ["create", "token", &self.name, "-n", &self.namespace, "--duration=1h"];
        let token = shell::output(self.site.kubectl(&self.admin).args(args))?;
        let part = self.token_file.with_extension("part");
        std::fs::write(&part, token.trim()).map_err(Error::file(&part))?;
        std::fs::rename(&part, &self.token_file).map_err(Error::file(&self.token_file))
    }

    /// A kubeconfig of the same user for another address, such as that of a proxy before the API server. TLS goes
    /// through to the API server.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn kubeconfig_at(&self, port: u16) -> Result<PathBuf, Error> {
        let path = self
            .site
            .home
            .join(format!("{}-{}-{port}.kubeconfig", self.namespace, self.name));
        self.write_kubeconfig(&path, port)?;
        Ok(path)
    }

    fn write_kubeconfig(&self, path: &Path, port: u16) -> Result<(), Error> {
        let user = format!("{{tokenFile: '{}'}}", self.token_file.display());
        let text = credentials::kubeconfig(port, &self.site.home.join(credentials::CA), &user);
        std::fs::write(path, text).map_err(Error::file(path))
    }
}

impl ControlPlane {
    /// Makes a user without any rights, reached through this control plane's first API server.
    ///
    /// # Errors
    /// What the API server says, or a file that can't be written.
    pub fn user(&self, namespace: &str, name: &str) -> Result<User, Error> {
        let file = |suffix: &str| self.home().join(format!("{namespace}-{name}.{suffix}"));
        let user = User {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            token_file: file("token"),
            kubeconfig: file("kubeconfig"),
            admin: self.kubeconfig().to_owned(),
            site: Arc::clone(self.site()),
        };
        user.write_kubeconfig(&user.kubeconfig, self.apiserver().port())?;
        user.renew()?;
        Ok(user)
    }

    /// Gives a user rights: `rules` is the list of a Role, `[{"apiGroups": …, "resources": …, "verbs": …}]`. It
    /// replaces what the user was granted for the same scope.
    ///
    /// # Errors
    /// What the API server says.
    pub fn grant(&self, user: &User, scope: Scope<'_>, rules: &Value) -> Result<(), Error> {
        let (role, binding, metadata) = role(user, scope);
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": role, "metadata": metadata, "rules": rules},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": binding, "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": metadata["name"]},
                "subjects": [{"kind": "ServiceAccount", "name": user.name, "namespace": user.namespace}],
            },
        ]});
        self.site()
            .kubectl_with_input(self.kubeconfig(), &["apply", "-f", "-"], &objects.to_string())
    }

    /// Takes those rights away.
    ///
    /// # Errors
    /// What the API server says.
    pub fn withdraw(&self, user: &User, scope: Scope<'_>) -> Result<(), Error> {
        let (_, binding, metadata) = role(user, scope);
        let mut kubectl = self.kubectl();
        kubectl.args(["delete", binding]);
        kubectl.arg(metadata["name"].as_str().unwrap_or_default());
        if let Scope::Namespace(namespace) = scope {
            kubectl.args(["-n", namespace]);
        }
        shell::output(&mut kubectl).map(drop)
    }
}

/// The kinds of role and binding, and the metadata of both.
fn role(user: &User, scope: Scope<'_>) -> (&'static str, &'static str, Value) {
    let name = format!("{}-{}", user.namespace, user.name);
    match scope {
        Scope::Cluster => ("ClusterRole", "ClusterRoleBinding", json!({"name": name})),
        Scope::Namespace(namespace) => ("Role", "RoleBinding", json!({"name": name, "namespace": namespace})),
    }
}
