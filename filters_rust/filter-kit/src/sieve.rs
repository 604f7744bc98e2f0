//! Passing over what no pattern begins with, sixteen places of a text at a time.
//!
//! A place is kept if its byte and the next one are those that some pattern begins with; to tell that, each half of
//! a byte is looked up in a table of sixteen, whose bits stand for up to eight groups of patterns (what the
//! matcher Teddy of Hyperscan does). What is kept is looked at by the automaton, so it may be too much, and
//! never is too little. In a module this is SIMD128, which wasmtime and V8 have; elsewhere the same one by one.

/// How many places are looked at together.
const LANES: usize = 16;

/// For a byte at one place: which groups have it there, by its lower and its upper half.
#[derive(Clone, Copy, Default)]
struct Place {
    low: [u8; LANES],
    high: [u8; LANES],
}

impl Place {
    fn add(&mut self, group: u8, byte: u8) {
        self.low[usize::from(byte & 15)] |= group;
        self.high[usize::from(byte >> 4)] |= group;
    }
}

/// The first two bytes of a set of patterns.
#[derive(Clone, Copy, Default)]
pub struct Sieve {
    first: Place,
    second: Place,
}

impl Sieve {
    /// So many bytes at the end are not looked at.
    pub const LEFT: usize = 2 * LANES;

    /// A pattern that is not empty; `is_caseless` takes its ASCII letters for both cases.
    pub fn add(&mut self, number: usize, pattern: &[u8], is_caseless: bool) {
        let group = 1 << (number % 8);
        let add = |place: &mut Place, byte: u8| {
            place.add(group, byte);
            if is_caseless {
                place.add(group, byte.to_ascii_lowercase());
                place.add(group, byte.to_ascii_uppercase());
            }
        };
        add(&mut self.first, pattern[0]);
        match pattern.get(1) {
            Some(byte) => add(&mut self.second, *byte),
            None => (0..=255).for_each(|byte| add(&mut self.second, byte)),
        }
    }

    /// How many bytes no pattern begins in, as far as that is seen here: up to the last `LEFT`.
    pub fn skip(&self, bytes: &[u8]) -> usize {
        skip(self, bytes)
    }
}

#[cfg(target_arch = "wasm32")]
#[target_feature(enable = "simd128")]
fn skip(sieve: &Sieve, bytes: &[u8]) -> usize {
    use core::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_shr, u8x16_splat, u8x16_swizzle, v128, v128_and,
        v128_any_true, v128_load, v128_or,
    };

    /// Sixteen bytes, wherever they are.
    #[target_feature(enable = "simd128")]
    fn load(bytes: &[u8]) -> v128 {
        assert!(bytes.len() >= LANES);
        // SAFETY: there are as many, and they need not be aligned.
        unsafe { v128_load(bytes.as_ptr().cast()) }
    }

    let (first_low, first_high) = (load(&sieve.first.low), load(&sieve.first.high));
    let (second_low, second_high) = (load(&sieve.second.low), load(&sieve.second.high));
    let half = u8x16_splat(15);
    let groups = |part: &[u8; 2 * LANES + 1], at: usize| {
        let (first, second) = (
            load(&part[at..at + LANES]),
            load(&part[at + 1..at + 1 + LANES]),
        );
        let first = v128_and(
            u8x16_swizzle(first_low, v128_and(first, half)),
            u8x16_swizzle(first_high, u8x16_shr(first, 4)),
        );
        let second = v128_and(
            u8x16_swizzle(second_low, v128_and(second, half)),
            u8x16_swizzle(second_high, u8x16_shr(second, 4)),
        );
        v128_and(first, second)
    };
    let mut at = 0;
    // Two at a time: each turn costs a check whether the guest runs for too long.
    while let Some(part) = bytes.get(at..at + 2 * LANES + 1) {
        let part: &[u8; 2 * LANES + 1] = part.try_into().expect("as many");
        let (left, right) = (groups(part, 0), groups(part, LANES));
        if v128_any_true(v128_or(left, right)) {
            let none = u8x16_splat(0);
            let empty = |kept: v128| u32::from(u8x16_bitmask(u8x16_eq(kept, none)));
            let kept = !(empty(left) | empty(right) << LANES);
            return at + kept.trailing_zeros() as usize;
        }
        at += 2 * LANES;
    }
    at
}

#[cfg(not(target_arch = "wasm32"))]
fn skip(sieve: &Sieve, bytes: &[u8]) -> usize {
    let groups = |place: &Place, byte: u8| {
        place.low[usize::from(byte & 15)] & place.high[usize::from(byte >> 4)]
    };
    let mut at = 0;
    while let Some(part) = bytes.get(at..at + 2 * LANES + 1) {
        let kept = part
            .windows(2)
            .position(|pair| groups(&sieve.first, pair[0]) & groups(&sieve.second, pair[1]) != 0);
        if let Some(place) = kept {
            return at + place;
        }
        at += 2 * LANES;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sieve(patterns: &[&str], is_caseless: bool) -> Sieve {
        let mut made = Sieve::default();
        for (number, pattern) in patterns.iter().enumerate() {
            made.add(number, pattern.as_bytes(), is_caseless);
        }
        made
    }

    #[test]
    fn a_pattern_is_not_passed_over_wherever_it_begins() {
        for (patterns, is_caseless, found) in [
            (&["attack"][..], false, "at"),
            (&["attack", "x"][..], false, "x-"),
            (&["Attack"][..], true, "aT"),
            (
                &["qq", "rr", "ss", "tt", "uu", "vv", "ww", "xx", "yy"][..],
                false,
                "yy",
            ),
        ] {
            let made = sieve(patterns, is_caseless);
            for size in 33..120 {
                for at in 0..size - 1 {
                    let mut text = vec![b'-'; size];
                    text[at..at + 2].copy_from_slice(found.as_bytes());
                    let skipped = made.skip(&text);
                    assert!(skipped <= at);
                    assert!(skipped == at || size - skipped <= 2 * LANES);
                }
            }
        }
    }

    #[test]
    fn what_begins_no_pattern_is_passed_over() {
        let made = sieve(&["attack", "quit"], false);
        let text = "an about-turn at noon ".repeat(3);
        assert_eq!(made.skip(text.as_bytes()), 14);
        assert_eq!(made.skip(&text.as_bytes()[15..]), 21);
        assert_eq!(made.skip(b"attack"), 0);
        assert_eq!(sieve(&[], false).skip(&[b'a'; 100]), 96);
    }
}
