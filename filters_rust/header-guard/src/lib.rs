//! `header-guard`: marks each request and each response with a header and answers 403 under `/admin`.
//!
//! The decisions stand in [`guard`] and [`settings`], which know nothing of the proxy and are tested on
//! the host with `cargo test`. `plugin` binds them to the proxy-wasm ABI and exists in the module only.

pub mod guard;
pub mod settings;

#[cfg(target_arch = "wasm32")]
mod plugin;
