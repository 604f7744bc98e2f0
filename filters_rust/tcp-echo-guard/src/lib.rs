//! `tcp-echo-guard`: closes TCP connections that carry what they must not, or too much.
//!
//! The decisions stand in modules that know nothing of the proxy and are tested on the host with `cargo test`;
//! `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod guard;

#[cfg(target_arch = "wasm32")]
mod plugin;
