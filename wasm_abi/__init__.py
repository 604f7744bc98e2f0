"""The proxy-wasm host ABI over wasmtime, as a library of its own: it never imports sidecar."""
