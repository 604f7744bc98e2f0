//! `auth-callout`: asks a service over HTTP whether a request may pass.
//!
//! The decisions stand in modules that know nothing of the proxy and are tested on the host with `cargo test`;
//! `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod decision;

#[cfg(target_arch = "wasm32")]
mod plugin;
