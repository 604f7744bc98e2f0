//! `canary`: sends a part of the clients another way, the same clients each time.
//!
//! The decisions stand in modules that know nothing of the proxy and are tested on the host with `cargo test`;
//! `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod choice;

#[cfg(target_arch = "wasm32")]
mod plugin;
