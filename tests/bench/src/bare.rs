//! Bare wasmtime calling the bench plugin: no limits, no clock, no permits, synchronous; what a call costs at least.

use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

#[allow(missing_docs, reason = "generated from wit/plugin.wit")]
mod bindings {
    wasmtime::component::bindgen!({ path: "../../wit", world: "reconciler" });
}

use bindings::exports::pilothouse::plugin::controller::{Outcome, Request};
use bindings::pilothouse::plugin::types::{ApiError, Gvk, ObjectRef, Timestamp};
use bindings::pilothouse::plugin::{call, events, log, read, types, write};
use bindings::{Reconciler, ReconcilerPre};

/// What the imports of one instance see: one prepared object for whatever is asked.
pub struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    object: String,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// The plugin, compiled and linked by hand.
pub struct Bare {
    pre: ReconcilerPre<State>,
    object: String,
}

impl Bare {
    /// Compiles the component. `object` is what each call gets, reads and writes.
    ///
    /// # Errors
    /// wasmtime's own.
    pub fn new(wasm: &[u8], object: String) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::default();
        pool.total_core_instances(100)
            .total_memories(100)
            .total_tables(100)
            .total_component_instances(100);
        pool.pagemap_scan(wasmtime::Enabled::Auto)
            .linear_memory_keep_resident(2 << 20);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let component = Component::from_binary(&engine, wasm)?;
        let mut linker = Linker::new(&engine);
        Reconciler::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        let pre = ReconcilerPre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { pre, object })
    }

    /// A fresh instance.
    ///
    /// # Errors
    /// wasmtime's own.
    pub fn instance(&self) -> wasmtime::Result<(Store<State>, Reconciler)> {
        let state = State {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
            object: self.object.clone(),
        };
        let mut store = Store::new(self.pre.engine(), state);
        let instance = self.pre.instantiate(&mut store)?;
        Ok((store, instance))
    }

    /// One call on an instance.
    ///
    /// # Errors
    /// wasmtime's own, or the plugin failed.
    pub fn reconcile(&self, store: &mut Store<State>, plugin: &Reconciler, controller: &str) -> wasmtime::Result<()> {
        let kind = Gvk {
            group: "bench.io".into(),
            version: "v1".into(),
            kind: "Empty".into(),
        };
        let request = Request {
            controller: controller.to_owned(),
            key: ObjectRef {
                kind,
                namespace: Some("default".into()),
                name: "o1".into(),
            },
            object: Some(self.object.clone()),
        };
        let answer = plugin.pilothouse_plugin_controller().call_reconcile(store, &request)?;
        let Outcome { .. } = answer.map_err(|failure| wasmtime::Error::msg(failure.message))?;
        Ok(())
    }
}

fn refused() -> ApiError {
    ApiError {
        reason: "NotHere".into(),
        code: 0,
        message: "the bench plugin does not call this".into(),
        causes: Vec::new(),
        retry_after_ms: None,
        maybe_applied: false,
    }
}

impl types::Host for State {}

impl call::Host for State {
    fn config(&mut self) -> String {
        "{}".into()
    }
    fn now(&mut self) -> Timestamp {
        Timestamp {
            seconds: 0,
            nanoseconds: 0,
        }
    }
    fn random(&mut self, count: u32) -> Vec<u8> {
        vec![0; count as usize]
    }
    fn attempt(&mut self) -> u32 {
        1
    }
    fn remaining_ms(&mut self) -> u32 {
        30_000
    }
    fn trace_parent(&mut self) -> Option<String> {
        None
    }
}

impl read::Host for State {
    fn get(&mut self, _: ObjectRef, _: read::Freshness) -> Result<Option<String>, ApiError> {
        Ok(Some(self.object.clone()))
    }
    fn select(&mut self, _: read::Query, _: read::Freshness) -> Result<read::Page, ApiError> {
        Err(refused())
    }
    fn digest(&mut self, _: ObjectRef) -> Result<Option<String>, ApiError> {
        Err(refused())
    }
}

impl write::Host for State {
    fn create(&mut self, _: ObjectRef, _: String, _: write::Options) -> Result<String, ApiError> {
        Err(refused())
    }
    fn patch(&mut self, _: ObjectRef, _: write::Change, _: write::Options) -> Result<String, ApiError> {
        Ok(self.object.clone())
    }
    fn replace(&mut self, _: ObjectRef, _: String, _: write::Options) -> Result<String, ApiError> {
        Err(refused())
    }
    fn remove(&mut self, _: ObjectRef, _: write::Propagation, _: write::Options) -> Result<Option<String>, ApiError> {
        Err(refused())
    }
}

impl events::Host for State {
    fn emit(&mut self, _: ObjectRef, _: events::Severity, _: String, _: String, _: String) {}
}

impl log::Host for State {
    fn emit(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) {}
}
