//! Core modules become components.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, metadata};

/// The component that these bytes are, or that the core module that they are becomes. WASI 0.1 (`wasm32-wasip1`) is put
/// on top of 0.2 by an adapter within the component; of that only what the module uses is left.
///
/// # Errors
/// What can't become a component, with the mend.
pub(super) fn component(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    // Anything else is told by the runtime, which compiles it next, in its own words.
    if !bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Ok(bytes);
    }
    let (types, _) =
        metadata::decode(&bytes).map_err(|error| format!("its component types can't be read: {error:#}"))?;
    if types.is_none() {
        return Err(
            "it is a core module without component types: build it against wit/plugin.wit with the SDK or wit-bindgen, \
             or add the types with `wasm-tools component embed`"
                .to_owned(),
        );
    }
    let (adapter, code) = (
        WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
        WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
    );
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.adapter(adapter, code))
        .and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| {
        format!(
            "no component can be made of it: {error:#}. It has to be a library (for Rust a cdylib) for wasm32-wasip1"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_core_module_is_taken_as_it_is() {
        for bytes in [&b"\0asm\x0d\0\x01\0"[..], b"rubbish", b""] {
            assert_eq!(component(bytes.to_vec()).unwrap(), bytes);
        }
    }

    #[test]
    fn a_core_module_without_types_is_told_how_it_gets_them() {
        let error = component(b"\0asm\x01\0\0\0".to_vec()).unwrap_err();
        assert!(
            error.contains("without component types: build it against wit/plugin.wit"),
            "{error}"
        );
    }

    #[test]
    fn a_broken_core_module_is_refused() {
        let mut cut = b"\0asm\x01\0\0\0".to_vec();
        cut.extend_from_slice(&[0, 0x7f]);
        assert!(
            component(cut)
                .unwrap_err()
                .starts_with("its component types can't be read: ")
        );
        // A section that says to hold types, and doesn't.
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        let name = b"component-type:x";
        module.extend_from_slice(&[0, 20, 16]);
        module.extend_from_slice(name);
        module.extend_from_slice(b"abc");
        assert!(component(module).is_err());
    }
}
