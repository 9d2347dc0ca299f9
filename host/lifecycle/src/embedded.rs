//! What `pilothouse pack` puts into a component beside its code, to be read without running it: the manifest, the
//! CustomResourceDefinitions of its kinds, and scenarios.
//!
//! Each stands in a custom section of the component's own (none of a component or module within), as versioned JSON.
//!
//! Promises: [`read`] takes any bytes; what it returns is bounded in size and number, and follows the rules of a
//! manifest, of CustomResourceDefinitions and of relative file names. [`embed`] writes the same bytes for the same
//! input, replaces what was embedded before, and writes nothing that [`read`] would refuse. Not promised: that what is
//! embedded is true. Only `describe` decides what a plugin may ask for; [`check`] refuses a module whose two manifests
//! differ.

mod format;
mod look;
mod sections;
#[cfg(test)]
mod tests;

use serde::{Serialize, Serializer};

use crate::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::problem::Problem;
use crate::refusal::{Refusal, Step};

pub use look::{Looked, look};

/// The custom section with the manifest.
pub const MANIFEST_SECTION: &str = "pilothouse:manifest";
/// The custom section with CustomResourceDefinitions.
pub const CRDS_SECTION: &str = "pilothouse:crds";
/// The custom section with scenarios.
pub const SCENARIOS_SECTION: &str = "pilothouse:scenarios";

/// The sections that a component may have once each, with the bytes that each may hold.
const SECTIONS: [(&str, usize); 3] = [
    // A manifest, and what stands around it.
    (MANIFEST_SECTION, MAX_MANIFEST_BYTES + 64),
    (CRDS_SECTION, 4 << 20),
    (SCENARIOS_SECTION, 4 << 20),
];

/// So many CustomResourceDefinitions may be embedded.
pub const MAX_CRDS: usize = 256;
/// So many scenario files may be embedded.
pub const MAX_SCENARIOS: usize = 1_000;
/// A scenario file may be this long, in bytes.
pub const MAX_SCENARIO_BYTES: usize = 1 << 20;

/// What is embedded in a component.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Embedded {
    /// The manifest as `describe` said it when the module was packed; none if it was not packed.
    pub manifest: Option<Manifest>,
    /// CustomResourceDefinitions, each name once; [`embed`] sorts them by it.
    pub crds: Vec<Crd>,
    /// Scenarios, each name once; [`embed`] sorts them by it.
    pub scenarios: Vec<Scenario>,
}

/// A CustomResourceDefinition (`apiextensions.k8s.io/v1`). Texts in it are the author's: escape them before showing
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crd {
    /// Its name, `PLURAL.GROUP`.
    pub name: String,
    /// The group it defines a kind of.
    pub group: String,
    /// The kind it defines.
    pub kind: String,
    /// The versions of the kind, in the definition's order.
    pub versions: Vec<String>,
    /// The whole object as JSON.
    #[serde(skip)]
    json: String,
}

impl Crd {
    /// The whole object as JSON text.
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// A file of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario {
    /// Its path below the folder it was taken from, with `/` between the parts.
    pub name: String,
    /// Its content; told as its length where the scenario is written out.
    #[serde(rename = "bytes", serialize_with = "length")]
    pub text: String,
}

fn length<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(text.len() as u64)
}

impl Scenario {
    /// A file of a scenario.
    ///
    /// # Errors
    /// A name that is no plain relative path, or a text that is too long; with the mend.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Result<Self, Problem> {
        let (name, text) = (name.into(), text.into());
        // What every file system can hold and no shell or path rule gives a meaning.
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if name.len() > 200 || name.split('/').count() > 8 || !name.split('/').all(plain) {
            return Err(Problem::new(
                crate::problem::shown(&name),
                "is no name of a scenario file",
                "take at most 8 parts with `/` between them, each of letters, digits, `.`, `_` and `-` and beginning with a \
                 letter, digit or `_`, and at most 200 bytes in all",
            ));
        }
        if text.len() > MAX_SCENARIO_BYTES {
            let what = format!("is longer than {} KiB", MAX_SCENARIO_BYTES >> 10);
            return Err(Problem::new(name, what, "split it"));
        }
        Ok(Self { name, text })
    }
}

/// Reads what is embedded in a component; a component that was never packed holds nothing.
///
/// # Errors
/// The bytes are no component, are cut off, or hold a section twice, one that is too long, that this host's version
/// does not know, or that does not follow its rules. The module must then not be loaded.
pub fn read(component: &[u8]) -> Result<Embedded, Problem> {
    let mut embedded = Embedded::default();
    let mut seen: [bool; SECTIONS.len()] = [false; SECTIONS.len()];
    for section in sections::of(component)? {
        let Some((name, data)) = section?.custom else { continue };
        let known = SECTIONS.iter().zip(&mut seen).find(|((known, _), _)| *known == name);
        let Some(((name, most), seen)) = known else { continue };
        if std::mem::replace(seen, true) {
            return Err(Problem::new(*name, "is in the component twice", PACK_AGAIN));
        }
        if data.len() > *most {
            let what = format!("holds {} bytes; {most} are the most", data.len());
            return Err(Problem::new(*name, what, "embed less"));
        }
        format::read(name, data, &mut embedded)?;
    }
    Ok(embedded)
}

/// `component` with this embedded in it, and nothing that was embedded before.
///
/// # Errors
/// As [`read`], for a component that is none, and for what is too much to be embedded.
pub fn embed(component: &[u8], mut embedded: Embedded) -> Result<Vec<u8>, Problem> {
    embedded.crds.sort_by(|a, b| a.name.cmp(&b.name));
    embedded.scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    let ours = |name: &str| SECTIONS.iter().any(|(known, _)| *known == name);
    let mut out = sections::header(component)?.to_vec();
    for section in sections::of(component)? {
        let section = section?;
        if !section.custom.is_some_and(|(name, _)| ours(name)) {
            out.extend_from_slice(section.whole);
        }
    }
    for (name, data) in format::write(&embedded)? {
        sections::append(&mut out, name, &data)?;
    }
    // By the reader's own rules, which say what is wrong with it.
    read(&out)?;
    Ok(out)
}

/// Holds what is embedded in the component against what its `describe` says. Nothing embedded is fine.
///
/// # Errors
/// A [`Refusal`] if what is embedded can't be read, or is another manifest: whoever looked at the module without
/// running it was told something else than what it asks for now.
pub fn check(plugin: &str, component: &[u8], described: &Manifest) -> Result<(), Refusal> {
    hold(plugin, &read(component), described)
}

/// The same for what was read before.
pub(crate) fn hold(plugin: &str, read: &Result<Embedded, Problem>, described: &Manifest) -> Result<(), Refusal> {
    let embedded = read.as_ref().map_err(|problem| unreadable(plugin, problem))?;
    match &embedded.manifest {
        Some(manifest) if manifest != described => Err(Refusal::new(
            plugin,
            Step::Manifest,
            "its `describe` says something else than the manifest that is embedded in it",
            "only pack what nobody changes afterwards: run `pilothouse pack` on the module again, and look at it again",
        )),
        _ => Ok(()),
    }
}

fn unreadable(plugin: &str, problem: &Problem) -> Refusal {
    Refusal::new(
        plugin,
        Step::Manifest,
        format!("what is embedded in it can't be read: {problem}"),
        "",
    )
}

const PACK_AGAIN: &str = "run `pilothouse pack` on the module again";
