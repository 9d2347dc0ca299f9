//! Everything together, as people meet it. One binary, so that it is linked once; one topic a file.
#![cfg(unix)]

mod admin;
mod api_server;
mod apply;
mod bad_config;
mod bad_modules;
mod bad_plugins;
mod bad_writes;
mod breakers;
mod code_cache;
mod fields;
mod grants;
mod greeting;
mod hot_loops;
mod killed;
mod kubectl;
mod load_events;
mod mappings;
mod operations;
mod parked;
mod queue;
mod reload;
mod restart;
mod rights;
mod room;
mod stopping;
mod views;
mod writes;
