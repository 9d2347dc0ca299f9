//! What the informer's benches share: pods, an API server of them inside the process, and measurements in processes of
//! their own.

pub mod pod_server;
pub mod pods;
pub mod report;
