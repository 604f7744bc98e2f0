//! Runs the lines of a section and writes down what the host functions answered.

use std::alloc::{alloc, dealloc, Layout};
use std::cell::RefCell;
use std::collections::HashMap;

use crate::host::{self, HostFunction};
use crate::script::{shown, shown_pairs, Script, Section, Word};

/// The level of the lines: above what a proxy leaves out by default.
const WARN: i64 = 3;

/// What belongs to one root context: several plugins may run in one VM.
#[derive(Default)]
struct Plugin {
    script: Script,
    /// How often each section has run.
    turns: HashMap<(String, String), i64>,
}

#[derive(Default)]
struct State {
    plugins: HashMap<i32, Plugin>,
    /// Numbers by the names that a script gave them.
    kept: HashMap<String, i64>,
    /// The root context of each stream.
    roots: HashMap<i32, i32>,
    /// Of contexts that have one, and of calls that were made for them.
    cases: HashMap<i32, String>,
    calls: HashMap<i32, (i32, String)>,
}

impl State {
    fn plugin(&mut self, context: i32) -> &mut Plugin {
        let root = self.roots.get(&context).copied().unwrap_or(context);
        self.plugins.entry(root).or_default()
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// `malloc`: exactly so many bytes, which `take` gives back.
pub fn allocate(size: usize) -> *mut u8 {
    match Layout::from_size_align(size, 1) {
        Ok(layout) if size > 0 => unsafe { alloc(layout) },
        _ => std::ptr::null_mut(),
    }
}

/// Bytes that the host has put into memory of ours.
fn take(pointer: usize, size: usize) -> Vec<u8> {
    if pointer == 0 || size == 0 {
        return Vec::new();
    }
    unsafe {
        let bytes = std::slice::from_raw_parts(pointer as *const u8, size).to_vec();
        dealloc(
            pointer as *mut u8,
            Layout::from_size_align_unchecked(size, 1),
        );
        bytes
    }
}

fn call(name: &str, arguments: &[i64]) -> i32 {
    host::find(name).map_or(-1, |each| (each.call)(arguments))
}

pub fn say(text: &str) {
    call("log", &[WARN, text.as_ptr() as i64, text.len() as i64]);
}

/// Read the plugin's configuration; false where it is no script.
pub fn configure(root: i32, size: i32) -> bool {
    let mut place = [0u32; 2];
    let (p, n) = (
        place.as_mut_ptr() as i64,
        place.as_mut_ptr().wrapping_add(1) as i64,
    );
    if cfg!(feature = "abi_0_1_0") {
        call("get_configuration", &[p, n]);
    } else {
        call("get_buffer_bytes", &[7, 0, i64::from(size), p, n]);
    }
    let text = take(place[0] as usize, place[1] as usize);
    match Script::parse(&String::from_utf8_lossy(&text)) {
        Ok(script) => {
            STATE.with_borrow_mut(|state| state.plugin(root).script = script);
            true
        }
        Err(reason) => {
            say(&format!("bad script: {reason}"));
            false
        }
    }
}

/// The case of a stream is its x-case header.
/// The turns of its callbacks are counted afresh.
pub fn choose_case(context: i32) {
    let mut place = [0u32; 2];
    let (p, n) = (
        place.as_mut_ptr() as i64,
        place.as_mut_ptr().wrapping_add(1) as i64,
    );
    let name = "x-case";
    let status = call(
        "get_header_map_value",
        &[0, name.as_ptr() as i64, name.len() as i64, p, n],
    );
    if status == 0 && place[1] > 0 {
        let case =
            String::from_utf8_lossy(&take(place[0] as usize, place[1] as usize)).into_owned();
        STATE.with_borrow_mut(|state| {
            state
                .plugin(context)
                .turns
                .retain(|(_, each), _| *each != case);
            state.cases.insert(context, case);
        });
    }
}

pub fn adopt(context: i32, root: i32) {
    STATE.with_borrow_mut(|state| state.roots.insert(context, root));
}

pub fn forget(context: i32) {
    STATE.with_borrow_mut(|state| {
        state.cases.remove(&context);
        state.roots.remove(&context);
    });
}

/// A callback for a context. Arguments behind the context are written down, the last may be end_of_stream.
pub fn callback(name: &str, context: i32, arguments: &[i32], fallback: i32) -> i32 {
    let case = STATE
        .with_borrow(|state| state.cases.get(&context).cloned())
        .unwrap_or_default();
    run(name, &case, context, context, arguments, fallback)
}

/// A callback for a call that was made by a line of some case.
pub fn call_callback(name: &str, root: i32, arguments: &[i32]) {
    let number = arguments[0];
    let found = STATE.with_borrow(|state| state.calls.get(&number).cloned());
    let (context, case) = found.unwrap_or((root, String::new()));
    keep("context", i64::from(context));
    keep("call", i64::from(number));
    let mut shown_arguments = arguments.to_vec();
    shown_arguments[0] &= 3; // its kind; which number it is depends on what was done before
    run(name, &case, root, context, &shown_arguments, 0);
}

fn keep(name: &str, value: i64) {
    STATE.with_borrow_mut(|state| state.kept.insert(name.to_string(), value));
}

/// `of` says whose script it is, `context` for whom calls are made.
fn run(name: &str, case: &str, of: i32, context: i32, arguments: &[i32], fallback: i32) -> i32 {
    let key = (name.to_string(), case.to_string());
    let (lines, turn) = STATE.with_borrow_mut(|state| {
        let plugin = state.plugin(of);
        let found = plugin.script.find(name, case);
        let lines = found.map(|each: &Section| each.lines.clone());
        let turn = plugin.turns.entry(key).or_default();
        *turn += 1;
        (lines, *turn)
    });
    if lines.is_none() && case.is_empty() {
        return fallback;
    }
    let shown_arguments: Vec<String> = arguments.iter().map(i32::to_string).collect();
    say(&format!("{name}({}) {case}", shown_arguments.join(", ")));
    let end = arguments.last().is_some_and(|&last| last != 0);
    let mut result = fallback;
    keep("size", i64::from(*arguments.first().unwrap_or(&0)));
    for line in lines.unwrap_or_default() {
        let Some(words) = applies(&line, end, turn) else {
            continue;
        };
        if let [Word::Name(command), Word::Number(number)] = words {
            if command == "return" {
                result = *number as i32;
                continue;
            }
        }
        command(words, context, case);
    }
    result
}

/// What of the line is left behind its conditions; None where they do not hold.
fn applies(line: &[Word], end: bool, turn: i64) -> Option<&[Word]> {
    match line {
        [Word::Name(name), rest @ ..] if name == "end?" => end.then_some(rest),
        [Word::Name(name), rest @ ..] if name == "more?" => (!end).then_some(rest),
        [Word::Name(name), Word::Number(number), rest @ ..] if name == "nth" => {
            (*number == turn).then_some(rest)
        }
        _ => Some(line),
    }
}

fn command(words: &[Word], context: i32, case: &str) {
    let [Word::Name(name), arguments @ ..] = words else {
        return say("a line begins with a name");
    };
    // Of bytes that come back only how many they are.
    let (name, arguments, brief) = match arguments {
        [Word::Name(second), rest @ ..] if name == "brief" => (second, rest, true),
        _ => (name, arguments, false),
    };
    match name.as_str() {
        "say" => match arguments {
            [Word::Text(text)] => say(&shown(text)),
            [Word::Kept(_)] => say(&format!(
                "{}",
                numbers(arguments).first().copied().unwrap_or(-1)
            )),
            _ => say("say what?"),
        },
        "panic" => panic!("as the script says"),
        "trap" => std::process::abort(),
        "loop" => loop {
            std::hint::black_box(());
        },
        "recurse" => recurse(1),
        "eat" => loop {
            std::hint::black_box(allocate(1 << 20));
        },
        "raw" => raw(arguments),
        "grow" => {
            let pages = numbers(arguments).first().copied().unwrap_or(1);
            core::arch::wasm32::memory_grow(0, pages as usize);
        }
        _ => match host::find(name) {
            Some(function) => invoke(name, function, arguments, context, case, brief),
            None => say(&format!("no such function: {name}")),
        },
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) {
    std::hint::black_box([depth; 32]);
    recurse(std::hint::black_box(depth + 1));
    std::hint::black_box(depth);
}

fn numbers(words: &[Word]) -> Vec<i64> {
    let value = |word: &Word| match word {
        Word::Number(number) => Some(*number),
        Word::Kept(name) => STATE.with_borrow(|state| state.kept.get(name).copied()),
        _ => None,
    };
    words.iter().filter_map(value).collect()
}

/// Call with exactly these numbers; only the status is shown.
fn raw(words: &[Word]) {
    let [Word::Name(name), arguments @ ..] = words else {
        return say("raw what?");
    };
    let given = numbers(arguments);
    let shown_arguments: Vec<String> = given.iter().map(i64::to_string).collect();
    let status = call(name, &given);
    say(&format!(
        "raw {name} {} -> {status}",
        shown_arguments.join(" ")
    ));
}

/// Where the answer of a call goes.
enum Out {
    Bytes(usize, bool),
    Number(usize, usize),
    Time(usize),
    Room(usize, usize),
}

fn invoke(
    name: &str,
    function: &HostFunction,
    words: &[Word],
    context: i32,
    case: &str,
    brief: bool,
) {
    let mut places = vec![[0u64; 4]; function.signature.len() * 2];
    let mut used = 0;
    let mut room: Vec<Vec<u8>> = Vec::new();
    let mut given: Vec<i64> = Vec::new();
    let mut outs: Vec<Out> = Vec::new();
    let kept_as = words.iter().find_map(|word| match word {
        Word::Keep(name) => Some(name),
        _ => None,
    });
    let mut words_left = words.iter().filter(|word| !matches!(word, Word::Keep(_)));
    let mut place = |size: &mut usize| {
        *size += 1;
        (&mut places[*size - 1] as *mut [u64; 4]) as usize
    };
    for letter in function.signature.chars() {
        match letter {
            'O' | 'P' => {
                let (at, behind) = (place(&mut used), place(&mut used));
                given.extend([at as i64, behind as i64]);
                outs.push(Out::Bytes(at, letter == 'P'));
            }
            '4' | '8' => {
                let at = place(&mut used);
                given.push(at as i64);
                outs.push(Out::Number(at, if letter == '4' { 4 } else { 8 }));
            }
            'T' => {
                let at = place(&mut used);
                given.push(at as i64);
                outs.push(Out::Time(at));
            }
            'F' => {
                let at = place(&mut used);
                given.push(at as i64);
                outs.push(Out::Room(at, 24));
            }
            's' | 'v' => {
                let bytes = match words_left.next() {
                    Some(Word::Text(text)) => text.clone(),
                    _ => Vec::new(),
                };
                room.push(bytes);
                let bytes = &room[room.len() - 1];
                let (p, n) = (
                    if bytes.is_empty() {
                        0
                    } else {
                        bytes.as_ptr() as usize
                    },
                    bytes.len(),
                );
                if letter == 's' {
                    given.extend([p as i64, n as i64]);
                } else {
                    let at = place(&mut used);
                    unsafe { *(at as *mut [u32; 2]) = [p as u32, n as u32] };
                    given.extend([at as i64, 1]);
                }
            }
            _ => {
                let number = words_left.next().map_or(0, |word| {
                    numbers(std::slice::from_ref(word))
                        .first()
                        .copied()
                        .unwrap_or(-1)
                });
                if matches!(letter, 'B' | 'b' | 'x') {
                    room.push(vec![0; number as usize]);
                    let at = room[room.len() - 1].as_ptr() as usize;
                    given.push(at as i64);
                    match letter {
                        'B' => given.push(number),
                        'x' => outs.push(Out::Room(at, number as usize)),
                        _ => (),
                    }
                } else {
                    given.push(number);
                }
            }
        }
    }
    drop(words_left);
    let status = (function.call)(&given);
    let mut line = format!("{name} {}-> {status}", shown_words(words));
    let mut last = 0;
    for out in outs {
        match out {
            Out::Bytes(at, is_map) => {
                let (pointer, size) = unsafe { (*(at as *const u32), *((at + 32) as *const u32)) };
                let bytes = take(pointer as usize, size as usize);
                if status == 0 && brief {
                    line += &format!(" {} bytes", bytes.len());
                } else if status == 0 {
                    let text = if is_map {
                        shown_pairs(&bytes)
                    } else {
                        format!("\"{}\"", shown(&bytes))
                    };
                    line += &format!(" {text}");
                }
            }
            Out::Number(at, size) => {
                let value = unsafe { *(at as *const u64) };
                last = if size == 4 {
                    i64::from(value as u32)
                } else {
                    value as i64
                };
                if status == 0 {
                    // Which number it is depends on what was done before: it is named instead.
                    line += &match &kept_as {
                        Some(name) => format!(" ={name}"),
                        None if is_call(name) => format!(" kind {}", last & 3),
                        None => format!(" {last}"),
                    };
                }
            }
            Out::Time(at) => {
                let value = unsafe { *(at as *const u64) };
                line += if value > 0 { " a time" } else { " no time" };
            }
            Out::Room(at, size) => {
                let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, size) };
                line += &format!(" \"{}\"", shown(bytes));
            }
        }
    }
    if let Some(kept_as) = kept_as {
        keep(kept_as, last);
    }
    if status == 0 && is_call(name) {
        STATE.with_borrow_mut(|state| state.calls.insert(last as i32, (context, case.to_string())));
    }
    say(&line);
}

fn is_call(name: &str) -> bool {
    matches!(name, "http_call" | "grpc_call" | "grpc_stream")
}

fn shown_words(words: &[Word]) -> String {
    let text = |word: &Word| match word {
        Word::Number(number) => format!("{number} "),
        // A header map is shown as one; what merely looks like one would be shown so as well.
        Word::Text(bytes) if bytes.contains(&0) && shown_pairs(bytes).starts_with('[') => {
            format!("{} ", shown_pairs(bytes))
        }
        Word::Text(bytes) => format!("\"{}\" ", shown(bytes)),
        Word::Kept(name) => format!("${name} "),
        Word::Name(name) => format!("{name} "),
        Word::Keep(_) => String::new(),
    };
    words.iter().map(text).collect()
}
