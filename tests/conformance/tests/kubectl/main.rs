//! kubectl, the real one, against the local cluster and a real API server: what people type, and what they then see.
//!
//! A transcript is a list of command lines that are run on both servers, in a namespace of the transcript's name. What
//! kubectl writes to stdout and stderr is made comparable ([`normal`]) and compared line by line, with the exit code.
//! What differs must stand in the list of differences under the topic `kubectl`, and nothing else may stand there.
#![cfg(unix)]

mod compared;
mod normal;
mod objects;
mod real;
mod side;
mod transcript;
