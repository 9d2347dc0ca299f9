//! Files of objects: read and put in order.
//!
//! Promises: bounded in size and number; every object has `apiVersion`, `kind` and a name; an error names the file, the
//! document in it and its line.

use std::{
    fmt, fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use pilothouse_object::{Gvk, Key, check_path_segment, escape_control, shorten};
use serde_json::Value;

/// A file may be this long, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// So many files may be in a directory, and so many objects in all files together.
const MAX_FILES: usize = 1_000;
const MAX_OBJECTS: usize = 20_000;

/// Endings of files that are taken from a directory.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// One object of a file.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Where it stands.
    pub(crate) place: Place,
    /// What it is.
    pub(crate) kind: Gvk,
    /// Its namespace and name as written; the name is empty where the server makes one up.
    pub(crate) key: Key,
    /// The object itself.
    pub(crate) object: Value,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: Arc<PathBuf>,
    /// Which document in it, from 1.
    number: usize,
    /// The document's first line, from 1.
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display().to_string();
        write!(
            f,
            "{}: document {} (line {})",
            escape_control(&file),
            self.number,
            self.line
        )
    }
}

/// Reads files and directories, in the order given; the files of a directory in the order of their names.
///
/// # Errors
/// The file, the document, what is wrong, and the mend.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for path in paths {
        for file in files(path)? {
            parse(&Arc::new(file.clone()), &text(&file)?, &mut documents)?;
        }
    }
    Ok(documents)
}

/// The documents that others need (Namespaces and CustomResourceDefinitions), and the rest; each in their order.
pub(crate) fn split(documents: Vec<Document>) -> (Vec<Document>, Vec<Document>) {
    documents.into_iter().partition(|document| {
        matches!(
            (&*document.kind.group, &*document.kind.kind),
            ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition")
        )
    })
}

/// The file itself, or the files of a directory that hold objects, by name. Directories below are not looked at.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{}: there is no such file or directory: correct the path",
            path.display()
        ),
        _ => format!("{}: can't be read: {error}: check its permissions", path.display()),
    };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let fits = file
            .extension()
            .is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
        if fits && file.is_file() {
            found.push(file);
        }
        if found.len() > MAX_FILES {
            return Err(format!(
                "{}: holds more than {MAX_FILES} files: name those that are needed",
                path.display()
            ));
        }
    }
    if found.is_empty() {
        return Err(format!(
            "{}: holds no .yaml, .yml or .json file: correct the path",
            path.display()
        ));
    }
    found.sort();
    Ok(found)
}

fn text(file: &Path) -> Result<String, String> {
    let failed = |error: io::Error| {
        format!(
            "{}: can't be read: {error}: check the file and its permissions",
            file.display()
        )
    };
    // Looked at before it is opened, since opening a pipe would wait for its other end.
    if !fs::metadata(file).map_err(failed)?.is_file() {
        return Err(format!(
            "{}: is no regular file: name a YAML or JSON file",
            file.display()
        ));
    }
    let mut bytes = Vec::new();
    fs::File::open(file)
        .map_err(failed)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!(
            "{}: is longer than {} MiB: split it",
            file.display(),
            MAX_FILE >> 20
        ));
    }
    String::from_utf8(bytes).map_err(|_| format!("{}: is no UTF-8 text: name a YAML or JSON file", file.display()))
}

/// Takes the documents of one file.
pub(crate) fn parse(file: &Arc<PathBuf>, text: &str, documents: &mut Vec<Document>) -> Result<(), String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if file.extension().is_some_and(|ending| ending == "json") {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut number = 0;
        loop {
            let rest = text.get(values.byte_offset()..).unwrap_or_default();
            let start = values.byte_offset() + (rest.len() - rest.trim_start().len());
            let line = 1 + text[..start].matches('\n').count();
            number += 1;
            let place = Place {
                file: file.clone(),
                number,
                line,
            };
            match values.next() {
                None => return Ok(()),
                Some(Ok(object)) => take(place, object, documents)?,
                Some(Err(error)) => {
                    let file = file.display();
                    return Err(format!("{file}: document {number}: is no JSON: {error}: mend it there"));
                }
            }
        }
    }
    for (i, (line, text)) in yaml_documents(text).into_iter().enumerate() {
        let place = Place {
            file: file.clone(),
            number: i + 1,
            line,
        };
        let options = yaml_options();
        let object: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let at = error.location().filter(|at| at.line() > 0);
            let at = at.map(|at| format!(" at line {}, column {}", line as u64 + at.line() - 1, at.column()));
            let what = escape_control(&shorten(&error.to_string(), 500)).into_owned();
            format!(
                "{}: document {}: the YAML is wrong{}: {what}",
                file.display(),
                i + 1,
                at.unwrap_or_default()
            )
        })?;
        if !object.is_null() {
            take(place, object, documents)?;
        }
    }
    Ok(())
}

/// Scalars as `kubectl` reads them (`0644` is octal), but that only `true` and `false` are booleans: a name `n` or a
/// country `no` stays what it is.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        legacy_octal_numbers: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::Reject,
    }
}

/// The documents of a YAML text with the line each begins in. `---` alone, or before a space, begins one.
fn yaml_documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let is_separator = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if is_separator {
            if holds_something(&text[start..offset]) {
                documents.push((first_line, &text[start..offset]));
            }
            // What follows on the separator's own line belongs to its document.
            (start, first_line) = (offset, i + 1);
        }
        offset += line.len();
    }
    if holds_something(&text[start..]) {
        documents.push((first_line, &text[start..]));
    }
    documents
}

/// Whether there is more than comments, directives, separators and empty lines.
fn holds_something(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        !line.is_empty() && !line.starts_with(['#', '%']) && line != "..."
    })
}

/// Takes one object, or the items of a List.
fn take(place: Place, object: Value, documents: &mut Vec<Document>) -> Result<(), String> {
    let string = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (string("/apiVersion"), string("/kind"));
    if api_version.is_empty() || kind.is_empty() {
        let missing = if !object.is_object() {
            "is no object"
        } else if api_version.is_empty() {
            "`apiVersion` is missing"
        } else {
            "`kind` is missing"
        };
        return Err(format!(
            "{place}: {missing}: a Kubernetes object needs apiVersion, kind and metadata.name"
        ));
    }
    if kind.ends_with("List")
        && let Some(Value::Array(_)) = object.get("items")
    {
        let Value::Object(mut list) = object else { return Ok(()) };
        if let Some(Value::Array(items)) = list.remove("items") {
            for item in items {
                take(place.clone(), item, documents)?;
            }
        }
        return Ok(());
    }
    let kind = Gvk::from_api_version(api_version, kind);
    let (namespace, name) = (string("/metadata/namespace"), string("/metadata/name"));
    let kind_shown = escape_control(&kind.kind).into_owned();
    if name.is_empty() && string("/metadata/generateName").is_empty() {
        return Err(format!(
            "{place}, {kind_shown}: `metadata.name` is missing: give the object a name"
        ));
    }
    for (field, value) in [("name", name), ("namespace", namespace)] {
        if !value.is_empty()
            && let Err(error) = check_path_segment(value)
        {
            return Err(format!("{place}, {kind_shown}: `metadata.{field}`: {error}"));
        }
    }
    if documents.len() == MAX_OBJECTS {
        return Err(format!(
            "{place}: more than {MAX_OBJECTS} objects in all files together: apply fewer"
        ));
    }
    let key = Key::new(Some(namespace).filter(|namespace| !namespace.is_empty()), name);
    documents.push(Document {
        place,
        kind,
        key,
        object,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str, text: &str) -> Result<Vec<Document>, String> {
        let mut documents = Vec::new();
        parse(&Arc::new(PathBuf::from(name)), text, &mut documents).map(|()| documents)
    }

    fn shown(documents: &[Document]) -> Vec<String> {
        documents
            .iter()
            .map(|d| format!("{}:{} {} {}", d.place.number, d.place.line, d.kind, d.key))
            .collect()
    }

    #[test]
    fn documents_keep_their_order_and_know_their_lines() {
        let text = "# a comment\n---\n# only this\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n---\n\
                    \napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b, namespace: n}\n--- # the end\n";
        let documents = parsed("x.yaml", text).unwrap();
        assert_eq!(shown(&documents), ["1:4 v1 ConfigMap a", "2:9 apps/v1 Deployment n/b"]);
        assert!(parsed("x.yaml", "").unwrap().is_empty());
    }

    #[test]
    fn json_files_may_hold_several_objects_and_lists() {
        let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}
            {"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","metadata":{"generateName":"s-"}}]}"#;
        assert_eq!(
            shown(&parsed("x.json", text).unwrap()),
            ["1:1 v1 ConfigMap a", "2:2 v1 Secret "]
        );
        let error = parsed("x.json", "{\"apiVersion\":").unwrap_err();
        assert!(
            error.starts_with("x.json: document 1: is no JSON: EOF while parsing"),
            "{error}"
        );
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named_with_its_document_and_line() {
        let good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n";
        for (bad, expected) in [
            (
                "kind: ConfigMap\n",
                "x.yaml: document 2 (line 4): `apiVersion` is missing",
            ),
            ("apiVersion: v1\n", "x.yaml: document 2 (line 4): `kind` is missing"),
            ("- a\n", "x.yaml: document 2 (line 4): is no object"),
            (
                "apiVersion: v1\nkind: ConfigMap\n",
                "x.yaml: document 2 (line 4), ConfigMap: `metadata.name` is missing",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a/b}\n",
                "ConfigMap: `metadata.name`: ",
            ),
            (
                "a: 1\na: 2\n",
                "x.yaml: document 2: the YAML is wrong at line 6, column 1: ",
            ),
            ("a: [1\nb: 2\n", "x.yaml: document 2: the YAML is wrong at line "),
        ] {
            let error = parsed("x.yaml", &format!("{good}{bad}")).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them_but_for_words_that_look_like_booleans() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nscalars: [true, 7, 1.5, 2026-01-01T00:00:00Z, \
                    1.2.3, ~, 0644, 0o644, no, n, 18446744073709551615]\n";
        let object = &parsed("x.yaml", text).unwrap()[0].object;
        let expected = serde_json::json!([
            true,
            7,
            1.5,
            "2026-01-01T00:00:00Z",
            "1.2.3",
            null,
            420,
            420,
            "no",
            "n",
            18446744073709551615u64
        ]);
        assert_eq!(object["scalars"], expected);
        assert!(parsed("x.yaml", "a: .inf\n").is_err(), "JSON has no infinity");
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let object = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        for name in ["b.yaml", "a.yml", "ignored.txt"] {
            fs::write(folder.path().join(name), object(&name[..1])).unwrap();
        }
        let documents = read(&[folder.path().to_owned()]).unwrap();
        assert_eq!(shown(&documents), ["1:1 v1 ConfigMap a", "1:1 v1 ConfigMap b"]);
        fs::remove_file(folder.path().join("b.yaml")).unwrap();
        fs::remove_file(folder.path().join("a.yml")).unwrap();
        assert!(
            read(&[folder.path().to_owned()])
                .unwrap_err()
                .contains("holds no .yaml, .yml or .json file")
        );
        let missing = read(&[folder.path().join("missing.yaml")]).unwrap_err();
        assert!(
            missing.ends_with("missing.yaml: there is no such file or directory: correct the path"),
            "{missing}"
        );
    }

    #[test]
    fn what_others_need_goes_first() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\n\
                    metadata: {name: n}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
                    metadata: {name: c}\n";
        let (first, rest) = split(parsed("x.yaml", text).unwrap());
        assert_eq!(first.iter().map(|d| &*d.key.name).collect::<Vec<_>>(), ["n", "c"]);
        assert_eq!(rest.iter().map(|d| &*d.key.name).collect::<Vec<_>>(), ["a"]);
    }
}
