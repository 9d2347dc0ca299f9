//! Components: those that are built, and what can be made of them by changing bytes.

use std::sync::OnceLock;

use serde_json::Value;

/// How `lifecycle-slot`'s place for a manifest begins, and how long it is.
const SLOT: (&[u8], usize) = (b"PILOTHOUSE MANIFEST SLOT", 16 * 1024);

fn built(slot: &'static OnceLock<Vec<u8>>, package: &str) -> &'static [u8] {
    slot.get_or_init(|| {
        let path = pilothouse_guests::component(package);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}

/// The example `greeting`.
pub fn greeting() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    built(&BYTES, "greeting")
}

/// The zoo.
pub fn zoo() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    built(&BYTES, "zoo")
}

/// The plugin that declares fields.
pub fn keyhole() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    built(&BYTES, "keyhole")
}

/// The plugin that writes what it must not.
pub fn forger() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    built(&BYTES, "forger")
}

/// A plugin whose `describe` answers this text. `!panic` panics and `!loop` loops instead; `!chance TEXT` puts
/// something else at each call, if the host lets it, where the text says `CHANCE`.
///
/// # Panics
/// If the text is too long.
pub fn describing(text: &str) -> Vec<u8> {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let mut bytes = built(&BYTES, "lifecycle-slot").to_vec();
    let (mark, length) = SLOT;
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)
        .expect("the slot is in the component");
    assert!(text.len() <= length, "the manifest is too long for the slot");
    let slot = &mut bytes[at..at + length];
    slot.fill(b' ');
    slot[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// A plugin with this manifest.
pub fn with_manifest(manifest: &Value) -> Vec<u8> {
    describing(&manifest.to_string())
}

/// The component with each occurrence of a text replaced by other bytes of the same length.
///
/// # Panics
/// If the text isn't in it, or the lengths differ.
pub fn replaced(component: &[u8], text: impl AsRef<[u8]>, by: impl AsRef<[u8]>) -> Vec<u8> {
    let (text, by) = (text.as_ref(), by.as_ref());
    assert_eq!(text.len(), by.len(), "sections know their lengths");
    let (mut bytes, mut at, mut found) = (component.to_vec(), 0, 0);
    while at + text.len() <= bytes.len() {
        if &bytes[at..at + text.len()] == text {
            bytes[at..at + text.len()].copy_from_slice(by);
            found += 1;
            at += text.len();
        } else {
            at += 1;
        }
    }
    assert!(found > 0, "the text is not in the component");
    bytes
}
