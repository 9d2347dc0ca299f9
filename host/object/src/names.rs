//! Names of kinds and objects, and versions of objects.

use std::{cmp::Ordering, fmt, sync::Arc};

/// A kind of object: API group (empty for the core group), version and kind, as in `apps`, `v1`, `Deployment`. Cheap to
/// clone, and as small as a pointer: every object holds one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk(Arc<GvkParts>);

/// The three parts of a [`Gvk`], which derefs to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GvkParts {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The version within the group, such as `v1` or `v1beta1`.
    pub version: Arc<str>,
    /// The kind in CamelCase, singular.
    pub kind: Arc<str>,
}

impl std::ops::Deref for Gvk {
    type Target = GvkParts;
    fn deref(&self) -> &GvkParts {
        &self.0
    }
}

impl fmt::Debug for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Gvk {
    /// A kind from its three parts.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self(Arc::new(GvkParts {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }))
    }

    /// A kind from an object's `apiVersion` (`v1`, `apps/v1`) and `kind`.
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version, kind),
            None => Self::new("", api_version, kind),
        }
    }

    /// What stands in an object's `apiVersion`: `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// True where an object that says this `apiVersion` and `kind` of itself is of this kind.
    pub(crate) fn is_written(&self, api_version: &str, kind: &str) -> bool {
        let version = match api_version.split_once('/') {
            Some((group, version)) if !group.is_empty() && *group == *self.group => version,
            None if self.group.is_empty() => api_version,
            _ => return false,
        };
        *version == *self.version && *kind == *self.kind
    }

    /// True for the core group's `Secret`, whose data is never cached.
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && &*self.kind == "Secret"
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            write!(f, "{} {}", self.version, self.kind)
        } else {
            write!(f, "{}/{} {}", self.group, self.version, self.kind)
        }
    }
}

/// Which object of a kind: its namespace (none for cluster-scoped kinds) and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// None for cluster-scoped kinds.
    pub namespace: Option<Arc<str>>,
    /// The object's name, unique within kind and namespace.
    pub name: Arc<str>,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        Self {
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    /// A key of the namespace that another one stands in, or of none.
    pub fn beside(&self, name: &str) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// An object's or a list's `resourceVersion`.
///
/// Opaque to compare for equality. Which of two is newer is told by comparing them as integers of any length, which
/// Kubernetes promises within one kind since 1.35; where one isn't an integer there is no answer and the caller must
/// read live.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Text);

/// Versions have 20 digits at most today: those stand here themselves, without a heap of their own.
const SHORT: usize = 22;

/// Each text has one form alone, so that texts are equal where their forms are: behind a short one stand zeros.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    Short(u8, [u8; SHORT]),
    Long(Arc<str>),
}

impl Default for Version {
    fn default() -> Self {
        Self(Text::Short(0, [0; SHORT]))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Version").field(&self.as_str()).finish()
    }
}

impl Version {
    /// A version as the server wrote it.
    pub fn new(text: &str) -> Self {
        let mut short = [0; SHORT];
        match (short.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Self(Text::Short(len, short))
            }
            _ => Self(Text::Long(text.into())),
        }
    }

    /// The text, as the server wrote it.
    pub fn as_str(&self) -> &str {
        // It came from a text.
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// True where no version is known.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Heap bytes of its own.
    pub(crate) fn weight(&self) -> usize {
        match &self.0 {
            Text::Short(..) => 0,
            Text::Long(text) => shared_weight(text),
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short(len, short) => short.get(..usize::from(*len)).unwrap_or_default(),
            Text::Long(text) => text.as_bytes(),
        }
    }

    fn digits(&self) -> Option<&[u8]> {
        let text = self.bytes();
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let zeros = text.iter().take_while(|b| **b == b'0').count();
        text.get(zeros..)
    }

    /// Which is newer; none where either isn't an integer.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let (a, b) = (self.digits()?, other.digits()?);
        Some(a.len().cmp(&b.len()).then_with(|| a.cmp(b)))
    }

    /// True only where both are integers and this one is greater.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Greater)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Heap bytes of a shared text: two counters stand before it, and the whole is a multiple of them.
pub(crate) fn shared_weight(text: &str) -> usize {
    (2 * size_of::<usize>() + text.len()).next_multiple_of(size_of::<usize>())
}

/// A name that may not stand in a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} can't be a name: {1}")]
pub struct NameError(String, &'static str);

/// Checks that a name, namespace or kind from outside can stand as one segment of an API path.
///
/// These are the API server's own rules for path segments, and a bound of 253 characters.
///
/// # Errors
/// Empty, `.`, `..`, longer than 253 bytes, or holding `/`, `%` or a control character.
pub fn check_path_segment(name: &str) -> Result<(), NameError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name == "." || name == ".." {
        "it stands for a folder"
    } else if name.len() > 253 {
        "it is longer than 253 bytes"
    } else if name.bytes().any(|b| b == b'/' || b == b'%' || b.is_ascii_control()) {
        "it holds '/', '%' or a control character"
    } else {
        return Ok(());
    };
    Err(NameError(crate::shorten(name, 64).into_owned(), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_integers_of_any_length() {
        let v = Version::new;
        assert_eq!(v("9").compare(&v("10")), Some(Ordering::Less));
        assert_eq!(v("007").compare(&v("7")), Some(Ordering::Equal));
        let long = "1".repeat(60);
        assert_eq!(v(&long).compare(&v(&"1".repeat(59))), Some(Ordering::Greater));
        assert_eq!(v("0").compare(&v("000")), Some(Ordering::Equal));
        // However long, and on whichever side of what stands in the version itself.
        for len in 1..60 {
            let text = "7".repeat(len);
            assert_eq!((v(&text).as_str(), v(&text)), (&*text, v(&text)));
            assert!(v(&format!("{text}7")).is_newer_than(&v(&text)));
        }
    }

    #[test]
    fn a_version_that_is_no_integer_compares_to_nothing() {
        for odd in ["", "abc", "12a", "-1", " 1", "1.0"] {
            assert_eq!(Version::new(odd).compare(&Version::new("5")), None, "{odd:?}");
            assert!(!Version::new("5").is_newer_than(&Version::new(odd)));
        }
    }

    #[test]
    fn kinds_are_written_as_people_know_them() {
        assert_eq!(Gvk::new("apps", "v1", "Deployment").to_string(), "apps/v1 Deployment");
        assert_eq!(Gvk::from_api_version("v1", "Secret").to_string(), "v1 Secret");
        assert!(Gvk::from_api_version("v1", "Secret").is_secret());
        assert!(!Gvk::from_api_version("ex.io/v1", "Secret").is_secret());
        assert_eq!(Key::new(Some("a"), "b").to_string(), "a/b");
        assert_eq!(Key::new(None, "b").to_string(), "b");
    }

    #[test]
    fn names_that_would_leave_their_path_segment_are_refused() {
        for bad in ["", ".", "..", "a/b", "a%2fb", "a\nb", &"x".repeat(254)] {
            assert!(check_path_segment(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "system:node", "a.b-c", "kube-root-ca.crt"] {
            assert_eq!(check_path_segment(good), Ok(()), "{good:?}");
        }
    }
}
