//! What `wit/plugin.wit` says, as Rust: generated, never edited.
//!
//! The documentation of the types is the contract's own. Other rooms take the types from the crate's root.
//!
//! What goes into a guest is borrowed (an object is copied once, into the guest's memory), and what comes out of it is
//! owned; types that do both are there twice.

#![allow(
    missing_docs,
    reason = "generated from wit/plugin.wit, which carries the documentation"
)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "reconciler",
    // `trappable`: a limit that is hit inside a host call ends the call with its own error.
    imports: {
        "pilothouse:plugin/read": async | trappable,
        "pilothouse:plugin/write": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
    additional_derives: [PartialEq, Eq, Hash],
});
