//! Finding byte strings in a stream that comes in chunks (Aho and Corasick, 1975).
//!
//! The automaton is made once, with a row of 256 successors for each of its states; a stream carries one number
//! from chunk to chunk, which also says how many of the last bytes may be the beginning of a match.

use std::collections::VecDeque;

use crate::sieve::Sieve;

/// Bytes that all patterns together may have: each costs 512 bytes of table.
pub const MAX_BYTES: usize = 4096;

const NONE: u16 = u16::MAX;
const ROOT: u16 = 0;

/// The automaton of a set of patterns.
pub struct Patterns {
    next: Vec<[u16; 256]>,
    /// Which pattern ends in a state: the first of them.
    found: Vec<u16>,
    depth: Vec<u16>,
    /// Whether a match can begin with a byte.
    begins: [bool; 256],
    sieve: Sieve,
}

/// Where one stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State(u16);

/// A match: which pattern, and how many bytes of the chunk were read when it was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    pub pattern: usize,
    pub end: usize,
}

impl Patterns {
    /// Makes the automaton; `is_caseless` folds ASCII letters. The error is a sentence for the operator.
    pub fn new<P: AsRef<[u8]>>(patterns: &[P], is_caseless: bool) -> Result<Patterns, String> {
        let total: usize = patterns.iter().map(|pattern| pattern.as_ref().len()).sum();
        if total > MAX_BYTES {
            return Err(format!(
                "the patterns have {total} bytes; {MAX_BYTES} are possible"
            ));
        }
        let mut made = Patterns {
            next: vec![[NONE; 256]],
            found: vec![NONE],
            depth: vec![0],
            begins: [false; 256],
            sieve: Sieve::default(),
        };
        for (index, pattern) in patterns.iter().enumerate() {
            if pattern.as_ref().is_empty() {
                return Err("an empty pattern matches everything".to_owned());
            }
            made.insert(index as u16, pattern.as_ref(), is_caseless);
            made.sieve.add(index, pattern.as_ref(), is_caseless);
        }
        made.link();
        if is_caseless {
            for row in &mut made.next {
                row.copy_within(usize::from(b'a')..=usize::from(b'z'), usize::from(b'A'));
            }
        }
        for (begins, state) in made.begins.iter_mut().zip(&made.next[usize::from(ROOT)]) {
            *begins = *state != ROOT;
        }
        Ok(made)
    }

    fn insert(&mut self, index: u16, pattern: &[u8], is_caseless: bool) {
        let mut state = usize::from(ROOT);
        for byte in pattern {
            let byte = if is_caseless {
                byte.to_ascii_lowercase()
            } else {
                *byte
            };
            if self.next[state][usize::from(byte)] == NONE {
                self.next[state][usize::from(byte)] = self.next.len() as u16;
                self.depth.push(self.depth[state] + 1);
                self.next.push([NONE; 256]);
                self.found.push(NONE);
            }
            state = usize::from(self.next[state][usize::from(byte)]);
        }
        if self.found[state] == NONE {
            self.found[state] = index;
        }
    }

    /// Gives every state all its successors, nearest to the root first.
    fn link(&mut self) {
        let mut fallback = vec![ROOT; self.next.len()];
        let mut waiting = VecDeque::from([ROOT]);
        while let Some(state) = waiting.pop_front() {
            let back = usize::from(fallback[usize::from(state)]);
            for byte in 0..256 {
                let child = self.next[usize::from(state)][byte];
                let other = if state == ROOT {
                    ROOT
                } else {
                    self.next[back][byte]
                };
                if child == NONE {
                    self.next[usize::from(state)][byte] = other;
                    continue;
                }
                fallback[usize::from(child)] = other;
                if self.found[usize::from(child)] == NONE {
                    self.found[usize::from(child)] = self.found[usize::from(other)];
                }
                waiting.push_back(child);
            }
        }
    }

    /// Reads a chunk up to its first match; `state` is the stream's.
    pub fn scan(&self, state: &mut State, chunk: &[u8]) -> Option<Match> {
        let mut now = state.0;
        let mut at = 0;
        while at < chunk.len() {
            if now == ROOT {
                at += self.idle(&chunk[at..]);
                if at == chunk.len() {
                    break;
                }
            }
            now = self.next[usize::from(now)][usize::from(chunk[at])];
            at += 1;
            let pattern = self.found[usize::from(now)];
            if pattern != NONE {
                *state = State(now);
                return Some(Match {
                    pattern: usize::from(pattern),
                    end: at,
                });
            }
        }
        *state = State(now);
        None
    }

    /// How many bytes there are before the first that a match can begin with: most bytes of most bodies.
    fn idle(&self, bytes: &[u8]) -> usize {
        let at = self.sieve.skip(bytes);
        let rest = &bytes[at..];
        if rest.len() > Sieve::LEFT {
            return at; // one begins here, or seems to: the automaton says
        }
        at + rest
            .iter()
            .position(|byte| self.begins[usize::from(*byte)])
            .unwrap_or(rest.len())
    }

    /// How many of the last bytes may be the beginning of a match.
    pub fn pending(&self, state: State) -> usize {
        usize::from(self.depth[usize::from(state.0)])
    }
}

/// A pattern as it is written in a configuration: text, or `hex:` and an even number of digits.
pub fn read_pattern(text: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = text.strip_prefix("hex:") else {
        return Ok(text.as_bytes().to_vec());
    };
    let problem = || format!("{text:?} is not hexadecimal");
    if digits.len() % 2 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(problem());
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| problem());
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(texts, false).unwrap()
    }

    fn first(patterns: &Patterns, chunks: &[&[u8]]) -> Option<(usize, usize)> {
        let mut state = State::default();
        let mut before = 0;
        for chunk in chunks {
            if let Some(found) = patterns.scan(&mut state, chunk) {
                return Some((found.pattern, before + found.end));
            }
            before += chunk.len();
        }
        None
    }

    #[test]
    fn a_pattern_is_found_wherever_the_chunks_are_cut() {
        let made = patterns(&["secret"]);
        let text = b"a secsecret b";
        for cut in 0..=text.len() {
            let (left, right) = text.split_at(cut);
            assert_eq!(first(&made, &[left, right]), Some((0, 11)));
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(first(&made, &bytes), Some((0, 11)));
        assert_eq!(first(&made, &[b"secre", b"", b"x", b"secre"]), None);
    }

    #[test]
    fn the_answer_is_that_of_a_plain_search() {
        let texts = ["aa", "aba", "b", "abab", "caa", "bb"];
        let mut number = 1u32;
        for _ in 0..2000 {
            let mut hay = Vec::new();
            for _ in 0..12 {
                number = number.wrapping_mul(1664525).wrapping_add(1013904223);
                hay.push(b"abc"[(number >> 24) as usize % 3]);
            }
            let chosen = &texts[..1 + (number >> 16) as usize % texts.len()];
            let end = (1..=hay.len()).find(|end| {
                chosen
                    .iter()
                    .any(|text| hay[..*end].ends_with(text.as_bytes()))
            });
            let (left, right) = hay.split_at((number >> 8) as usize % hay.len());
            assert_eq!(
                first(&patterns(chosen), &[left, right]).map(|found| found.1),
                end
            );
        }
    }

    #[test]
    fn what_may_begin_a_match_is_counted() {
        let made = patterns(&["abcd", "cx"]);
        let mut state = State::default();
        for (chunk, pending) in [
            (&b"zzab"[..], 2),
            (b"c", 3),
            (b"", 3),
            (b"z", 0),
            (b"abcx", 2),
        ] {
            let found = made.scan(&mut state, chunk);
            assert_eq!(found.is_some(), chunk == b"abcx");
            assert_eq!(made.pending(state), pending);
        }
    }

    #[test]
    fn letters_may_be_folded() {
        let made = Patterns::new(&["DrOp taBLE"], true).unwrap();
        assert_eq!(first(&made, &[b"; dRoP T", b"Able x"]), Some((0, 12)));
        assert_eq!(first(&patterns(&["drop"]), &[b"DROP"]), None);
        assert!(Patterns::new(&["[{"], true)
            .unwrap()
            .scan(&mut State::default(), b"[{")
            .is_some());
    }

    #[test]
    fn bytes_that_are_no_text_match() {
        let made = Patterns::new(&[read_pattern("hex:00ff7F").unwrap()], false).unwrap();
        assert_eq!(first(&made, &[b"\x00\x00\xff", b"\x7f"]), Some((0, 4)));
        assert!(read_pattern("hex:0").is_err() && read_pattern("hex:0g").is_err());
        assert!(read_pattern("hex:\u{e4}").is_err());
    }

    #[test]
    fn no_pattern_matches_nothing_and_an_empty_one_is_refused() {
        assert_eq!(first(&patterns(&[]), &[b"anything"]), None);
        assert!(Patterns::new(&[""], false).is_err());
        assert!(Patterns::new(&["x".repeat(MAX_BYTES + 1)], false).is_err());
        assert!(Patterns::new(&["x".repeat(MAX_BYTES)], false).is_ok());
    }
}
