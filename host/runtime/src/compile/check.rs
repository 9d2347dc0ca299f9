//! What is looked at before a compiler sees the bytes: header, size, number of functions, nesting.
//!
//! It takes time and memory in proportion to the bytes, and no more. What it lets through is bounded, not valid: that
//! is the compiler's to say.

use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

use crate::limits::cut;
use crate::{LoadError, load};

/// Components in components: the tools make two or three.
const COMPONENTS: u32 = 16;

/// How much of a module is given to the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caps {
    /// Bytes.
    pub(crate) module: u64,
    /// Functions with a body, over all its core modules.
    pub(crate) functions: u32,
    /// Blocks in blocks, in one function.
    pub(crate) nesting: u32,
}

/// Size and header: cheap enough for any thread.
pub(crate) fn check_size_and_header(bytes: &[u8], caps: &Caps) -> Result<(), LoadError> {
    let (size, limit) = (bytes.len() as u64, caps.module);
    if size > limit {
        return Err(LoadError::TooLarge { size, limit });
    }
    load::check_header(bytes)
}

/// Everything.
pub(crate) fn check(bytes: &[u8], caps: &Caps) -> Result<(), LoadError> {
    check_size_and_header(bytes, caps)?;
    let mut functions = 0_u64;
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                depth = depth.saturating_add(1);
                if depth > COMPONENTS {
                    return Err(LoadError::TooDeep {
                        what: "components",
                        limit: COMPONENTS,
                    });
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                functions = functions.saturating_add(count.into());
                if functions > caps.functions.into() {
                    let limit = caps.functions;
                    return Err(LoadError::TooManyFunctions { limit });
                }
            }
            Payload::CodeSectionEntry(body) => check_nesting(&body, caps.nesting)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_nesting(body: &FunctionBody<'_>, limit: u32) -> Result<(), LoadError> {
    let mut operators = body.get_operators_reader().map_err(broken)?;
    let mut depth = 0_u32;
    while !operators.eof() {
        match operators.read().map_err(broken)? {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Try { .. }
            | Operator::TryTable { .. } => {
                depth = depth.saturating_add(1);
                if depth > limit {
                    return Err(LoadError::TooDeep { what: "blocks", limit });
                }
            }
            Operator::End | Operator::Delegate { .. } => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn broken(error: BinaryReaderError) -> LoadError {
    LoadError::Compile {
        message: cut(error.to_string(), 1_000),
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_guests::bytes::{length, section};

    use super::*;

    const CAPS: Caps = Caps {
        module: 1 << 20,
        functions: 3,
        nesting: 4,
    };

    /// A component around what is given.
    fn component(inner: &[u8]) -> Vec<u8> {
        [b"\0asm\x0d\0\x01\0", inner].concat()
    }

    /// A core module with functions of these nestings.
    fn core(nestings: &[usize]) -> Vec<u8> {
        let count = length(nestings.len());
        let bodies: Vec<u8> = nestings
            .iter()
            .flat_map(|&deep| {
                let code = [&[0][..], &[0x02, 0x40].repeat(deep), &[0x0b].repeat(deep + 1)].concat();
                [length(code.len()), code].concat()
            })
            .collect();
        let functions = [count.clone(), vec![0; nestings.len()]].concat();
        [
            &b"\0asm\x01\0\0\0"[..],
            &section(1, &[1, 0x60, 0, 0]),
            &section(3, &functions),
            &section(10, &[count, bodies].concat()),
        ]
        .concat()
    }

    #[test]
    fn functions_are_counted_over_all_core_modules() {
        let two = section(1, &core(&[0, 0]));
        let one = section(1, &core(&[0]));
        assert_eq!(check(&component(&[two.clone(), one].concat()), &CAPS), Ok(()));
        let four = component(&[two.clone(), two].concat());
        assert_eq!(check(&four, &CAPS), Err(LoadError::TooManyFunctions { limit: 3 }));
    }

    #[test]
    fn blocks_may_follow_each_other_and_nest_only_so_deep() {
        assert_eq!(check(&component(&section(1, &core(&[4, 4]))), &CAPS), Ok(()));
        let deep = check(&component(&section(1, &core(&[0, 5]))), &CAPS);
        assert_eq!(
            deep,
            Err(LoadError::TooDeep {
                what: "blocks",
                limit: 4
            })
        );
    }

    #[test]
    fn components_nest_only_so_deep() {
        let nested = |times: u32| (0..times).fold(component(&[]), |inner, _| component(&section(4, &inner)));
        assert_eq!(check(&nested(COMPONENTS), &CAPS), Ok(()));
        let what = "components";
        let limit = COMPONENTS;
        assert_eq!(
            check(&nested(COMPONENTS + 1), &CAPS),
            Err(LoadError::TooDeep { what, limit })
        );
    }

    #[test]
    fn what_ends_too_early_is_broken() {
        let whole = component(&section(1, &core(&[1])));
        let half = check(&whole[..whole.len() - 1], &CAPS).unwrap_err();
        assert!(matches!(half, LoadError::Compile { .. }), "{half}");
    }
}
