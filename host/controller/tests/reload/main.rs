//! Plugins come, are exchanged and go under load: real components, a local cluster, everything in this process.

mod directory;
mod stage;
mod world;
