//! `header-edit`: edits headers of requests and responses by rules.
//!
//! The decisions stand in modules that know nothing of the proxy and are tested on the host with `cargo test`;
//! `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod rules;

#[cfg(target_arch = "wasm32")]
mod plugin;
