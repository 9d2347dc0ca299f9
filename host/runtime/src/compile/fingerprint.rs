//! What compiled code fits, as a hash.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};

use super::Caps;
use crate::CONTRACT_VERSION;

/// Changed when the same bytes must be compiled anew for a reason that stands nowhere else in the hash.
const FORMAT: &str = "pilothouse compiled code 1";

/// Over everything that decides what is compiled of the same bytes, or whether it is compiled at all.
pub(crate) fn compatibility(wasm: &wasmtime::Engine, caps: &Caps) -> [u8; 32] {
    let mut hasher = Fingerprint(Sha256::new());
    FORMAT.hash(&mut hasher);
    CONTRACT_VERSION.hash(&mut hasher);
    // What an older host with larger caps compiled is refused by this one as if it were new.
    (caps.module, caps.functions, caps.nesting).hash(&mut hasher);
    wasm.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// std's hashers have 64 bits, and promise nothing from one build of a program to the next.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Asked by nobody: the whole hash is taken from within.
    fn finish(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(self.0.clone().finalize());
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compile_only;
    use crate::{Engine, EngineConfig};

    #[test]
    fn the_engine_that_only_compiles_makes_code_for_the_engine_that_runs() {
        let config = EngineConfig {
            slots: 1,
            max_memory: 1 << 20,
            ..EngineConfig::default()
        };
        let engine = Engine::new(config).unwrap();
        let compiler = compile_only().unwrap();
        assert_eq!(compatibility(&compiler, &engine.caps()), engine.compatibility());
    }

    #[test]
    fn other_caps_are_another_fingerprint() {
        let wasm = compile_only().unwrap();
        let caps = Caps {
            module: 1,
            functions: 2,
            nesting: 3,
        };
        let other = Caps { nesting: 4, ..caps };
        assert_ne!(compatibility(&wasm, &caps), compatibility(&wasm, &other));
    }
}
