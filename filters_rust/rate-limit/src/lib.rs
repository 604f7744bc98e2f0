//! `rate-limit`: limits requests by token buckets that all streams and workers share.
//!
//! The decisions stand in modules that know nothing of the proxy and are tested on the host with `cargo test`;
//! `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod bucket;
pub mod settings;

#[cfg(target_arch = "wasm32")]
mod plugin;
