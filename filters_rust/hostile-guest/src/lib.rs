//! A proxy-wasm module that does to its host whatever a request asks it to, by the header `x-case`.
//!
//! Some cases trap, some never end, some use up what there is, some lie to the host about memory. It knows no
//! SDK, so that nothing stands between it and the host. What the host answered to a lie, the client is told in
//! `x-statuses`.

mod lies;

use std::alloc::Layout;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;

#[link(wasm_import_module = "env")]
extern "C" {
    fn proxy_log(level: i32, p: *const u8, n: usize) -> i32;
    fn proxy_get_header_map_value(
        map: i32,
        p: *const u8,
        n: usize,
        out: *mut usize,
        size: *mut usize,
    ) -> i32;
    fn proxy_add_header_map_value(map: i32, p: *const u8, n: usize, q: *const u8, m: usize) -> i32;
    fn proxy_set_tick_period_milliseconds(period: i32) -> i32;
    fn proxy_set_effective_context(context: i32) -> i32;
}

const REQUEST: i32 = 0;
const RESPONSE: i32 = 2;

thread_local! {
    /// What a stream was asked to do, and what is to be told.
    static STREAMS: RefCell<BTreeMap<i32, (String, String)>> = const { RefCell::new(BTreeMap::new()) };
    /// What the allocator is to do instead of allocating, once.
    static ALLOCATOR: RefCell<String> = const { RefCell::new(String::new()) };
}

#[no_mangle]
extern "C" fn proxy_abi_version_0_2_1() {}

#[no_mangle]
extern "C" fn _initialize() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.to_string().replace('\n', " ");
        unsafe { proxy_log(5, text.as_ptr(), text.len()) };
    }));
}

/// The host's memory comes from here, unless this is what it is to suffer from.
#[no_mangle]
extern "C" fn malloc(size: usize) -> *mut u8 {
    match ALLOCATOR.with_borrow_mut(std::mem::take).as_str() {
        "null" => std::ptr::null_mut(),
        "beyond" => usize::MAX as *mut u8,
        "trap" => trap(),
        "loop" => endless(),
        "call" => {
            // Only what starts and allocates may call nothing: this has to fail in the host.
            unsafe { proxy_set_effective_context(1) };
            std::ptr::null_mut()
        }
        _ => unsafe { std::alloc::alloc(Layout::from_size_align_unchecked(size.max(1), 8)) },
    }
}

fn value(map: i32, name: &str) -> String {
    let (mut p, mut n) = (0, 0);
    let status =
        unsafe { proxy_get_header_map_value(map, name.as_ptr(), name.len(), &mut p, &mut n) };
    if status != 0 || n == 0 {
        return String::new();
    }
    let bytes = unsafe { std::slice::from_raw_parts(p as *const u8, n) }.to_vec();
    unsafe { std::alloc::dealloc(p as *mut u8, Layout::from_size_align_unchecked(n, 8)) };
    String::from_utf8(bytes).unwrap_or_default()
}

fn trap() -> ! {
    std::arch::wasm32::unreachable()
}

fn endless() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns + 1);
    }
}

fn eat() {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(black_box(vec![1; 1 << 20]));
    }
}

#[allow(unconditional_recursion)] // that is what it is for
fn recurse(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    recurse(black_box(depth + 1)) + room[(depth % 64) as usize]
}

/// What one of the cases does wherever it is set off.
fn suffer(case: &str) {
    match case {
        "trap" => trap(),
        "panic" => panic!("as the request asks"),
        "loop" => endless(),
        "eat" => eat(),
        "recurse" => drop(black_box(recurse(0))),
        _ => {}
    }
}

/// A case reads `WHAT` for the request's headers, or `CALLBACK:WHAT`.
fn at(context: i32, callback: &str) {
    let case = STREAMS.with_borrow(|all| all.get(&context).map(|stream| stream.0.clone()));
    if let Some(what) = case.as_deref().and_then(|text| text.strip_prefix(callback)) {
        if let Some(what) = what.strip_prefix(':') {
            suffer(what);
        }
    }
}

#[no_mangle]
extern "C" fn proxy_on_request_headers(context: i32, _count: i32, _end: i32) -> i32 {
    let case = value(REQUEST, "x-case");
    STREAMS.with_borrow_mut(|all| all.insert(context, (case.clone(), String::new())));
    suffer(&case);
    let told = if case == "pointers" {
        lies::pointers()
    } else if case == "sizes" {
        lies::sizes()
    } else if case == "timers" {
        for period in 0..10_000 {
            unsafe { proxy_set_tick_period_milliseconds(period % 7 + 1) };
        }
        unsafe { proxy_set_tick_period_milliseconds(0) };
        String::new()
    } else if let Some(how) = case.strip_prefix("malloc:") {
        ALLOCATOR.with_borrow_mut(|allocator| *allocator = how.to_string());
        value(REQUEST, ":path")
    } else {
        String::new()
    };
    STREAMS.with_borrow_mut(|all| all.insert(context, (case, told)));
    0
}

#[no_mangle]
extern "C" fn proxy_on_request_body(context: i32, _size: i32, _end: i32) -> i32 {
    at(context, "request_body");
    0
}

#[no_mangle]
extern "C" fn proxy_on_response_headers(context: i32, _count: i32, _end: i32) -> i32 {
    at(context, "response_headers");
    let told = STREAMS.with_borrow(|all| all.get(&context).map(|stream| stream.1.clone()));
    if let Some(told) = told.filter(|text| !text.is_empty()) {
        let name = "x-statuses";
        unsafe {
            proxy_add_header_map_value(
                RESPONSE,
                name.as_ptr(),
                name.len(),
                told.as_ptr(),
                told.len(),
            )
        };
    }
    0
}

#[no_mangle]
extern "C" fn proxy_on_response_body(context: i32, _size: i32, _end: i32) -> i32 {
    at(context, "response_body");
    0
}

#[no_mangle]
extern "C" fn proxy_on_done(context: i32) -> i32 {
    at(context, "done");
    1
}

#[no_mangle]
extern "C" fn proxy_on_log(context: i32) {
    at(context, "log");
}

#[no_mangle]
extern "C" fn proxy_on_delete(context: i32) {
    at(context, "delete");
    STREAMS.with_borrow_mut(|all| all.remove(&context));
}
