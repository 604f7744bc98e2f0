//! A proxy-wasm module that does what its configuration says and writes down what it saw.
//!
//! It knows no SDK: every host function is called as the ABI declares it, with any arguments, and every
//! callback is exported. The configuration is a script (see `script`): for each callback the host functions to
//! call. What they answered is a line in the proxy's log, so that two hosts can be compared line by line.

mod script;

#[cfg(target_arch = "wasm32")]
mod callbacks;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod run;
