//! `pilothouse pack`: from what a compiler wrote to a module that can be looked at without running it.
//!
//! Promises: the same bytes for the same input; what was there before stays whole until the new module is, since that
//! is written beside it and renamed; nothing is written that this host could not read again. The module's `describe` is
//! run once, without access to anything, for the manifest.

mod component;
mod files;

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use pilothouse_lifecycle::{
    Config, Manifest, ModuleFile,
    embedded::{self, Embedded},
};
use pilothouse_object::{escape_control, shorten};

use crate::{args, exit::Stop, plugins};

/// Packs the module and says what became of it.
///
/// # Errors
/// Wrong usage: a file that is not there or does not hold what it should. Else: what can't be packed or written.
pub(crate) async fn pack(args: &args::Pack) -> Result<(), Stop> {
    let config = Config::default();
    let max = config.host.max_module_bytes();
    let file = ModuleFile::at(&args.module);
    let bytes = file
        .read(max)
        .map_err(|refusal| Stop::usage(told(&args.module, &format!("{}; {}", refusal.why, refusal.mend))))?;
    let crds = files::crds(&args.crd).map_err(Stop::usage)?;
    let scenarios = files::scenarios(&args.scenarios).map_err(Stop::usage)?;
    let failed = |what: &str| Stop::failed(told(&args.module, what));

    let component = apart(move || component::component(bytes.to_vec()))
        .await
        .map_err(|why| failed(&why))?;
    let manifest = described(&config, &component).await.map_err(|why| failed(&why))?;
    let told_of = format!("{} {}", manifest.name, manifest.version);
    let (crd_count, scenario_count) = (crds.len(), scenarios.len());
    let embedded = Embedded {
        manifest: Some(manifest),
        crds,
        scenarios,
    };
    let packed = embedded::embed(&component, embedded).map_err(|problem| failed(&problem.to_string()))?;
    if packed.len() as u64 > max {
        return Err(failed(&format!(
            "packed it has {} bytes, and a host takes {max} at most: embed less, or build it optimised and stripped",
            packed.len()
        )));
    }
    let out = args.output.as_ref().unwrap_or(&args.module);
    replace(out, &packed).map_err(|error| {
        Stop::failed(told(
            out,
            &format!("can't be written: {error}: check the directory and its permissions"),
        ))
    })?;
    say(&format!(
        "{}: {} bytes, {told_of}, CustomResourceDefinitions: {crd_count}, scenario files: {scenario_count}\n",
        out.display(),
        packed.len()
    ))
}

/// Runs what computes and may meet bytes that its authors did not think of; a panic becomes an error.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    plugins::apart(work).await.unwrap_or_else(|| {
        Err("the tool that makes components failed on this module: report it with the module, it is a bug".to_owned())
    })
}

/// What the component says of itself, by the rules that hold when it is loaded.
async fn described(config: &Config, component: &[u8]) -> Result<Manifest, String> {
    let modules = plugins::modules(config, None).map_err(|stop| stop.message)?;
    let own = component.to_vec();
    let module = apart(move || modules.load(&own).map_err(|error| error.to_string())).await?;
    let json = module.describe().await.map_err(|error| error.to_string())?;
    Manifest::parse(&json).map_err(|error| format!("its manifest is wrong: {error}"))
}

/// Puts the file there whole, or leaves what was there.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = write_new(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error says more than that there was nothing to remove.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_new(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    // Not through a link that somebody put there.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn say(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::failed(format!("stdout can't be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// A message about a file, with what comes from the module bounded and escaped.
fn told(path: &Path, what: &str) -> String {
    let path = path.display().to_string();
    let lines: Vec<_> = what.lines().map(escape_control).collect();
    format!("{}: {}", escape_control(&path), shorten(&lines.join("\n"), 4_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        fs::write(&path, "old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(replace(&folder.path().join("none/a.wasm"), b"new").is_err());
        // A directory can't be replaced by a file.
        fs::create_dir(folder.path().join("b.wasm")).unwrap();
        assert!(replace(&folder.path().join("b.wasm"), b"new").is_err());
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a.wasm", "b.wasm"]);
    }

    #[test]
    fn what_a_module_says_is_escaped_and_cut() {
        let text = told(
            Path::new("a\u{1b}.wasm"),
            &format!("why\u{1b}[2J\n{}", "x".repeat(10_000)),
        );
        assert!(text.starts_with("a\\u{1b}.wasm: why\\u{1b}[2J\nxxx"), "{text}");
        assert!(text.len() < 4_100);
    }
}
