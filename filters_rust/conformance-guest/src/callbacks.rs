//! Every callback of the ABI.

use crate::run::{adopt, allocate, call_callback, callback, choose_case, configure, forget};

#[cfg(feature = "abi_0_1_0")]
#[no_mangle]
extern "C" fn proxy_abi_version_0_1_0() {}

#[cfg(feature = "abi_0_2_0")]
#[no_mangle]
extern "C" fn proxy_abi_version_0_2_0() {}

#[cfg(not(any(feature = "abi_0_1_0", feature = "abi_0_2_0")))]
#[no_mangle]
extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
extern "C" fn _initialize() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string().replace('\n', " ");
        crate::host::find("log")
            .map(|log| (log.call)(&[5, text.as_ptr() as i64, text.len() as i64]));
    }));
}

#[no_mangle]
extern "C" fn malloc(size: usize) -> *mut u8 {
    allocate(size)
}

#[no_mangle]
extern "C" fn proxy_on_context_create(context: i32, parent: i32) {
    if parent != 0 {
        adopt(context, parent);
        callback("on_context_create", context, &[parent], 0);
    }
}

#[no_mangle]
extern "C" fn proxy_on_vm_start(_root: i32, _size: i32) -> i32 {
    1
}

#[no_mangle]
extern "C" fn proxy_on_configure(root: i32, size: i32) -> i32 {
    if !configure(root, size) {
        return 0;
    }
    callback("on_configure", root, &[], 1)
}

#[no_mangle]
extern "C" fn proxy_on_tick(root: i32) {
    callback("on_tick", root, &[], 0);
}

#[no_mangle]
extern "C" fn proxy_on_queue_ready(root: i32, _queue: i32) {
    callback("on_queue_ready", root, &[], 0);
}

#[no_mangle]
extern "C" fn proxy_on_new_connection(context: i32) -> i32 {
    callback("on_new_connection", context, &[], 0)
}

#[no_mangle]
extern "C" fn proxy_on_downstream_data(context: i32, size: i32, end: i32) -> i32 {
    callback("on_downstream_data", context, &[size, end], 0)
}

#[no_mangle]
extern "C" fn proxy_on_upstream_data(context: i32, size: i32, end: i32) -> i32 {
    callback("on_upstream_data", context, &[size, end], 0)
}

#[no_mangle]
extern "C" fn proxy_on_downstream_connection_close(context: i32, peer: i32) {
    callback("on_downstream_connection_close", context, &[peer], 0);
}

#[no_mangle]
extern "C" fn proxy_on_upstream_connection_close(context: i32, peer: i32) {
    callback("on_upstream_connection_close", context, &[peer], 0);
}

#[cfg(not(feature = "abi_0_1_0"))]
#[no_mangle]
extern "C" fn proxy_on_request_headers(context: i32, count: i32, end: i32) -> i32 {
    choose_case(context);
    callback("on_request_headers", context, &[count, end], 0)
}

#[cfg(not(feature = "abi_0_1_0"))]
#[no_mangle]
extern "C" fn proxy_on_response_headers(context: i32, count: i32, end: i32) -> i32 {
    callback("on_response_headers", context, &[count, end], 0)
}

#[cfg(feature = "abi_0_1_0")]
#[no_mangle]
extern "C" fn proxy_on_request_headers(context: i32, count: i32) -> i32 {
    choose_case(context);
    callback("on_request_headers", context, &[count], 0)
}

#[cfg(feature = "abi_0_1_0")]
#[no_mangle]
extern "C" fn proxy_on_response_headers(context: i32, count: i32) -> i32 {
    callback("on_response_headers", context, &[count], 0)
}

#[no_mangle]
extern "C" fn proxy_on_request_body(context: i32, size: i32, end: i32) -> i32 {
    callback("on_request_body", context, &[size, end], 0)
}

#[no_mangle]
extern "C" fn proxy_on_response_body(context: i32, size: i32, end: i32) -> i32 {
    callback("on_response_body", context, &[size, end], 0)
}

#[no_mangle]
extern "C" fn proxy_on_request_trailers(context: i32, count: i32) -> i32 {
    callback("on_request_trailers", context, &[count], 0)
}

#[no_mangle]
extern "C" fn proxy_on_response_trailers(context: i32, count: i32) -> i32 {
    callback("on_response_trailers", context, &[count], 0)
}

#[no_mangle]
extern "C" fn proxy_on_request_metadata(context: i32, count: i32) -> i32 {
    callback("on_request_metadata", context, &[count], 0)
}

#[no_mangle]
extern "C" fn proxy_on_response_metadata(context: i32, count: i32) -> i32 {
    callback("on_response_metadata", context, &[count], 0)
}

#[no_mangle]
extern "C" fn proxy_on_http_call_response(
    root: i32,
    call: i32,
    headers: i32,
    body: i32,
    trailers: i32,
) {
    call_callback(
        "on_http_call_response",
        root,
        &[call, headers, body, trailers],
    );
}

#[no_mangle]
extern "C" fn proxy_on_grpc_receive_initial_metadata(root: i32, call: i32, count: i32) {
    call_callback("on_grpc_receive_initial_metadata", root, &[call, count]);
}

#[no_mangle]
extern "C" fn proxy_on_grpc_receive(root: i32, call: i32, size: i32) {
    call_callback("on_grpc_receive", root, &[call, size]);
}

#[no_mangle]
extern "C" fn proxy_on_grpc_receive_trailing_metadata(root: i32, call: i32, count: i32) {
    call_callback("on_grpc_receive_trailing_metadata", root, &[call, count]);
}

#[no_mangle]
extern "C" fn proxy_on_grpc_close(root: i32, call: i32, status: i32) {
    call_callback("on_grpc_close", root, &[call, status]);
}

#[cfg(not(feature = "abi_0_1_0"))]
#[no_mangle]
extern "C" fn proxy_on_foreign_function(root: i32, function: i32, size: i32) {
    callback("on_foreign_function", root, &[function, size], 0);
}

#[no_mangle]
extern "C" fn proxy_on_done(context: i32) -> i32 {
    callback("on_done", context, &[], 1)
}

#[no_mangle]
extern "C" fn proxy_on_log(context: i32) {
    callback("on_log", context, &[], 0);
}

#[no_mangle]
extern "C" fn proxy_on_delete(context: i32) {
    callback("on_delete", context, &[], 0);
    forget(context);
}
