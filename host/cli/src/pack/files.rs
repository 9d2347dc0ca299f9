//! The files that are embedded: read, checked, bounded.

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use pilothouse_lifecycle::embedded::{Crd, MAX_SCENARIO_BYTES, MAX_SCENARIOS, Scenario};
use pilothouse_object::escape_control;

use crate::documents;

/// Folders within folders, at most; more are in no name that a scenario may have.
const MAX_DEPTH: usize = 8;

/// The CustomResourceDefinitions of files and directories.
///
/// # Errors
/// The file, what is wrong with it, and the mend; so for an object that is something else.
pub(super) fn crds(paths: &[PathBuf]) -> Result<Vec<Crd>, String> {
    let crd = |document: documents::Document| {
        Crd::parse(&document.object.to_string()).map_err(|problem| format!("{}: {problem}", document.place))
    };
    documents::read(paths)?.into_iter().map(crd).collect()
}

/// Every file below these directories, with its path below its directory as its name. Symbolic links are not followed.
///
/// # Errors
/// The file or directory, what is wrong with it, and the mend.
pub(super) fn scenarios(directories: &[PathBuf]) -> Result<Vec<Scenario>, String> {
    let mut found = Vec::new();
    for directory in directories {
        let before = found.len();
        below(directory, "", 1, &mut found)?;
        if found.len() == before {
            return Err(at(directory, "holds no file: correct --scenarios"));
        }
    }
    Ok(found)
}

fn below(directory: &Path, prefix: &str, depth: usize, found: &mut Vec<Scenario>) -> Result<(), String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            at(directory, "there is no such directory: correct --scenarios")
        }
        _ => at(directory, &format!("can't be read: {error}: check its permissions")),
    };
    if depth > MAX_DEPTH {
        return Err(at(directory, "lies too deep: 8 folders within each other are the most"));
    }
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        // What is no UTF-8 becomes a replacement character, which no name may hold.
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            below(&path, &format!("{name}/"), depth + 1, found)?;
        } else if kind.is_file() {
            if found.len() == MAX_SCENARIOS {
                return Err(at(
                    directory,
                    &format!("more than {MAX_SCENARIOS} files in all: embed fewer"),
                ));
            }
            let scenario = Scenario::new(name, text(&path)?);
            found.push(scenario.map_err(|problem| at(&path, &problem.to_string()))?);
        } else {
            return Err(at(
                &path,
                "is neither a file nor a directory: put the file itself there",
            ));
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| at(path, &format!("can't be read: {error}: check its permissions"));
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_SCENARIO_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_SCENARIO_BYTES {
        return Err(at(
            path,
            &format!("is longer than {} KiB: split it", MAX_SCENARIO_BYTES >> 10),
        ));
    }
    String::from_utf8(bytes).map_err(|_| at(path, "is no UTF-8 text: scenarios are text files"))
}

fn at(path: &Path, what: &str) -> String {
    format!("{}: {what}", escape_control(&path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
                       metadata: {name: greetings.demo.io}\nspec: {group: demo.io, names: {kind: Greeting, plural: \
                       greetings}, versions: [{name: v1}]}\n";

    #[test]
    fn definitions_are_taken_from_yaml_and_json_and_nothing_else_is() {
        let folder = folder(&[("a.yaml", CRD)]);
        let file = folder.path().join("a.yaml");
        let read = crds(&[folder.path().to_owned()]).unwrap();
        assert_eq!(read[0].name, "greetings.demo.io");
        let json = folder.path().join("b.json");
        fs::write(&json, read[0].json()).unwrap();
        assert_eq!(crds(&[json]).unwrap(), read);
        fs::write(
            &file,
            format!("{CRD}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\n"),
        )
        .unwrap();
        let error = crds(&[file]).unwrap_err();
        assert!(
            error.ends_with(
                "a.yaml: document 2 (line 5): is `ConfigMap` of `v1` and no CustomResourceDefinition of \
                 `apiextensions.k8s.io/v1`; name files that hold only CustomResourceDefinitions"
            ),
            "{error}"
        );
    }

    #[test]
    fn scenarios_are_named_by_their_path_below_the_directory() {
        let folder = folder(&[("b/c/d.yaml", "d"), ("a.txt", "a")]);
        let mut read = scenarios(&[folder.path().to_owned()]).unwrap();
        read.sort_by(|a, b| a.name.cmp(&b.name));
        let read: Vec<_> = read.iter().map(|file| (&*file.name, &*file.text)).collect();
        assert_eq!(read, [("a.txt", "a"), ("b/c/d.yaml", "d")]);
    }

    #[test]
    fn what_can_not_be_a_scenario_is_named() {
        let told = |folder: &tempfile::TempDir| scenarios(&[folder.path().to_owned()]).unwrap_err();
        assert!(told(&folder(&[])).ends_with("holds no file: correct --scenarios"));
        assert!(told(&folder(&[(".git/config", "")])).contains("is no name of a scenario file"));
        assert!(told(&folder(&[("1/2/3/4/5/6/7/8/9", "")])).contains("lies too deep"));
        let binary = folder(&[]);
        fs::write(binary.path().join("a"), b"\xff").unwrap();
        assert!(told(&binary).contains("is no UTF-8 text"));
        let long = folder(&[]);
        fs::write(long.path().join("a"), vec![b'x'; MAX_SCENARIO_BYTES + 5]).unwrap();
        assert!(told(&long).contains("is longer than 1024 KiB: split it"));
        let missing = scenarios(&[long.path().join("none")]).unwrap_err();
        assert!(
            missing.ends_with("none: there is no such directory: correct --scenarios"),
            "{missing}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let folder = folder(&[]);
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("a")).unwrap();
        let error = scenarios(&[folder.path().to_owned()]).unwrap_err();
        assert!(error.contains("is neither a file nor a directory"), "{error}");
    }
}
