//! How a call ended: an error of wasmtime's gets a name, and what the guest said last is passed on.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::limits::{TEXT, TRANSFER, cut};
use crate::load::told;
use crate::panics::Panic;
use crate::state::State;
use crate::{CallError, Level};

/// Names the end of a call: our own limits travel through wasmtime as they are; the rest is made out from what there
/// is.
pub(crate) fn explain(error: &wasmtime::Error, state: &mut State, started: bool) -> CallError {
    match error.downcast_ref::<CallError>() {
        // An exit: what the guest had to say about it is on stderr.
        Some(CallError::Trap { message }) => return trapped(message.clone(), state),
        Some(ours) => return ours.clone(),
        None => {}
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Start { message: told(error) };
    }
    // wasmtime keeps the type of this one to itself.
    if error
        .root_cause()
        .to_string()
        .contains("fuel allocated for hostcalls has been exhausted")
    {
        return CallError::Transfer { limit: TRANSFER as u64 };
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        let message = told(error);
        if !started {
            return CallError::Start { message };
        }
        // An argument or answer that is no value of its type (text that is no UTF-8), too many handles, and the like.
        return trapped(format!("what it passed to the host was not valid: {message}"), state);
    };
    if let Some(Panic { message, file, line }) = state.panic.take() {
        return CallError::Panic { message, file, line };
    }
    let mut message = trap.to_string().trim_start_matches("wasm trap: ").to_owned();
    match trap {
        Trap::StackOverflow => message.push_str(" (recursion too deep?)"),
        Trap::MemoryOutOfBounds => {
            message.push_str(" (in Rust and C most often a stack overflow: recursion too deep?)")
        }
        Trap::UnreachableCodeReached => message.push_str(" (a panic or abort whose text was compiled out?)"),
        _ => {}
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        let names: Vec<&str> = backtrace
            .frames()
            .iter()
            .filter_map(|frame| frame.func_name())
            .take(5)
            .collect();
        if !names.is_empty() {
            message.push_str("; in ");
            message.push_str(&cut(names.join(" < "), 500));
        }
    }
    trapped(message, state)
}

/// A trap; or a panic, if stderr tells of one. What else stands there is most often the reason.
fn trapped(message: String, state: &mut State) -> CallError {
    let (stderr, _) = state.stderr.take();
    if let Some(Panic { message, file, line }) = Panic::from_stderr(&stderr) {
        return CallError::Panic { message, file, line };
    }
    let stderr = stderr.trim();
    if stderr.is_empty() {
        return CallError::Trap { message };
    }
    let end = stderr.ceil_char_boundary(stderr.len().saturating_sub(TEXT));
    CallError::Trap {
        message: format!("{message}; on stderr: {}", &stderr[end..]),
    }
}

/// Passes on what is left on stdout and stderr, and a panic that is not the call's error.
pub(crate) fn last_words(state: &mut State) {
    if let Some(panic) = state.panic.take() {
        state.log_panic(panic);
    }
    let (text, dropped) = state.stdout.take();
    state.log_stream(Level::Info, "stdout", &text, dropped);
    let (text, dropped) = state.stderr.take();
    state.log_stream(Level::Warn, "stderr", &text, dropped);
}
