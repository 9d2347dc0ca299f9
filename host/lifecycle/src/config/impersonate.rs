//! As whom a plugin's own requests go out.

use std::fmt;

use serde::de::{Deserializer, Error as _};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::rules::is_label;

/// The prefix of service accounts among users.
const ACCOUNT: &str = "system:serviceaccount:";

/// A user's name may be this long, in bytes.
const MAX_USER: usize = 256;

/// As whom the API server sees a plugin's own requests: a user, or a service account. One of the two is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Impersonate {
    /// A user by its name; of groups it has `system:authenticated` alone.
    User(String),
    /// A service account.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Impersonate {
    /// Its name as the API server's users have it; visible ASCII.
    pub fn user(&self) -> String {
        match self {
            Self::User(name) => name.clone(),
            Self::ServiceAccount { namespace, name } => format!("{ACCOUNT}{namespace}:{name}"),
        }
    }

    /// The groups that the API server gives it by itself when a request names none, as Kubernetes has fixed them.
    pub fn groups(&self) -> Vec<String> {
        let mut groups = Vec::new();
        if let Self::ServiceAccount { namespace, .. } = self {
            groups.push("system:serviceaccounts".to_owned());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        groups.push("system:authenticated".to_owned());
        groups
    }
}

/// For people: `user jane`, `service account team-a/greeting`.
impl fmt::Display for Impersonate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::ServiceAccount { namespace, name } => write!(f, "service account {namespace}/{name}"),
        }
    }
}

/// As it is read.
impl Serialize for Impersonate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut said = serializer.serialize_map(Some(1))?;
        match self {
            Self::User(name) => said.serialize_entry("user", name)?,
            Self::ServiceAccount { namespace, name } => {
                said.serialize_entry("serviceAccount", &format!("{namespace}/{name}"))?;
            }
        }
        said.end()
    }
}

/// What may stand behind `impersonate:`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Said {
    user: Option<String>,
    service_account: Option<String>,
}

/// `{user: jane}` or `{serviceAccount: team-a/greeting}`.
impl<'de> Deserialize<'de> for Impersonate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Said::deserialize(deserializer)? {
            Said {
                user: Some(name),
                service_account: None,
            } => {
                if name.is_empty() || name.len() > MAX_USER || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(D::Error::custom(format!(
                        "`user` is no user's name: 1 to {MAX_USER} visible characters of ASCII, without blanks"
                    )));
                }
                if name.starts_with(ACCOUNT) {
                    return Err(D::Error::custom(
                        "a service account is said as `serviceAccount: NAMESPACE/NAME`, so that it has its groups",
                    ));
                }
                Ok(Self::User(name))
            }
            Said {
                user: None,
                service_account: Some(account),
            } => match account.split_once('/') {
                Some((namespace, name)) if is_label(namespace) && is_account(name) => Ok(Self::ServiceAccount {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                }),
                _ => Err(D::Error::custom(
                    "`serviceAccount` is to be NAMESPACE/NAME of a service account",
                )),
            },
            _ => Err(D::Error::custom("needs one of `user` and `serviceAccount`")),
        }
    }
}

/// Dots between labels, and so no colon, which would make another account of it.
fn is_account(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Impersonate, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_service_account_has_the_name_and_groups_that_the_api_server_gives_it() {
        let account = read(r#"{"serviceAccount": "team-a/greeting"}"#).unwrap();
        assert_eq!(account.user(), "system:serviceaccount:team-a:greeting");
        assert_eq!(
            account.groups(),
            [
                "system:serviceaccounts",
                "system:serviceaccounts:team-a",
                "system:authenticated"
            ]
        );
        assert_eq!(account.to_string(), "service account team-a/greeting");
        let user = read(r#"{"user": "jane@example.com"}"#).unwrap();
        assert_eq!((user.user().as_str(), user.groups().len()), ("jane@example.com", 1));
    }

    #[test]
    fn what_names_nobody_or_two_is_refused_without_being_quoted() {
        for wrong in [
            "{}",
            r#"{"user": "hunter2", "serviceAccount": "a/b"}"#,
            r#"{"user": ""}"#,
            r#"{"user": "hunter2\r\nImpersonate-Group: system:masters"}"#,
            r#"{"user": "system:serviceaccount:a:hunter2"}"#,
            r#"{"serviceAccount": "hunter2"}"#,
            r#"{"serviceAccount": "A/hunter2"}"#,
            r#"{"serviceAccount": "a/hunter2/c"}"#,
            r#"{"serviceAccount": "a/"}"#,
            r#"{"serviceAccount": "a/hunter2:b"}"#,
        ] {
            let error = read(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{wrong}: {error}");
        }
    }
}
