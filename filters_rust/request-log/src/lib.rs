//! `request-log`: sends a log entry of each request to an access log service over gRPC.
//!
//! The decisions stand in modules that know nothing of the proxy and are tested on the host with `cargo test`;
//! `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod entry;
pub mod outbox;
pub mod settings;
mod wire;

#[cfg(target_arch = "wasm32")]
mod plugin;
