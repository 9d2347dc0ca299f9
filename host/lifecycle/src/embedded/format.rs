//! The JSON of each embedded section, version 1.
//!
//! `{"version":1,"manifest":{…}}`, `{"version":1,"crds":[{…},…]}`, `{"version":1,"files":[{"name":…,"text":…},…]}`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    CRDS_SECTION, Crd, Embedded, MANIFEST_SECTION, MAX_CRDS, MAX_SCENARIOS, PACK_AGAIN, SCENARIOS_SECTION, Scenario,
};
use crate::manifest::Manifest;
use crate::problem::{self, Problem, shown};
use crate::rules::is_label;

/// The version of the formats that this host writes and reads.
const VERSION: u32 = 1;

/// Read first: what else a later version has is its own affair.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFormat {
    version: u32,
    manifest: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrdsFormat {
    version: u32,
    // As they stand: only a few of their fields are of use here, and a tree of values takes many times their length.
    crds: Vec<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenariosFormat {
    version: u32,
    files: Vec<FileFormat>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileFormat {
    name: String,
    text: String,
}

/// Reads one section into its field of `embedded`.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn read(section: &'static str, data: &[u8], embedded: &mut Embedded) -> Result<(), Problem> {
    let versioned: Versioned = parse(section, data)?;
    if versioned.version != VERSION {
        return Err(Problem::new(
            section,
            format!("is of version {}; this host reads version {VERSION}", versioned.version),
            "update the host, or pack the module with the host's own `pilothouse pack`",
        ));
    }
    match section {
        MANIFEST_SECTION => {
            let format: ManifestFormat = parse(section, data)?;
            let manifest = Manifest::parse(format.manifest.get())
                .map_err(|error| Problem::new(section, error.to_string(), PACK_AGAIN))?;
            embedded.manifest = Some(manifest);
        }
        CRDS_SECTION => {
            let format: CrdsFormat = parse(section, data)?;
            at_most(section, format.crds.len(), MAX_CRDS)?;
            let crds = format.crds.iter().enumerate().map(|(i, json)| {
                Crd::parse(json.get()).map_err(|problem| within(format!("{section}: crds[{i}]"), &problem))
            });
            embedded.crds = crds.collect::<Result<_, _>>()?;
            once(section, embedded.crds.iter().map(|crd| crd.name.as_str()))?;
        }
        _ => {
            let format: ScenariosFormat = parse(section, data)?;
            at_most(section, format.files.len(), MAX_SCENARIOS)?;
            let files = format.files.into_iter().enumerate().map(|(i, file)| {
                Scenario::new(file.name, file.text)
                    .map_err(|problem| within(format!("{section}: files[{i}]"), &problem))
            });
            embedded.scenarios = files.collect::<Result<_, _>>()?;
            once(section, embedded.scenarios.iter().map(|file| file.name.as_str()))?;
        }
    }
    Ok(())
}

/// The sections that hold something, with their content.
///
/// # Errors
/// What can't be written as JSON.
pub(super) fn write(embedded: &Embedded) -> Result<Vec<(&'static str, Vec<u8>)>, Problem> {
    let mut sections = Vec::new();
    if let Some(manifest) = &embedded.manifest {
        let manifest =
            serde_json::value::to_raw_value(manifest).map_err(|error| unwritable(MANIFEST_SECTION, &error))?;
        let format = ManifestFormat {
            version: VERSION,
            manifest,
        };
        sections.push((MANIFEST_SECTION, bytes(MANIFEST_SECTION, &format)?));
    }
    if !embedded.crds.is_empty() {
        let crds = embedded.crds.iter().map(|crd| RawValue::from_string(crd.json.clone()));
        let crds = crds
            .collect::<Result<_, _>>()
            .map_err(|error| unwritable(CRDS_SECTION, &error))?;
        let format = CrdsFormat { version: VERSION, crds };
        sections.push((CRDS_SECTION, bytes(CRDS_SECTION, &format)?));
    }
    if !embedded.scenarios.is_empty() {
        let file = |file: &Scenario| FileFormat {
            name: file.name.clone(),
            text: file.text.clone(),
        };
        let format = ScenariosFormat {
            version: VERSION,
            files: embedded.scenarios.iter().map(file).collect(),
        };
        sections.push((SCENARIOS_SECTION, bytes(SCENARIOS_SECTION, &format)?));
    }
    Ok(sections)
}

fn bytes(section: &'static str, format: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(format).map_err(|error| unwritable(section, &error))
}

fn unwritable(section: &'static str, error: &serde_json::Error) -> Problem {
    Problem::new(section, format!("can't be written as JSON: {error}"), "")
}

fn parse<'a, T: Deserialize<'a>>(section: &'static str, data: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(data).map_err(|error| {
        let problem = problem::from_serde("", &error.to_string());
        Problem::new(section, problem.what, PACK_AGAIN)
    })
}

fn at_most(section: &'static str, found: usize, most: usize) -> Result<(), Problem> {
    match found > most {
        true => Err(Problem::new(
            section,
            format!("holds {found} entries; {most} are the most"),
            "embed fewer",
        )),
        false => Ok(()),
    }
}

fn once<'a>(section: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Problem::new(
                section,
                format!("holds `{}` twice", shown(name)),
                "embed each once",
            ));
        }
    }
    Ok(())
}

/// The same problem with its place in the section before its own.
fn within(place: String, problem: &Problem) -> Problem {
    let at = match problem.at.as_str() {
        "" => place,
        at => format!("{place}: {at}"),
    };
    Problem::new(at, problem.what.clone(), problem.mend.clone())
}

/// Those fields of a CustomResourceDefinition that say what it defines.
#[derive(Deserialize)]
struct CrdHead {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
struct Spec {
    group: String,
    names: Names,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Deserialize)]
struct Version {
    name: String,
}

impl Crd {
    /// Reads a CustomResourceDefinition of `apiextensions.k8s.io/v1` from JSON. Its schemas are kept as they are, and
    /// checked by the API server that takes them.
    ///
    /// # Errors
    /// It is something else, or lacks what says which kind it defines; with field and mend.
    pub fn parse(json: &str) -> Result<Self, Problem> {
        // Its type first, so that another object is not blamed for lacking a definition's fields.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Type {
            #[serde(default)]
            api_version: String,
            #[serde(default)]
            kind: String,
        }
        let broken = |error: serde_json::Error| problem::from_serde("", &error.to_string());
        let kind: Type = serde_json::from_str(json).map_err(broken)?;
        if (&*kind.api_version, &*kind.kind) != ("apiextensions.k8s.io/v1", "CustomResourceDefinition") {
            return Err(Problem::new(
                "",
                format!(
                    "is `{}` of `{}` and no CustomResourceDefinition of `apiextensions.k8s.io/v1`",
                    shown(&kind.kind),
                    shown(&kind.api_version)
                ),
                "name files that hold only CustomResourceDefinitions",
            ));
        }
        let CrdHead { metadata, spec } = serde_json::from_str(json).map_err(broken)?;
        if metadata.name.len() > 253 || metadata.name != format!("{}.{}", spec.names.plural, spec.group) {
            return Err(Problem::new(
                "metadata.name",
                format!("is `{}`", shown(&metadata.name)),
                "it must be spec.names.plural, a dot and spec.group, and at most 253 bytes",
            ));
        }
        if spec.names.kind.is_empty() || spec.names.kind.len() > 63 {
            return Err(Problem::new("spec.names.kind", "has to have 1 to 63 bytes", ""));
        }
        let versions: Vec<String> = spec.versions.into_iter().map(|version| version.name).collect();
        if versions.is_empty() || versions.len() > 64 || !versions.iter().all(|name| is_label(name)) {
            return Err(Problem::new(
                "spec.versions",
                "has to have 1 to 64 versions, each with a name as in `v1`",
                "",
            ));
        }
        Ok(Self {
            name: metadata.name,
            group: spec.group,
            kind: spec.names.kind,
            versions,
            json: json.to_owned(),
        })
    }
}
