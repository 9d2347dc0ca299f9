//! Modules by way of the cache: what comes out of it is what was compiled, or it is compiled anew.
#![cfg(unix)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{engine, note, request, roomy, zoo_bytes};
use pilothouse_runtime::{CacheLimits, CodeCache, Compiler, LoadError, Modules};
use proptest::prelude::*;

fn modules(directory: &Path) -> Modules {
    let cache = CodeCache::open(&directory.join("code"), CacheLimits::default()).unwrap();
    Modules::with_cache(engine().clone(), Compiler::InProcess, cache)
}

/// A compiler that can't be: what loads with it came out of the cache.
fn without_compiler(directory: &Path) -> Modules {
    let cache = CodeCache::open(&directory.join("code"), CacheLimits::default()).unwrap();
    let compiler = Compiler::Child {
        program: PathBuf::from("/nonexistent"),
        args: Vec::new(),
        limits: Default::default(),
    };
    Modules::with_cache(engine().clone(), compiler, cache)
}

fn entry(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory.join("code")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.extension().is_some_and(|ending| ending == "code"))
        .unwrap()
}

#[tokio::test]
async fn cached_code_runs_as_freshly_compiled_code_does() {
    let directory = tempfile::tempdir().unwrap();
    modules(directory.path()).load(zoo_bytes()).unwrap();
    let cached = without_compiler(directory.path()).load(zoo_bytes()).unwrap();
    assert_eq!(cached.describe().await, common::zoo().describe().await);
    assert_eq!(cached.size(), zoo_bytes().len() as u64);
}

#[test]
fn the_caps_are_part_of_what_code_fits() {
    let own = engine().compatibility();
    let config = pilothouse_runtime::EngineConfig {
        max_nesting: 4_999,
        slots: 1,
        ..Default::default()
    };
    let other = pilothouse_runtime::Engine::new(config).unwrap();
    assert_ne!(own, other.compatibility());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn compiled_code_with_a_bit_flipped_or_cut_is_never_loaded(at: prop::sample::Index, bit in 0..8_u8, cut: bool) {
        let directory = tempfile::tempdir().unwrap();
        let code = engine().precompile(tiny()).unwrap();
        prop_assert!(!code.is_empty());
        // Not a plugin, so it does not link; but it is compiled, and kept, before that is seen.
        let misfit = matches!(modules(directory.path()).load(tiny()), Err(LoadError::OtherWorld { .. }));
        prop_assert!(misfit);
        let path = entry(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        fs::write(&path, &bytes).unwrap();
        // Had it been loaded, the error would be the one of above.
        let again = without_compiler(directory.path()).load(tiny());
        let compiled = matches!(again, Err(LoadError::Compiler { .. }));
        prop_assert!(compiled, "{again:?}");
        prop_assert!(!path.exists());
    }

    #[test]
    fn a_module_with_a_bit_flipped_is_compiled_anew_and_never_taken_for_the_whole_one(
        at: prop::sample::Index, bit in 0..8_u8,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let _not_a_plugin = modules(directory.path()).load(tiny());
        let mut bytes = tiny().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let other = without_compiler(directory.path()).load(&bytes);
        let taken = matches!(other, Err(LoadError::OtherWorld { .. }));
        prop_assert!(!taken, "{other:?}");
        prop_assert!(other.is_err());
    }
}

/// A component with one empty function in one core module.
fn tiny() -> &'static [u8] {
    b"\0asm\x0d\0\x01\0\x01\x18\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b"
}

#[tokio::test]
async fn a_mapped_module_keeps_running_when_its_entry_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let module = modules(directory.path()).load(zoo_bytes()).unwrap();
    fs::remove_dir_all(directory.path().join("code")).unwrap();
    let backend = std::sync::Arc::new(common::Recorder::default());
    let done = module.reconcile(request("echo"), backend, &roomy()).await;
    note(&done);
}
