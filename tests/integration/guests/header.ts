// A proxy-wasm guest in AssemblyScript, without an SDK: ABI 0.2.1 by its imports and exports (proxy-wasm/spec).
//
// Writes its configuration into a response header, and answers 418 under /teapot.

@external("env", "proxy_get_buffer_bytes")
declare function getBuffer(type: i32, start: i32, max: i32, data: usize, size: usize): i32;
@external("env", "proxy_get_header_map_value")
declare function getHeader(map: i32, key: usize, keySize: usize, value: usize, size: usize): i32;
@external("env", "proxy_replace_header_map_value")
declare function setHeader(map: i32, key: usize, keySize: usize, value: usize, size: usize): i32;
@external("env", "proxy_send_local_response")
declare function respond(
  status: i32, details: usize, detailsSize: usize, body: usize, bodySize: usize,
  headers: usize, headersSize: usize, grpcStatus: i32,
): i32;

const REQUEST_HEADERS = 0;
const RESPONSE_HEADERS = 2;
const PLUGIN_CONFIGURATION = 7;
const OUT = memory.data(8);

let configuration: usize = 0;
let configurationSize: usize = 0;

/** Text of ours as bytes that do not move. */
function bytes(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

export function proxy_abi_version_0_2_1(): void {}

export function malloc(size: i32): usize {
  return heap.alloc(size);
}

export function proxy_on_context_create(context: i32, parent: i32): void {}

export function proxy_on_vm_start(context: i32, size: i32): i32 {
  return 1;
}

export function proxy_on_configure(context: i32, size: i32): i32 {
  if (getBuffer(PLUGIN_CONFIGURATION, 0, size, OUT, OUT + 4) != 0) return 0;
  configuration = load<usize>(OUT);
  configurationSize = load<usize>(OUT + 4);
  return size > 0 ? 1 : 0;
}

export function proxy_on_request_headers(context: i32, count: i32, end: i32): i32 {
  const key = bytes(":path");
  if (getHeader(REQUEST_HEADERS, changetype<usize>(key), key.byteLength, OUT, OUT + 4) != 0) return 0;
  const value = load<usize>(OUT);
  const path = String.UTF8.decodeUnsafe(value, load<usize>(OUT + 4));
  heap.free(value);
  if (!path.startsWith("/teapot")) return 0;
  const details = bytes("teapot");
  const body = bytes("short and stout\n");
  respond(
    418, changetype<usize>(details), details.byteLength, changetype<usize>(body), body.byteLength, 0, 0, -1,
  );
  return 1;
}

export function proxy_on_response_headers(context: i32, count: i32, end: i32): i32 {
  const key = bytes("x-guest");
  setHeader(RESPONSE_HEADERS, changetype<usize>(key), key.byteLength, configuration, configurationSize);
  return 0;
}
