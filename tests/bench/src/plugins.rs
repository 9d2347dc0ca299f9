//! The bench plugin as other plugins, and where a host finds them.

use std::path::Path;

/// The bench plugin's module with some words changed to others of the same length: another plugin, or another version.
pub fn altered(changes: &[(&str, &str)]) -> Vec<u8> {
    let path = pilothouse_guests::component("bench-plugin");
    let mut module = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (from, to) in changes {
        assert_eq!(from.len(), to.len(), "sections know their lengths");
        let mut found = false;
        for at in 0..module.len().saturating_sub(from.len()) {
            if module[at..].starts_with(from.as_bytes()) {
                module[at..at + from.len()].copy_from_slice(to.as_bytes());
                found = true;
            }
        }
        assert!(found, "{from} is not in the module");
    }
    module
}

/// Puts a module where a supervisor finds it: whole, or not at all.
pub fn put(directory: &Path, name: &str, module: &[u8]) {
    let (beside, place) = (
        directory.join(format!(".{name}.new")),
        directory.join(format!("{name}.wasm")),
    );
    let put = std::fs::write(&beside, module).and_then(|()| std::fs::rename(&beside, &place));
    put.unwrap_or_else(|error| panic!("{}: {error}", place.display()));
}
