//! Modules that are no plugins, or not for this host: each is refused with its cause and the way to mend it.

mod common;

use common::{engine, zoo, zoo_bytes};
use pilothouse_runtime::{Engine, EngineConfig, LoadError};

fn refused(bytes: &[u8]) -> LoadError {
    match engine().compile(bytes) {
        Ok(module) => panic!("loaded: {module:?}"),
        Err(error) => error,
    }
}

/// The zoo with a name in it replaced by one of the same length, wherever it stands.
fn renamed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = zoo_bytes().to_vec();
    let mut at = 0;
    let mut found = false;
    while at + from.len() <= bytes.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            found = true;
        }
        at += 1;
    }
    assert!(found, "{from} is not in the zoo");
    bytes
}

#[test]
fn a_text_is_no_plugin() {
    assert_eq!(
        refused(b"kind: ConfigMap\n").to_string(),
        "this is no WebAssembly: it is a text file. A plugin is a component: compile it for wasm32-wasip2 (for Rust: \
         `cargo build --release --target wasm32-wasip2`)"
    );
}

#[test]
fn a_core_module_is_no_plugin() {
    assert_eq!(
        refused(b"\0asm\x01\0\0\0").to_string(),
        "this is a core WebAssembly module and no component: compile it for wasm32-wasip2 (for Rust: `cargo build \
         --release --target wasm32-wasip2`), or, if it is one for wasm32-wasip1, turn it into a component with `pilothouse \
         pack`"
    );
}

#[test]
fn a_component_of_another_world_is_no_plugin() {
    assert_eq!(
        refused(b"\0asm\x0d\0\x01\0").to_string(),
        "this component is no Pilothouse plugin: it does not export pilothouse:plugin/controller@0.1.0 (it exports \
         nothing). Build it against the world `reconciler` of wit/plugin.wit, most simply with the SDK"
    );
    let other = renamed(
        "pilothouse:plugin/controller@0.1.0",
        "pilothouse:plugin/automation@0.1.0",
    );
    assert!(
        refused(&other)
            .to_string()
            .contains("(it exports pilothouse:plugin/automation@0.1.0)")
    );
}

#[test]
fn a_plugin_for_another_version_of_the_contract_is_refused() {
    assert_eq!(
        refused(&renamed(
            "pilothouse:plugin/controller@0.1.0",
            "pilothouse:plugin/controller@0.2.0"
        ))
        .to_string(),
        "found pilothouse:plugin/controller@0.2.0, this host speaks 0.1.0: rebuild the plugin with an SDK for 0.1.0, or \
         take a host that speaks the plugin's version"
    );
    let read = renamed("pilothouse:plugin/read@0.1.0", "pilothouse:plugin/read@1.0.0");
    assert!(
        refused(&read)
            .to_string()
            .starts_with("found pilothouse:plugin/read@1.0.0, this host speaks 0.1.0")
    );
}

#[test]
fn a_plugin_for_a_later_patch_of_the_contract_loads() {
    let bytes = renamed(
        "pilothouse:plugin/controller@0.1.0",
        "pilothouse:plugin/controller@0.1.9",
    );
    assert!(engine().compile(&bytes).is_ok());
}

#[test]
fn an_unknown_import_is_named() {
    assert_eq!(
        refused(&renamed(
            "pilothouse:plugin/events@0.1.0",
            "anybody:more-gadgets/evs@0.1.0"
        ))
        .to_string(),
        "the component imports anybody:more-gadgets/evs@0.1.0, which plugins don't have: only the world `reconciler` of \
         wit/plugin.wit and the harmless part of WASI 0.2 can be imported; drop the library that wants it"
    );
}

#[test]
fn sockets_are_an_unknown_import() {
    let preopens = zoo()
        .imports()
        .into_iter()
        .find(|name| name.starts_with("wasi:filesystem/preopens@"))
        .unwrap();
    let sockets = preopens.replace("filesystem/preopens", "sockets/tcp-sockets");
    let told = refused(&renamed(&preopens, &sockets)).to_string();
    assert!(
        told.starts_with(&format!(
            "the component imports {sockets}, which plugins don't have: there is no network"
        )),
        "{told}"
    );
}

#[test]
fn an_interface_with_other_functions_than_the_hosts_is_a_misfit() {
    let told = refused(&renamed("trace-parent", "tracy-parent")).to_string();
    assert!(told.contains("don't fit this host (contract 0.1.0)"), "{told}");
    assert!(
        told.contains("pilothouse:plugin/call@0.1.0") && told.contains("tracy-parent"),
        "{told}"
    );
    assert!(
        told.ends_with("rebuild it with an SDK for 0.1.0, or update the host"),
        "{told}"
    );
}

#[test]
fn a_broken_component_is_told_from_one_that_does_not_fit() {
    let mut bytes = zoo_bytes().to_vec();
    bytes.truncate(bytes.len() / 2);
    let told = refused(&bytes).to_string();
    assert!(told.starts_with("the component could not be compiled: "), "{told}");
    assert!(
        told.ends_with("Build it again with current tools for wasm32-wasip2"),
        "{told}"
    );
}

#[test]
fn a_module_that_is_too_large_is_not_even_looked_at() {
    let engine = Engine::new(EngineConfig {
        slots: 1,
        max_module: 1_000,
        ..EngineConfig::default()
    })
    .unwrap();
    let error = engine.compile(&[0; 1_001]).unwrap_err();
    assert_eq!(
        error,
        LoadError::TooLarge {
            size: 1_001,
            limit: 1_000
        }
    );
    assert_eq!(
        error.to_string(),
        "the module has 1001 bytes and at most 1000 are taken: build it optimised and stripped (for Rust: `opt-level = \
         \"z\"`, `lto = true`, `strip = true`), or raise host.maxModuleMiB in the operator's configuration"
    );
}

#[test]
fn a_memory_that_no_plugin_may_have_is_refused_when_loading() {
    // The zoo starts with 17 pages or so.
    let engine = Engine::new(EngineConfig {
        slots: 1,
        max_memory: 64 << 10,
        ..EngineConfig::default()
    })
    .unwrap();
    let told = engine.compile(zoo_bytes()).unwrap_err().to_string();
    assert!(
        told.starts_with("the component needs more than this host gives to any plugin: "),
        "{told}"
    );
    assert!(
        told.contains("exceeds the limit of 0x10000 bytes. Build it with a smaller memory to start with"),
        "{told}"
    );
}

#[test]
fn a_plugin_tells_what_it_is_made_of() {
    let module = zoo();
    assert_eq!(module.size(), zoo_bytes().len() as u64);
    assert_eq!(module.exports(), ["pilothouse:plugin/controller@0.1.0"]);
    for import in ["pilothouse:plugin/read@0.1.0", "pilothouse:plugin/log@0.1.0"] {
        assert!(
            module.imports().iter().any(|name| name == import),
            "{import}: {:?}",
            module.imports()
        );
    }
}
