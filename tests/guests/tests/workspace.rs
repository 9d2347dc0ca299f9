//! A package of this workspace.

use std::path::PathBuf;

/// What the greeting may weigh: what the SDK brings along is carried by every plugin.
const MOST: u64 = 300 * 1024;

#[test]
fn the_greeting_becomes_a_small_component_and_is_built_once() {
    let wasm: PathBuf = pilothouse_guests::component("greeting");
    assert!(
        std::fs::read(&wasm).unwrap().starts_with(b"\0asm\x0d\0\x01\0"),
        "{}",
        wasm.display()
    );
    let size = std::fs::metadata(&wasm).unwrap().len();
    assert!(size <= MOST, "{size} bytes, at most {MOST} are fine");
    assert_eq!(pilothouse_guests::component("greeting"), wasm);
}
