//! Is this a plugin, and one for this host? The header is looked at before compiling, the interfaces after it.

use wasmtime::component::Component;

use crate::limits::cut;
use crate::wasi::{FORBIDDEN, INTERFACES};
use crate::{CONTRACT_VERSION, LoadError};

const CONTROLLER: &str = "pilothouse:plugin/controller";
const PACKAGE: &str = "pilothouse:plugin/";

/// The interfaces of the contract that a plugin may import.
const CONTRACT: [&str; 6] = [
    "pilothouse:plugin/call",
    "pilothouse:plugin/events",
    "pilothouse:plugin/log",
    "pilothouse:plugin/read",
    "pilothouse:plugin/types",
    "pilothouse:plugin/write",
];

/// The first eight bytes: magic, version, layer.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(LoadError::NotWasm {
            found: looks_like(bytes),
        });
    }
    match bytes.get(4..8) {
        Some([0x0d, 0, 1, 0]) => Ok(()),
        Some([1, 0, 0, 0]) => Err(LoadError::CoreModule),
        Some([a, b, c, d]) => Err(LoadError::UnknownFormat {
            found: format!("version and layer bytes {a:02x} {b:02x} {c:02x} {d:02x}"),
        }),
        _ => Err(LoadError::NotWasm {
            found: format!("it ends after {} bytes", bytes.len()),
        }),
    }
}

fn looks_like(bytes: &[u8]) -> String {
    let text = || std::str::from_utf8(&bytes[..bytes.len().min(512)]).is_ok();
    if bytes.is_empty() {
        "the file is empty".to_owned()
    } else if bytes.starts_with(b"\x7fELF") {
        "it is a program or library for Linux (ELF)".to_owned()
    } else if bytes.starts_with(b"!<arch>") {
        "it is a static library (ar)".to_owned()
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        "it is compressed (gzip): unpack it".to_owned()
    } else if bytes.starts_with(b"PK\x03\x04") {
        "it is a zip archive: unpack it".to_owned()
    } else if bytes.starts_with(b"(component") || bytes.starts_with(b"(module") {
        "it is WebAssembly's text format: turn it into the binary one with `wasm-tools parse`".to_owned()
    } else if text() {
        "it is a text file".to_owned()
    } else {
        let start: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("it begins with the bytes {} instead of 00 61 73 6d", start.join(" "))
    }
}

/// What a component wants and gives.
pub(crate) struct Interfaces {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    /// Those of the imports whose functions end the call.
    pub(crate) forbidden: Vec<String>,
}

pub(crate) fn check_interfaces(component: &Component) -> Result<Interfaces, LoadError> {
    let engine = component.engine();
    let types = component.component_type();
    let imports: Vec<String> = types.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let exports: Vec<String> = types.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let forbidden = check_names(&imports, &exports)?;
    Ok(Interfaces {
        imports,
        exports,
        forbidden,
    })
}

/// Compares names; functions and types are compared when the component is linked. Answers the forbidden imports.
fn check_names(imports: &[String], exports: &[String]) -> Result<Vec<String>, LoadError> {
    let ours = |name: &&String| name.starts_with(PACKAGE);
    match exports.iter().find(|name| split(name).0 == CONTROLLER) {
        Some(found) if !spoken(split(found).1) => return Err(LoadError::ContractVersion { found: found.clone() }),
        Some(_) => {}
        None => {
            return Err(LoadError::OtherWorld {
                missing: format!("{CONTROLLER}@{CONTRACT_VERSION}"),
                exports: exports.to_vec(),
            });
        }
    }
    if let Some(found) = imports.iter().filter(ours).find(|name| !spoken(split(name).1)) {
        return Err(LoadError::ContractVersion { found: found.clone() });
    }
    let mut forbidden = Vec::new();
    for import in imports {
        let (interface, version) = split(import);
        let wasi_02 = version.starts_with("0.2.");
        if CONTRACT.contains(&interface) || (wasi_02 && INTERFACES.contains(&interface)) {
            continue;
        }
        if wasi_02 && FORBIDDEN.contains(&interface) {
            forbidden.push(import.clone());
            continue;
        }
        let import = cut(import.clone(), 200);
        return Err(LoadError::UnknownImport {
            import,
            mend: mend(interface, version),
        });
    }
    Ok(forbidden)
}

fn mend(interface: &str, version: &str) -> &'static str {
    if interface.starts_with(PACKAGE) {
        "it was built against a newer wit/plugin.wit, so update the host"
    } else if interface.starts_with("wasi:sockets/") || interface.starts_with("wasi:http/") {
        "there is no network but the API server, reached through `read` and `write`; drop the library that opens \
         connections"
    } else if interface.starts_with("wasi:") && !version.starts_with("0.2.") {
        "this host has WASI 0.2; compile for wasm32-wasip2"
    } else {
        "only the world `reconciler` of wit/plugin.wit and the harmless part of WASI 0.2 can be imported; drop the \
         library that wants it"
    }
}

/// An interface's name and its version; empty if it has none.
fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether a plugin built for this version of the contract can run here: the same major and minor number. (A later
/// patch may have functions that this host lacks; linking tells.)
fn spoken(version: &str) -> bool {
    let numbers = |version: &str| -> Option<(u64, u64)> {
        let mut parts = version.splitn(3, '.');
        let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
        let _: u64 = patch.parse().ok()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    numbers(version).is_some() && numbers(version) == numbers(CONTRACT_VERSION)
}

/// An error of wasmtime's with its causes, on one line, bounded.
pub(crate) fn told(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    let text: Vec<&str> = text.split_whitespace().collect();
    cut(text.join(" "), 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_contract_version_is_that_of_the_wit_file() {
        let wit = include_str!("../../../wit/plugin.wit");
        assert!(wit.starts_with(&format!("package pilothouse:plugin@{CONTRACT_VERSION};")));
        for interface in CONTRACT {
            let name = interface.trim_start_matches(PACKAGE);
            assert!(wit.contains(&format!("interface {name} {{")), "{name}");
        }
    }

    #[test]
    fn headers_are_told_apart() {
        let told = |bytes: &[u8]| check_header(bytes).unwrap_err().to_string();
        assert!(check_header(b"\0asm\x0d\0\x01\0rest").is_ok());
        let core = told(b"\0asm\x01\0\0\0");
        assert!(
            core.contains("core WebAssembly module and no component: compile it for wasm32-wasip2"),
            "{core}"
        );
        assert!(told(b"\0asm\x0c\0\x01\0").contains("unknown format (version and layer bytes 0c 00 01 00)"));
        assert!(told(b"\0asm\x0d").contains("it ends after 5 bytes"));
        assert!(told(b"").contains("the file is empty"));
        assert!(told(b"\x7fELF\x02").contains("for Linux (ELF)"));
        assert!(told(b"(component)").contains("text format"));
        assert!(told(b"apiVersion: v1\n").contains("it is a text file"));
        let odd = told(&[0xff, 0xfe, 0, 1, 2]);
        assert!(
            odd.contains("it begins with the bytes ff fe 00 01 instead of 00 61 73 6d"),
            "{odd}"
        );
        assert!(odd.contains("cargo build --release --target wasm32-wasip2"), "{odd}");
    }

    #[test]
    fn later_patches_of_the_same_minor_version_are_spoken() {
        for (version, expected) in [
            ("0.1.0", true),
            ("0.1.7", true),
            ("0.2.0", false),
            ("1.1.0", false),
            ("", false),
            ("0.1", false),
            ("0.1.x", false),
        ] {
            assert_eq!(spoken(version), expected, "{version}");
        }
    }

    #[test]
    fn imports_are_allowed_forbidden_or_unknown() {
        let controller = names(&["pilothouse:plugin/controller@0.1.0", "init"]);
        let imports = names(&[
            "pilothouse:plugin/read@0.1.0",
            "wasi:io/streams@0.2.4",
            "wasi:filesystem/types@0.2.0",
        ]);
        assert_eq!(
            check_names(&imports, &controller),
            Ok(names(&["wasi:filesystem/types@0.2.0"]))
        );
        let told = |import: &str| check_names(&names(&[import]), &controller).unwrap_err().to_string();
        let sockets = told("wasi:sockets/tcp@0.2.0");
        assert!(sockets.starts_with(
            "the component imports wasi:sockets/tcp@0.2.0, which plugins don't have: there is no network"
        ));
        assert!(told("wasi:cli/stdout@0.3.0").ends_with("this host has WASI 0.2; compile for wasm32-wasip2"));
        assert!(told("pilothouse:plugin/http@0.1.3").ends_with("so update the host"));
        assert!(told("foo:bar/baz@1.0.0").contains("drop the library that wants it"));
        assert!(
            told("pilothouse:plugin/read@0.2.0")
                .starts_with("found pilothouse:plugin/read@0.2.0, this host speaks 0.1.0")
        );
    }
}
