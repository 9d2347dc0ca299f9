//! The transcripts, one topic a file. Each needs the real server.

mod apply;
mod create;
mod definitions;
mod delete;
mod describe;
mod discovery;
mod edit;
mod events;
mod get;
mod labels;
mod patch;
mod rollout;
mod wait;
mod watch;
