//! A package outside of the workspace, as a newcomer has it.

use std::path::{Path, PathBuf};

use pilothouse_guests::{GuestError, Toolchain, Way};

/// A directory that goes away with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(place.join("src")).unwrap();
        Place(place)
    }

    fn package(&self, manifest: &str, lib: &str) -> &Path {
        std::fs::write(self.0.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(self.0.join("src/lib.rs"), lib).unwrap();
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

const CDYLIB: &str = "[package]\nname = \"mine\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                      [lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
const PLAIN: &str = "[package]\nname = \"mine\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";

/// The version field of a component's header; a core module has 1.
fn is_component(path: &Path) -> bool {
    std::fs::read(path).unwrap().starts_with(b"\0asm\x0d\0\x01\0")
}

#[test]
fn a_package_outside_of_the_workspace_becomes_a_component() {
    let place = Place::new("outside");
    let mut reported = Vec::new();
    let toolchain = Toolchain::find(&mut |line| reported.push(line.to_owned())).unwrap();
    let wasm = toolchain
        .build_dir(place.package(CDYLIB, "pub fn nothing() {}\n"), &place.0.join("out"))
        .unwrap();
    assert!(is_component(&wasm), "{}", wasm.display());
    assert!(
        reported.iter().any(|line| line.starts_with("compiling plugins with")),
        "{reported:?}"
    );
}

#[test]
fn a_package_that_is_no_cdylib_is_told_what_to_write() {
    let place = Place::new("plain");
    let toolchain = Toolchain::find(&mut |_| ()).unwrap();
    let error = toolchain
        .build_dir(place.package(PLAIN, ""), &place.0.join("out"))
        .unwrap_err();
    assert!(matches!(error, GuestError::NoComponent { .. }), "{error}");
    assert!(error.to_string().contains("crate-type"), "{error}");
}

#[test]
fn a_compile_error_comes_back_with_the_compilers_text() {
    let place = Place::new("broken");
    let toolchain = Toolchain::find(&mut |_| ()).unwrap();
    let error = toolchain
        .build_dir(place.package(CDYLIB, "let nonsense;\n"), &place.0.join("out"))
        .unwrap_err();
    assert!(error.to_string().contains("src/lib.rs:1"), "{error}");
}

/// Builds std, which takes a minute: asked for by name. `cargo test -p pilothouse-guests -- --ignored`.
#[test]
#[ignore = "builds std from Debian's sources, which takes a minute and needs its packages"]
fn debians_packages_make_a_component_too() {
    let place = Place::new("debian");
    let toolchain = Toolchain::find_by(&[Way::Debian], &mut |line| eprintln!("{line}")).unwrap();
    assert_eq!(toolchain.way(), Way::Debian);
    let wasm = toolchain
        .build_dir(place.package(CDYLIB, "pub fn nothing() {}\n"), &place.0.join("out"))
        .unwrap();
    assert!(is_component(&wasm), "{}", wasm.display());
}
