//! `pilothouse inspect`: what a module is, and whether this host would load it.

mod embedded;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
};

use pilothouse_lifecycle::{
    API_VERSION, Config, Controller, Inspection, LimitOverrides, Manifest, Permission, Refusal, Scope, Shown,
    grants_of_config, grants_of_file, said_of,
};
use pilothouse_object::escape_control;
use pilothouse_runtime::Modules;
use serde::Serialize;

use crate::{
    args::{self, GrantForm, Output},
    exit::{FAILED, OK, Stop},
    plugins, present,
};

/// Takes the module through the steps of loading, with what the operator says of it beside it or in `config`.
pub(crate) async fn look(modules: &Modules, path: &Path, config: Option<&Config>) -> Inspection {
    let name = path.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let max_bytes = config.cloned().unwrap_or_default().host.max_module_bytes();
    match said_of(directory, &name, config) {
        Ok(own) => pilothouse_lifecycle::inspect(modules, path, own.as_ref(), max_bytes).await,
        Err(refusal) => {
            let mut seen = pilothouse_lifecycle::inspect(modules, path, None, max_bytes).await;
            seen.judged_with_config = true;
            seen.would_load = false;
            seen.refusal.get_or_insert(refusal);
            seen
        }
    }
}

/// Writes the answer to stdout; the exit code says whether this host would load the module.
///
/// # Errors
/// Wrong usage or configuration.
pub(crate) async fn inspect(args: &args::Inspect) -> Result<u8, Stop> {
    let path = &args.module;
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Stop::usage(format!(
                "{}: there is no such file: correct the path of the module",
                path.display()
            )));
        }
        Ok(metadata) if metadata.is_dir() => {
            return Err(Stop::usage(format!(
                "{}: is a directory: name one of the modules in it",
                path.display()
            )));
        }
        // What else may be wrong with it is part of the answer.
        _ => {}
    }
    if args.no_run {
        return embedded::inspect(args).await;
    }
    let config = match &args.config {
        None => None,
        Some(file) => Some(plugins::config(Some(file))?),
    };
    let modules = plugins::modules(&config.clone().unwrap_or_default(), None)?;
    let seen = look(&modules, path, config.as_ref()).await;
    if let (Some(form), Some(manifest)) = (args.grant, &seen.manifest) {
        let host_namespace = plugins::config(args.config.as_deref())?.host.namespace;
        let (asked, host_namespace) = (&manifest.permissions, host_namespace.as_deref());
        let lines = match form {
            GrantForm::File => grants_of_file(asked, host_namespace),
            GrantForm::Config => {
                let lines = grants_of_config(&seen.plugin, asked, host_namespace);
                format!("apiVersion: {API_VERSION}\n{lines}")
            }
        };
        return put(&(lines + "\n")).map(|()| OK);
    }
    if args.grant.is_some() {
        // Nothing on stdout: it would be pasted.
        let why = seen.refusal.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(Stop::failed(format!("it doesn't come to say what it asks for: {why}")));
    }
    answer(args.output, &seen, |seen| text(path, seen))?;
    Ok(if seen.would_load { OK } else { FAILED })
}

/// Writes what was seen to stdout in the form asked for.
pub(crate) fn answer<T: Serialize>(form: Output, seen: &T, text: impl Fn(&T) -> String) -> Result<(), Stop> {
    let text = match form {
        Output::Text => text(seen),
        Output::Json => {
            let json = serde_json::to_string_pretty(seen)
                .map_err(|error| Stop::failed(format!("the answer can't be written as JSON: {error}")))?;
            present::harmless(&json) + "\n"
        }
    };
    put(&text)
}

/// Writes to stdout.
///
/// # Errors
/// It can't be written.
pub(crate) fn put(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that has seen enough, as in `| head`.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::failed(format!("stdout can't be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// The answer for people.
fn text(path: &Path, seen: &Inspection) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: &str| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}", format!("{label:<13}{text}").trim_end());
    };
    line("module", &shown(&path.display().to_string()));
    if let Some(manifest) = &seen.manifest {
        line(
            "plugin",
            &format!(
                "{} (by its file's name), says of itself: {} {}",
                shown(&seen.plugin),
                shown(&manifest.name),
                shown(&manifest.version)
            ),
        );
        if !manifest.description.is_empty() {
            line("", &shown(&manifest.description));
        }
    } else {
        line("plugin", &format!("{} (by its file's name)", shown(&seen.plugin)));
    }
    if let Some(size) = seen.size {
        line("size", &bytes(size));
    }
    if let Some(hash) = &seen.hash {
        line("sha256", hash);
    }
    if let Some(manifest) = &seen.manifest {
        manifest_lines(manifest, &mut line);
    }
    if let Some(inside) = &seen.embedded {
        embedded::lines(inside, &mut line);
    }
    if let Some(limits) = &seen.limits {
        line("limits", &limits_line(limits));
    }
    list("imports", seen.imports.iter().map(|name| shown(name)), &mut line);
    list("exports", seen.exports.iter().map(|name| shown(name)), &mut line);
    match &seen.refusal {
        None if seen.judged_with_config => line("would load", "yes"),
        None => line(
            "would load",
            "yes, if it is granted what it asks for (nothing was judged against a --config file)",
        ),
        Some(refusal) => refusal_lines(refusal, &mut line),
    }
    if !seen.judged_with_config && !seen.grants_to_paste.is_empty() {
        let _ = write!(
            out,
            "\nTo grant everything it asks for, a configuration file (--config):\n\napiVersion: {API_VERSION}\n{}\n",
            seen.grants_to_paste
        );
    }
    out
}

fn refusal_lines(refusal: &Refusal, line: &mut impl FnMut(&str, &str)) {
    let why = format!("no ({}): {}", refusal.step, refusal.why);
    for (i, text) in why.lines().chain(refusal.mend.lines()).enumerate() {
        line(if i == 0 { "would load" } else { "" }, text);
    }
}

fn manifest_lines(manifest: &Manifest, line: &mut impl FnMut(&str, &str)) {
    for controller in &manifest.controllers {
        let cluster = if controller.scope == Scope::Cluster {
            " (cluster-scoped)"
        } else {
            ""
        };
        line(
            "controller",
            &format!(
                "{}: reconciles {}{cluster}",
                shown(&controller.name),
                shown(&controller.kind.to_string())
            ),
        );
        controller_lines(manifest, controller, line);
    }
    for index in &manifest.indexes {
        let paths: Vec<String> = index.paths.iter().map(|path| shown(&path.to_string())).collect();
        line(
            "index",
            &format!(
                "{} over {}: {}",
                shown(&index.name),
                shown(&index.kind.to_string()),
                paths.join(", ")
            ),
        );
    }
    list("asks for", manifest.permissions.iter().map(permission), line);
    let schema = if manifest.config_schema.is_some() {
        "held against its schema, and "
    } else {
        ""
    };
    line("config", &format!("{schema}checked by the plugin itself"));
}

fn controller_lines(manifest: &Manifest, controller: &Controller, line: &mut impl FnMut(&str, &str)) {
    if !controller.selector.is_everything() {
        line(
            "",
            &format!("  only those with labels {}", shown(&controller.selector.to_string())),
        );
    }
    if !controller.namespaces.is_empty() {
        line("", &format!("  only in {}", controller.namespaces.join(", ")));
    }
    if let Some(part) = part(&manifest.shown_of_primary(controller)) {
        line("", &format!("  sees of them {part}"));
    }
    let mut changes: Vec<String> = controller
        .predicates
        .iter()
        .map(|predicate| format!("{predicate:?}").to_lowercase())
        .collect();
    changes.extend(controller.changes.iter().map(|path| shown(&path.to_string())));
    if !changes.is_empty() {
        line(
            "",
            &format!("  updates pass if one of these changed: {}", changes.join(", ")),
        );
    }
    for watch in &controller.watches {
        let part = part(&manifest.shown_of_watched(watch)).map(|part| format!(", {part}"));
        let only = if watch.selector.is_everything() {
            String::new()
        } else {
            format!(" with labels {}", shown(&watch.selector.to_string()))
        };
        line(
            "",
            &format!(
                "  watches {}{only}{}, mapped by {}",
                shown(&watch.kind.to_string()),
                part.unwrap_or_default(),
                shown(&watch.map.to_string())
            ),
        );
    }
    let resync = controller
        .resync()
        .map(|every| format!(", all again every {}", present::duration(every)));
    let attempts = controller
        .max_attempts
        .map(|most| format!(", parked after {most} failures"));
    line(
        "",
        &format!(
            "  {} at once, back-off {} to {}{}{}",
            controller.concurrency,
            present::duration(controller.backoff.base()),
            present::duration(controller.backoff.max()),
            resync.unwrap_or_default(),
            attempts.unwrap_or_default()
        ),
    );
}

/// What is shown of a kind's objects; none where they are whole.
fn part(of: &Shown) -> Option<String> {
    match of {
        Shown::Metadata => Some("metadata only".to_owned()),
        Shown::Fields(fields) => {
            let paths: Vec<String> = fields.paths().map(|path| shown(&path.to_string())).collect();
            Some(format!("metadata and {} only", paths.join(", ")))
        }
        Shown::Whole => None,
    }
}

/// As a person reads it: `watch, create ConfigMap in a, b`.
fn permission(permission: &Permission) -> String {
    let verbs: Vec<&str> = permission.verbs.iter().map(|verb| verb.as_str()).collect();
    let mut text = format!("{} {}", verbs.join(", "), shown(&permission.kind));
    if !permission.group.is_empty() {
        let _ = write!(text, ".{}", shown(&permission.group));
    }
    if !permission.subresources.is_empty() {
        let _ = write!(text, "/{}", permission.subresources.join(",/"));
    }
    if !permission.names.is_empty() {
        let _ = write!(text, " named {}", shown(&permission.names.join(", ")));
    }
    if !permission.namespaces.is_empty() {
        let _ = write!(text, " in {}", permission.namespaces.join(", "));
    }
    text
}

fn limits_line(limits: &LimitOverrides) -> String {
    let time = |millis: u32| present::duration(std::time::Duration::from_millis(millis.into()));
    let parts = [
        limits.wall_ms.map(|ms| format!("{} of wall time", time(ms))),
        limits.cpu_ms.map(|ms| format!("{} of CPU time", time(ms))),
        limits.memory_mib.map(|mib| format!("{mib} MiB of memory")),
        limits.host_calls.map(|calls| format!("{calls} host calls")),
        limits.writes.map(|writes| format!("{writes} of them writes")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{} for each call", parts.join(", "))
}

fn list(label: &str, items: impl Iterator<Item = String>, line: &mut impl FnMut(&str, &str)) {
    for (i, item) in items.enumerate() {
        line(if i == 0 { label } else { "" }, &item);
    }
}

fn bytes(size: u64) -> String {
    match size {
        0..=9_999 => format!("{size} bytes"),
        _ if size < 10 << 20 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}

fn shown(text: &str) -> String {
    escape_control(text).into_owned()
}

#[cfg(test)]
mod tests {
    use pilothouse_lifecycle::embedded::Embedded;
    use serde_json::json;

    use super::*;

    fn seen() -> Inspection {
        let manifest = json!({
            "name": "greeting", "version": "0.1.0", "description": "Greets.\u{1b}[31m",
            "controllers": [{
                "name": "greeting", "kind": {"group": "demo.io", "version": "v1", "kind": "Greeting"},
                "predicates": ["generation"], "changes": ["spec.size"], "maxAttempts": 9,
                "fields": ["spec.who", "spec.hints['\u{1b}[2J']"],
                "watches": [{"kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "map": {"owner": "controller"}},
                            {"kind": {"group": "", "version": "v1", "kind": "Service"}, "map": "same-name", "fields": ["spec.ports"]},
                            {"kind": {"group": "", "version": "v1", "kind": "Secret"}, "map": "same-name", "metadataOnly": true}],
            }],
            "permissions": [
                {"group": "demo.io", "kind": "Greeting", "verbs": ["watch", "patch"]},
                {"group": "demo.io", "kind": "Greeting", "verbs": ["patch"], "subresources": ["status"]},
                {"group": "", "kind": "ConfigMap", "verbs": ["watch"], "namespaces": ["a"]},
                {"group": "", "kind": "Service", "verbs": ["watch"]},
                {"group": "", "kind": "Secret", "verbs": ["watch"]},
            ],
        });
        let manifest = Manifest::parse(&manifest.to_string()).unwrap();
        let limits = LimitOverrides {
            wall_ms: Some(30_000),
            cpu_ms: Some(2_000),
            memory_mib: Some(64),
            host_calls: Some(1_000),
            writes: Some(200),
            ..LimitOverrides::default()
        };
        Inspection {
            plugin: "greeting".into(),
            size: Some(123_456),
            hash: Some("abc".into()),
            imports: vec![
                "pilothouse:plugin/call@0.1.0".into(),
                "pilothouse:plugin/log@0.1.0".into(),
            ],
            exports: vec!["pilothouse:plugin/controller@0.1.0".into()],
            grants_to_paste: grants_of_config("greeting", &manifest.permissions[..1], None),
            manifest: Some(manifest),
            embedded: Some(Embedded::default()),
            limits: Some(limits),
            judged_with_config: false,
            would_load: true,
            refusal: None,
        }
    }

    #[test]
    fn everything_about_a_module_is_shown_with_the_grants_to_paste() {
        assert_eq!(
            text(Path::new("p/greeting.wasm"), &seen()),
            "\
module       p/greeting.wasm
plugin       greeting (by its file's name), says of itself: greeting 0.1.0
             Greets.\\u{1b}[31m
size         120 KiB
sha256       abc
controller   greeting: reconciles demo.io/v1 Greeting
               sees of them metadata and spec.hints['\\u{1b}[2J'], spec.size, spec.who only
               updates pass if one of these changed: generation, spec.size
               watches v1 ConfigMap, mapped by owner (controller)
               watches v1 Service, metadata and spec.ports only, mapped by same-name
               watches v1 Secret, metadata only, mapped by same-name
               1 at once, back-off 5ms to 5m, parked after 9 failures
asks for     watch, patch Greeting.demo.io
             patch Greeting.demo.io/status
             watch ConfigMap in a
             watch Service
             watch Secret
config       checked by the plugin itself
limits       30s of wall time, 2s of CPU time, 64 MiB of memory, 1000 host calls, 200 of them writes for each call
imports      pilothouse:plugin/call@0.1.0
             pilothouse:plugin/log@0.1.0
exports      pilothouse:plugin/controller@0.1.0
would load   yes, if it is granted what it asks for (nothing was judged against a --config file)

To grant everything it asks for, a configuration file (--config):

apiVersion: pilothouse.dev/v1
plugins:
  greeting:
    grants:
    - {group: \"demo.io\", kind: Greeting, verbs: [watch, patch]}
"
        );
    }

    #[test]
    fn a_refusal_is_shown_with_its_step_and_mend() {
        let refusal = pilothouse_lifecycle::Refusal {
            plugin: "greeting".into(),
            step: pilothouse_lifecycle::Step::Grants,
            why: "it asks for what it was not granted: watch ConfigMap".into(),
            mend: "add:\nplugins:".into(),
        };
        let seen = Inspection {
            judged_with_config: true,
            would_load: false,
            refusal: Some(refusal),
            ..seen()
        };
        let text = text(Path::new("greeting.wasm"), &seen);
        assert!(
            text.ends_with(
                "\
would load   no (grants): it asks for what it was not granted: watch ConfigMap
             add:
             plugins:
"
            ),
            "{text}"
        );
    }
}
