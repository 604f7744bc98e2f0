//! Lies about memory: pointers outside of it, sizes beyond it, numbers in it that are not so.

type Word = u32;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_log(level: Word, p: Word, n: Word) -> i32;
    fn proxy_get_current_time_nanoseconds(out: Word) -> i32;
    fn proxy_get_buffer_bytes(kind: Word, start: Word, size: Word, p: Word, n: Word) -> i32;
    fn proxy_get_buffer_status(kind: Word, size: Word, flags: Word) -> i32;
    fn proxy_set_buffer_bytes(kind: Word, start: Word, size: Word, p: Word, n: Word) -> i32;
    fn proxy_get_header_map_size(map: Word, out: Word) -> i32;
    fn proxy_get_header_map_pairs(map: Word, p: Word, n: Word) -> i32;
    fn proxy_set_header_map_pairs(map: Word, p: Word, n: Word) -> i32;
    fn proxy_get_header_map_value(map: Word, p: Word, n: Word, q: Word, m: Word) -> i32;
    fn proxy_add_header_map_value(map: Word, p: Word, n: Word, q: Word, m: Word) -> i32;
    fn proxy_remove_header_map_value(map: Word, p: Word, n: Word) -> i32;
    fn proxy_get_property(p: Word, n: Word, q: Word, m: Word) -> i32;
    fn proxy_set_property(p: Word, n: Word, q: Word, m: Word) -> i32;
    fn proxy_get_shared_data(p: Word, n: Word, q: Word, m: Word, cas: Word) -> i32;
    fn proxy_set_shared_data(p: Word, n: Word, q: Word, m: Word, cas: Word) -> i32;
    fn proxy_register_shared_queue(p: Word, n: Word, out: Word) -> i32;
    fn proxy_define_metric(kind: Word, p: Word, n: Word, out: Word) -> i32;
    fn proxy_call_foreign_function(p: Word, n: Word, q: Word, m: Word, a: Word, b: Word) -> i32;
    fn proxy_send_local_response(
        status: Word,
        a: Word,
        b: Word,
        c: Word,
        d: Word,
        e: Word,
        f: Word,
        grpc: Word,
    ) -> i32;
    fn proxy_http_call(
        a: Word,
        b: Word,
        c: Word,
        d: Word,
        e: Word,
        f: Word,
        g: Word,
        h: Word,
        ms: Word,
        out: Word,
    ) -> i32;
}

/// Every function that reads or writes memory, with these bytes and this place for what comes back.
///
/// Those that would change the stream are asked only with bytes that are not there.
unsafe fn each(p: Word, n: Word, out: Word) -> [i32; 20] {
    [
        proxy_log(2, p, n),
        proxy_get_current_time_nanoseconds(out),
        proxy_get_buffer_bytes(7, 0, u32::MAX, out, out),
        proxy_get_buffer_status(7, out, out),
        proxy_set_buffer_bytes(0, 0, 0, p, n),
        proxy_get_header_map_size(0, out),
        proxy_get_header_map_pairs(0, out, out),
        proxy_set_header_map_pairs(0, p, n),
        proxy_get_header_map_value(0, p, n, out, out),
        proxy_add_header_map_value(0, p, n, p, n),
        proxy_remove_header_map_value(0, p, n),
        proxy_get_property(p, n, out, out),
        proxy_set_property(p, n, p, n),
        proxy_get_shared_data(p, n, out, out, out),
        proxy_set_shared_data(p, n, p, n, 0),
        proxy_register_shared_queue(p, n, out),
        proxy_define_metric(0, p, n, out),
        proxy_call_foreign_function(p, n, p, n, out, out),
        proxy_send_local_response(418, p, n, p, n, p, n, u32::MAX),
        proxy_http_call(p, n, p, n, p, n, p, n, 1000, out),
    ]
}

fn shown(statuses: impl IntoIterator<Item = i32>) -> String {
    let all: Vec<String> = statuses
        .into_iter()
        .map(|status| status.to_string())
        .collect();
    all.join(",")
}

/// Pointers outside of the memory, at its end and at the end of all numbers.
pub fn pointers() -> String {
    let end = (core::arch::wasm32::memory_size(0) << 16) as Word;
    let places = [
        (u32::MAX, 1),
        (u32::MAX - 3, 4),
        (end, 4),
        (end - 2, 4),
        (1 << 31, 1 << 31),
    ];
    let found = places.map(|(p, n)| unsafe { each(p, n, p) });
    shown(found.into_iter().flatten())
}

/// Sizes beyond the memory from a pointer inside, and header maps that are not as long as they say.
pub fn sizes() -> String {
    let mut place = [0 as Word; 16];
    let out = place.as_mut_ptr() as Word;
    let mut found = Vec::new();
    for n in [u32::MAX, 1 << 31, 1 << 28] {
        found.extend(unsafe { each(out, n, out) });
    }
    for words in [
        [u32::MAX, 8, 8, 0],
        [1, u32::MAX, 1, 0],
        [2, 4, 4, 0],
        [1 << 30, 0, 0, 0],
    ] {
        let map = words.as_ptr() as Word;
        let name = "nobody";
        let (p, n) = (name.as_ptr() as Word, name.len() as Word);
        found.push(unsafe { proxy_http_call(p, n, map, 16, p, 0, map, 16, 1000, out) });
    }
    shown(found)
}
