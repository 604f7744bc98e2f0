//! What the filters of this workspace share.
//!
//! [`settings`] reads a plugin's configuration and names what is wrong in it, [`patterns`] finds byte strings
//! in a stream of chunks, [`headers`] says what a header may consist of. `binding` ties a filter to the
//! proxy-wasm ABI and exists in modules only.

pub mod headers;
pub mod patterns;
pub mod settings;
mod sieve;

#[cfg(target_arch = "wasm32")]
pub mod binding;
