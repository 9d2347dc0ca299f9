//! The part of WASI 0.2 that language runtimes need: an empty environment, exit, streams, clocks, randomness.
//!
//! Nothing here is ambient: time and randomness come from the call's backend, stdout and stderr end in its log, stdin
//! is at its end, there are no arguments and no variables. There are no sockets. The file system's interfaces may be
//! imported (wasi-libc imports them whether a program opens files or not), but their functions end the call.

use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasData, HasSelf, Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::p2::bindings::{cli, clocks, random};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bindings::wasi::io;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::CallError;
use crate::backend::Backend;
use crate::limits::{RANDOM, WASI_RANDOM};
use crate::state::State;

/// The interfaces of WASI 0.2 that have an implementation here, without their version.
pub(crate) const INTERFACES: [&str; 18] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// The interfaces that may be imported, but not called.
pub(crate) const FORBIDDEN: [&str; 2] = ["wasi:filesystem/preopens", "wasi:filesystem/types"];

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Puts [`INTERFACES`] into a linker.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Us = HasSelf<State>;
    cli::environment::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::exit::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::stderr::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::stdin::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::stdout::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::terminal_input::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::terminal_output::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::terminal_stderr::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::terminal_stdin::add_to_linker::<_, Us>(linker, |state| state)?;
    cli::terminal_stdout::add_to_linker::<_, Us>(linker, |state| state)?;
    clocks::monotonic_clock::add_to_linker::<_, Us>(linker, |state| state)?;
    clocks::wall_clock::add_to_linker::<_, Us>(linker, |state| state)?;
    io::error::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    io::poll::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    io::streams::add_to_linker::<_, Io>(linker, |state| &mut state.table)?;
    random::insecure::add_to_linker::<_, Us>(linker, |state| state)?;
    random::insecure_seed::add_to_linker::<_, Us>(linker, |state| state)?;
    random::random::add_to_linker::<_, Us>(linker, |state| state)?;
    Ok(())
}

/// The type behind handles that no plugin ever gets: descriptors and directory streams.
enum Nothing {}

/// Makes the functions of the given interfaces (of [`FORBIDDEN`]) end the call with their name.
pub(crate) fn forbid(linker: &mut Linker<State>, component: &Component, interfaces: &[String]) -> wasmtime::Result<()> {
    let engine = component.engine().clone();
    let component_type = component.component_type();
    for interface in interfaces {
        let Some(import) = component_type.get_import(&engine, interface) else {
            continue;
        };
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        let mut at = linker.instance(interface)?;
        for (name, item) in instance.exports(&engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let import = format!("{interface}#{name}");
                    at.func_new(name, move |_, _, _, _| {
                        let import = import.clone();
                        Err(wasmtime::Error::new(CallError::Forbidden { import }))
                    })?;
                }
                // The file system's own. Others are aliases of what another interface defines.
                ComponentItem::Resource(_) if name == "descriptor" || name == "directory-entry-stream" => {
                    at.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

impl cli::environment::Host for State {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

/// The end of a guest that exits by itself.
fn exited(how: &str) -> wasmtime::Error {
    let message = format!("it exited{how} instead of returning from the call");
    wasmtime::Error::new(CallError::Trap { message })
}

impl cli::exit::Host for State {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(exited(if status.is_ok() { "" } else { " with a failure" }))
    }
    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(exited(&format!(" with code {code}")))
    }
}

impl cli::stdin::Host for State {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.table.push(stream)?)
    }
}

impl cli::stdout::Host for State {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.stdout.clone());
        Ok(self.table.push(stream)?)
    }
}

impl cli::stderr::Host for State {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = Box::new(self.stderr.clone());
        Ok(self.table.push(stream)?)
    }
}

impl cli::terminal_input::Host for State {}
impl cli::terminal_input::HostTerminalInput for State {
    fn drop(&mut self, terminal: Resource<cli::terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl cli::terminal_output::Host for State {}
impl cli::terminal_output::HostTerminalOutput for State {
    fn drop(&mut self, terminal: Resource<cli::terminal_output::TerminalOutput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}

impl cli::terminal_stdin::Host for State {
    fn get_terminal_stdin(&mut self) -> wasmtime::Result<Option<Resource<cli::terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl cli::terminal_stdout::Host for State {
    fn get_terminal_stdout(&mut self) -> wasmtime::Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl cli::terminal_stderr::Host for State {
    fn get_terminal_stderr(&mut self) -> wasmtime::Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl clocks::wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<clocks::wall_clock::Datetime> {
        let now = self.backend.now();
        Ok(clocks::wall_clock::Datetime {
            seconds: u64::from(now.seconds),
            nanoseconds: now.nanoseconds,
        })
    }
    fn resolution(&mut self) -> wasmtime::Result<clocks::wall_clock::Datetime> {
        Ok(clocks::wall_clock::Datetime {
            seconds: 0,
            nanoseconds: 1_000,
        })
    }
}

/// Ready once the backend's monotonic clock has reached a time, or the call that it belongs to is over: an instance
/// that is kept may still hold it then, but keeps nothing of that call alive.
struct Alarm {
    backend: Weak<dyn Backend>,
    at: Duration,
}

#[async_trait]
impl Pollable for Alarm {
    async fn ready(&mut self) {
        let Some(backend) = self.backend.upgrade() else { return };
        let left = self.at.saturating_sub(backend.monotonic());
        if !left.is_zero() {
            backend.sleep(left).await;
        }
    }
}

/// Nanoseconds since the instance's first call began: the guest learns nothing of the host's clock, and a simulation
/// decides it. Where time stands they are none, and each alarm has rung: a guest that could tell how long it took, or
/// which of two alarms came first, could describe itself otherwise the next time.
impl clocks::monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        if self.backend.time_stands() {
            return Ok(0);
        }
        let age = self.backend.monotonic().saturating_sub(self.born);
        Ok(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
    }
    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000)
    }
    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = if self.backend.time_stands() { 0 } else { when };
        let at = self.born.saturating_add(Duration::from_nanos(wait));
        let backend = Arc::downgrade(&self.backend);
        let alarm = self.table.push(Alarm { backend, at })?;
        subscribe(&mut self.table, alarm)
    }
    fn subscribe_duration(&mut self, nanoseconds: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = clocks::monotonic_clock::Host::now(self)?;
        clocks::monotonic_clock::Host::subscribe_instant(self, now.saturating_add(nanoseconds))
    }
}

impl State {
    fn draw(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if count > WASI_RANDOM {
            return Err(wasmtime::Error::new(CallError::Trap {
                message: format!("it asked for {count} random bytes; at most {WASI_RANDOM} are given at once"),
            }));
        }
        let mut bytes = Vec::new();
        while let Some(left @ 1..) = count.checked_sub(bytes.len() as u64) {
            let ask = u32::try_from(left).unwrap_or(RANDOM).min(RANDOM);
            let mut some = self.backend.random(ask);
            some.truncate(ask as usize);
            if some.is_empty() {
                let message = "the host's source of randomness gave nothing".to_owned();
                return Err(wasmtime::Error::new(CallError::Start { message }));
            }
            bytes.append(&mut some);
        }
        Ok(bytes)
    }

    fn draw_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self
            .draw(8)?
            .into_iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(byte)))
    }
}

impl random::random::Host for State {
    fn get_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(count)
    }
    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_u64()
    }
}

impl random::insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(count)
    }
    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_u64()
    }
}

impl random::insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.draw_u64()?, self.draw_u64()?))
    }
}
