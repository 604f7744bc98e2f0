//! `jwt-claims`: writes claims of a JSON Web Token into request headers.
//!
//! The decisions stand in modules that know nothing of the proxy and are tested on the host with `cargo test`;
//! `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod claims;
pub mod token;

#[cfg(target_arch = "wasm32")]
mod plugin;
