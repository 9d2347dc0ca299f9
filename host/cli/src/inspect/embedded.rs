//! What `pilothouse pack` embedded in a module, read without running it.

use std::{fmt::Write as _, path::Path};

use pilothouse_lifecycle::embedded::{Embedded, Looked, look};

use super::{answer, bytes, list, manifest_lines, refusal_lines, shown};
use crate::{
    args,
    exit::{FAILED, OK, Stop},
    plugins,
};

/// Writes the answer to stdout; the exit code says whether what is embedded could be read.
///
/// # Errors
/// What can't be written.
pub(super) async fn inspect(args: &args::Inspect) -> Result<u8, Stop> {
    let max = pilothouse_lifecycle::Config::default().host.max_module_bytes();
    let path = args.module.clone();
    let looked = plugins::apart(move || look(&path, max))
        .await
        .ok_or_else(|| Stop::failed("looking at the module failed: report it with the module, it is a bug"))?;
    answer(args.output, &looked, |looked| text(&args.module, looked))?;
    Ok(if looked.refusal.is_none() { OK } else { FAILED })
}

/// The answer for people.
fn text(path: &Path, looked: &Looked) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: &str| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}", format!("{label:<13}{text}").trim_end());
    };
    line("module", &shown(&path.display().to_string()));
    line("plugin", &format!("{} (by its file's name)", shown(&looked.plugin)));
    if let Some(size) = looked.size {
        line("size", &bytes(size));
    }
    if let Some(hash) = &looked.hash {
        line("sha256", hash);
    }
    if let Some(embedded) = &looked.embedded {
        if embedded.manifest.is_none() {
            line("embedded", "no manifest: `pilothouse pack` embeds it");
        }
        lines(embedded, &mut line);
        if let Some(manifest) = &embedded.manifest {
            manifest_lines(manifest, &mut line);
        }
    }
    match &looked.refusal {
        Some(refusal) => refusal_lines(refusal, &mut line),
        None => line(
            "would load",
            "not judged: nothing was run (a host refuses it if it says something else of itself)",
        ),
    }
    out
}

/// What is embedded, in short.
pub(super) fn lines(embedded: &Embedded, line: &mut impl FnMut(&str, &str)) {
    let manifest = embedded
        .manifest
        .iter()
        .map(|manifest| format!("manifest of {} {}", shown(&manifest.name), shown(&manifest.version)));
    let crds = embedded.crds.iter().map(|crd| {
        let versions: Vec<_> = crd.versions.iter().map(|name| shown(name)).collect();
        format!(
            "CustomResourceDefinition {}: {} {}",
            shown(&crd.name),
            shown(&crd.kind),
            versions.join(", ")
        )
    });
    let scenarios = embedded
        .scenarios
        .iter()
        .map(|file| format!("scenario {}: {}", shown(&file.name), bytes(file.text.len() as u64)));
    list("embedded", manifest.chain(crds).chain(scenarios), line);
}

#[cfg(test)]
mod tests {
    use pilothouse_lifecycle::embedded::{Crd, Scenario};
    use serde_json::json;

    use super::*;

    fn looked(embedded: Embedded) -> Looked {
        Looked {
            plugin: "greeting".into(),
            size: Some(123),
            hash: Some("abc".into()),
            embedded: Some(embedded),
            refusal: None,
        }
    }

    #[test]
    fn what_is_embedded_is_shown_escaped() {
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "greetings.demo.io"},
            "spec": {"group": "demo.io", "names": {"kind": "Gr\u{1b}[2J", "plural": "greetings"},
                     "versions": [{"name": "v1"}, {"name": "v2"}]},
        });
        let embedded = Embedded {
            manifest: None,
            crds: vec![Crd::parse(&crd.to_string()).unwrap()],
            scenarios: vec![Scenario::new("first/a.yaml", "a: 1\n").unwrap()],
        };
        assert_eq!(
            text(Path::new("greeting.wasm"), &looked(embedded)),
            "\
module       greeting.wasm
plugin       greeting (by its file's name)
size         123 bytes
sha256       abc
embedded     no manifest: `pilothouse pack` embeds it
embedded     CustomResourceDefinition greetings.demo.io: Gr\\u{1b}[2J v1, v2
             scenario first/a.yaml: 5 bytes
would load   not judged: nothing was run (a host refuses it if it says something else of itself)
"
        );
    }
}
