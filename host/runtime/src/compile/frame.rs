//! What goes through the pipes of the process that compiles: a task and the module to it, and back its answer.
//!
//! Numbers are little-endian. The answer comes from a process that handled hostile bytes: it is read as such.

use super::Caps;
use crate::LoadError;
use crate::limits::cut;

const TASK: &[u8; 8] = b"PHTASK01";
const ANSWER: &[u8; 8] = b"PHDONE01";

/// What to do, and with how much. The module's bytes follow, up to the end of the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) caps: Caps,
    pub(crate) cpu_seconds: u32,
    pub(crate) memory: u64,
    /// What the code must fit. A program of another build answers that it can't.
    pub(crate) compatibility: [u8; 32],
}

impl Task {
    /// Bytes of a task.
    pub(crate) const SIZE: usize = 8 + 8 + 4 + 4 + 4 + 8 + 32;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let Caps {
            module,
            functions,
            nesting,
        } = self.caps;
        let parts: [&[u8]; 7] = [
            TASK,
            &module.to_le_bytes(),
            &functions.to_le_bytes(),
            &nesting.to_le_bytes(),
            &self.cpu_seconds.to_le_bytes(),
            &self.memory.to_le_bytes(),
            &self.compatibility,
        ];
        parts.concat()
    }

    /// None where it is no task.
    pub(crate) fn decode(bytes: &[u8; Self::SIZE]) -> Option<Task> {
        let mut rest = &bytes[..];
        if take::<8>(&mut rest)? != *TASK {
            return None;
        }
        Some(Task {
            caps: Caps {
                module: u64::from_le_bytes(take(&mut rest)?),
                functions: u32::from_le_bytes(take(&mut rest)?),
                nesting: u32::from_le_bytes(take(&mut rest)?),
            },
            cpu_seconds: u32::from_le_bytes(take(&mut rest)?),
            memory: u64::from_le_bytes(take(&mut rest)?),
            compatibility: take(&mut rest)?,
        })
    }
}

/// The next bytes of a text.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

const CODE: u8 = 0;
const COMPILE: u8 = 1;
const FUNCTIONS: u8 = 2;
const BLOCKS: u8 = 3;
const COMPONENTS: u8 = 4;
const FAILED: u8 = 5;

/// Bytes of an answer before its payload: magic, kind, a number, the payload's length.
const ANSWER_HEAD: usize = 8 + 1 + 4 + 8;

/// The head of an answer, and its payload: code, or the text of an error. Errors that the host finds out by itself
/// before it starts the process have no kind of their own.
pub(crate) fn answer(result: Result<Vec<u8>, LoadError>) -> (Vec<u8>, Vec<u8>) {
    let (kind, number, payload) = match result {
        Ok(code) => (CODE, 0, code),
        Err(LoadError::Compile { message }) => (COMPILE, 0, message.into_bytes()),
        Err(LoadError::TooManyFunctions { limit }) => (FUNCTIONS, limit, Vec::new()),
        Err(LoadError::TooDeep { what: "blocks", limit }) => (BLOCKS, limit, Vec::new()),
        Err(LoadError::TooDeep { limit, .. }) => (COMPONENTS, limit, Vec::new()),
        Err(LoadError::Compiler { message }) => (FAILED, 0, message.into_bytes()),
        Err(other) => (COMPILE, 0, other.to_string().into_bytes()),
    };
    let head: [&[u8]; 4] = [
        ANSWER,
        &[kind],
        &number.to_le_bytes(),
        &(payload.len() as u64).to_le_bytes(),
    ];
    (head.concat(), payload)
}

/// Bytes that an answer with code of this size has.
pub(crate) fn answer_size(code: u64) -> u64 {
    code.saturating_add(ANSWER_HEAD as u64)
}

/// Reads an answer. None where it is not whole, or none at all.
pub(crate) fn read_answer(mut bytes: Vec<u8>) -> Option<Result<Vec<u8>, LoadError>> {
    let mut rest = &bytes[..];
    if take::<8>(&mut rest)? != *ANSWER {
        return None;
    }
    let [kind] = take::<1>(&mut rest)?;
    let limit = u32::from_le_bytes(take(&mut rest)?);
    let length = u64::from_le_bytes(take(&mut rest)?);
    if rest.len() as u64 != length {
        return None;
    }
    let message = || cut(String::from_utf8_lossy(rest).into_owned(), 2_000);
    Some(Err(match kind {
        CODE => {
            // In place: the code may be large.
            bytes.drain(..ANSWER_HEAD);
            return Some(Ok(bytes));
        }
        COMPILE => LoadError::Compile { message: message() },
        FUNCTIONS => LoadError::TooManyFunctions { limit },
        BLOCKS => LoadError::TooDeep { what: "blocks", limit },
        COMPONENTS => LoadError::TooDeep {
            what: "components",
            limit,
        },
        FAILED => LoadError::Compiler { message: message() },
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_task_is_read_as_it_was_written(
            module: u64, functions: u32, nesting: u32, cpu_seconds: u32, memory: u64, compatibility: [u8; 32],
        ) {
            let caps = Caps { module, functions, nesting };
            let task = Task { caps, cpu_seconds, memory, compatibility };
            let bytes = task.encode().try_into().unwrap();
            prop_assert_eq!(Task::decode(&bytes), Some(task));
        }

        #[test]
        fn code_is_answered_whole_or_not_at_all(code: Vec<u8>, lacking in 1..40_usize) {
            let (head, payload) = answer(Ok(code.clone()));
            let bytes = [head, payload].concat();
            prop_assert_eq!(bytes.len() as u64, answer_size(code.len() as u64));
            prop_assert_eq!(read_answer(bytes.clone()), Some(Ok(code)));
            prop_assert_eq!(read_answer(bytes[..bytes.len().saturating_sub(lacking)].to_vec()), None);
            prop_assert_eq!(read_answer([&bytes[..], b"x"].concat()), None);
        }

        #[test]
        fn rubbish_is_no_answer(bytes: Vec<u8>) {
            prop_assert_eq!(read_answer(bytes), None);
        }
    }

    #[test]
    fn errors_come_back_as_they_were() {
        let limit = 7;
        for error in [
            LoadError::Compile { message: "a b".into() },
            LoadError::TooManyFunctions { limit },
            LoadError::TooDeep { what: "blocks", limit },
            LoadError::TooDeep {
                what: "components",
                limit,
            },
            LoadError::Compiler { message: "c".into() },
        ] {
            let (head, payload) = answer(Err(error.clone()));
            assert_eq!(read_answer([head, payload].concat()), Some(Err(error)));
        }
    }
}
