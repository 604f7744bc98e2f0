//! The host functions: declared as the ABI has them, and callable by name.
//!
//! A signature is a letter for each argument: `i` a number, `l` one of 64 bits, `s` bytes (pointer and size), `O`
//! bytes that come back (where to put pointer and size), `P` a header map that does, `4` and `8` a number of
//! so many bytes that does, `T` a time, `F` 24 bytes; `B` room for so many bytes (pointer and size), `b` the pointer
//! alone, `x` one whose bytes are shown; `v` a list of one vector.

pub struct HostFunction {
    pub name: &'static str,
    pub signature: &'static str,
    pub call: fn(&[i64]) -> i32,
}

macro_rules! host_functions {
    ($table:ident, $space:ident, $module:literal, $prefix:literal {
        $($(#[$meta:meta])* $name:ident ( $($argument:ident : $kind:ty),* ) $signature:literal;)*
    }) => {
        mod $space {
            #[link(wasm_import_module = $module)]
            extern "C" {
                $($(#[$meta])* #[link_name = concat!($prefix, stringify!($name))]
                pub fn $name($($argument: $kind),*) -> i32;)*
            }
        }

        pub const $table: &[HostFunction] = &[
            $($(#[$meta])* HostFunction {
                name: stringify!($name),
                signature: $signature,
                call: |_arguments| {
                    #[allow(unused_mut, unused_variables)]
                    let mut given = _arguments.iter();
                    $(let $argument = *given.next().unwrap_or(&0) as $kind;)*
                    unsafe { $space::$name($($argument),*) }
                },
            },)*
        ];
    };
}

host_functions!(PROXY, proxy, "env", "proxy_" {
    log(level: i32, p: i32, n: i32) "is";
    get_current_time_nanoseconds(out: i32) "T";
    set_tick_period_milliseconds(ms: i32) "i";
    get_status(code: i32, p: i32, n: i32) "4O";
    set_effective_context(context: i32) "i";
    done() "";
    call_foreign_function(p: i32, n: i32, q: i32, m: i32, a: i32, b: i32) "ssO";
    set_buffer_bytes(kind: i32, start: i32, size: i32, p: i32, n: i32) "iiis";
    get_buffer_bytes(kind: i32, start: i32, size: i32, p: i32, n: i32) "iiiO";
    get_buffer_status(kind: i32, size: i32, flags: i32) "i44";
    get_header_map_size(map: i32, out: i32) "i4";
    get_header_map_pairs(map: i32, p: i32, n: i32) "iP";
    set_header_map_pairs(map: i32, p: i32, n: i32) "is";
    get_header_map_value(map: i32, p: i32, n: i32, a: i32, b: i32) "isO";
    add_header_map_value(map: i32, p: i32, n: i32, q: i32, m: i32) "iss";
    replace_header_map_value(map: i32, p: i32, n: i32, q: i32, m: i32) "iss";
    remove_header_map_value(map: i32, p: i32, n: i32) "is";
    send_local_response(status: i32, a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, grpc: i32) "isssi";
    http_call(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32, ms: i32, out: i32) "ssssi4";
    grpc_call(
        a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32, i: i32, j: i32, ms: i32, out: i32
    ) "sssssi4";
    grpc_stream(a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32, out: i32) "ssss4";
    grpc_send(call: i32, p: i32, n: i32, end: i32) "isi";
    grpc_cancel(call: i32) "i";
    grpc_close(call: i32) "i";
    set_shared_data(p: i32, n: i32, q: i32, m: i32, cas: i32) "ssi";
    get_shared_data(p: i32, n: i32, a: i32, b: i32, cas: i32) "sO4";
    register_shared_queue(p: i32, n: i32, out: i32) "s4";
    resolve_shared_queue(p: i32, n: i32, q: i32, m: i32, out: i32) "ss4";
    enqueue_shared_queue(queue: i32, p: i32, n: i32) "is";
    dequeue_shared_queue(queue: i32, p: i32, n: i32) "iO";
    define_metric(kind: i32, p: i32, n: i32, out: i32) "is4";
    record_metric(metric: i32, value: i64) "il";
    increment_metric(metric: i32, offset: i64) "il";
    get_metric(metric: i32, out: i32) "i8";
    get_property(p: i32, n: i32, a: i32, b: i32) "sO";
    set_property(p: i32, n: i32, q: i32, m: i32) "ss";
    #[cfg(not(any(feature = "abi_0_1_0", feature = "abi_0_2_0")))]
    get_log_level(out: i32) "4";
    #[cfg(not(feature = "abi_0_1_0"))]
    continue_stream(stream: i32) "i";
    #[cfg(not(feature = "abi_0_1_0"))]
    close_stream(stream: i32) "i";
    #[cfg(feature = "abi_0_1_0")]
    get_configuration(p: i32, n: i32) "O";
    #[cfg(feature = "abi_0_1_0")]
    continue_request() "";
    #[cfg(feature = "abi_0_1_0")]
    continue_response() "";
    #[cfg(feature = "abi_0_1_0")]
    clear_route_cache() "";
});

host_functions!(WASI, wasi, "wasi_snapshot_preview1", "" {
    args_get(pointers: i32, buffer: i32) "bb";
    args_sizes_get(count: i32, size: i32) "44";
    clock_res_get(clock: i32, out: i32) "i8";
    clock_time_get(clock: i32, precision: i64, out: i32) "ilT";
    environ_get(pointers: i32, buffer: i32) "bx";
    environ_sizes_get(count: i32, size: i32) "44";
    fd_advise(fd: i32, offset: i64, size: i64, advice: i32) "illi";
    fd_allocate(fd: i32, offset: i64, size: i64) "ill";
    fd_close(fd: i32) "i";
    fd_datasync(fd: i32) "i";
    fd_fdstat_get(fd: i32, out: i32) "iF";
    fd_fdstat_set_flags(fd: i32, flags: i32) "ii";
    fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64) "ill";
    fd_filestat_get(fd: i32, out: i32) "i8";
    fd_filestat_set_size(fd: i32, size: i64) "il";
    fd_filestat_set_times(fd: i32, access: i64, modified: i64, flags: i32) "illi";
    fd_pread(fd: i32, vectors: i32, count: i32, offset: i64, out: i32) "ivl4";
    fd_prestat_dir_name(fd: i32, p: i32, n: i32) "iB";
    fd_prestat_get(fd: i32, out: i32) "i8";
    fd_pwrite(fd: i32, vectors: i32, count: i32, offset: i64, out: i32) "ivl4";
    fd_read(fd: i32, vectors: i32, count: i32, out: i32) "iv4";
    fd_readdir(fd: i32, p: i32, n: i32, cookie: i64, out: i32) "iBl4";
    fd_renumber(fd: i32, to: i32) "ii";
    fd_seek(fd: i32, offset: i64, whence: i32, out: i32) "ili8";
    fd_sync(fd: i32) "i";
    fd_tell(fd: i32, out: i32) "i8";
    fd_write(fd: i32, vectors: i32, count: i32, out: i32) "iv4";
    path_create_directory(fd: i32, p: i32, n: i32) "is";
    path_filestat_get(fd: i32, flags: i32, p: i32, n: i32, out: i32) "iis8";
    path_filestat_set_times(fd: i32, flags: i32, p: i32, n: i32, a: i64, m: i64, f: i32) "iislli";
    path_open(
        fd: i32, dirflags: i32, p: i32, n: i32, oflags: i32, base: i64, inheriting: i64, flags: i32, out: i32
    ) "iisilli4";
    path_readlink(fd: i32, p: i32, n: i32, q: i32, m: i32, out: i32) "isB4";
    path_remove_directory(fd: i32, p: i32, n: i32) "is";
    path_rename(fd: i32, p: i32, n: i32, to: i32, q: i32, m: i32) "isis";
    path_unlink_file(fd: i32, p: i32, n: i32) "is";
    poll_oneoff(subscriptions: i32, events: i32, count: i32, out: i32) "iii4";
    random_get(p: i32, n: i32) "B";
    sched_yield() "";
    sock_accept(fd: i32, flags: i32, out: i32) "ii4";
    sock_recv(fd: i32, vectors: i32, count: i32, flags: i32, a: i32, b: i32) "ivi44";
    sock_send(fd: i32, vectors: i32, count: i32, flags: i32, out: i32) "ivi4";
    sock_shutdown(fd: i32, how: i32) "ii";
});

host_functions!(WASI_UNSTABLE, wasi_unstable, "wasi_unstable", "" {
    clock_res_get(clock: i32, out: i32) "i8";
    environ_sizes_get(count: i32, size: i32) "44";
    fd_write(fd: i32, vectors: i32, count: i32, out: i32) "iv4";
    random_get(p: i32, n: i32) "B";
});

mod odd {
    #[link(wasm_import_module = "env")]
    extern "C" {
        pub fn pthread_equal(one: i32, other: i32) -> i32;
        pub fn emscripten_notify_memory_growth(memory: i32);
    }
    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    extern "C" {
        /// Compilers put a trap behind it; declared like this it comes back, where the host lets it.
        pub fn proc_exit(code: i32);
    }
}

/// What Emscripten imports, and what has no result: that shows as 0.
const ODD: &[HostFunction] = &[
    HostFunction {
        name: "pthread_equal",
        signature: "ii",
        call: |given| unsafe { odd::pthread_equal(given[0] as i32, given[1] as i32) },
    },
    HostFunction {
        name: "emscripten_notify_memory_growth",
        signature: "i",
        call: |given| {
            unsafe { odd::emscripten_notify_memory_growth(given[0] as i32) };
            0
        },
    },
    HostFunction {
        name: "proc_exit",
        signature: "i",
        call: |given| {
            unsafe { odd::proc_exit(given[0] as i32) };
            0
        },
    },
];

pub fn find(name: &str) -> Option<&'static HostFunction> {
    let (table, name) = match name.split_once('.') {
        Some(("wasi", name)) => (WASI, name),
        Some(("wasi_unstable", name)) => (WASI_UNSTABLE, name),
        Some(("env", name)) => (ODD, name),
        _ => (PROXY, name),
    };
    table.iter().find(|each| each.name == name)
}
