//! Looking through a body, chunk by chunk.
//!
//! ```json
//! {"patterns": ["DROP TABLE", "hex:deadbeef"], "ignore_case": true, "on": ["request", "response"],
//!  "status": 403, "hold": false}
//! ```
//!
//! A body streams on while it is looked at: a chunk passes unless a match is complete in it, so no match passes
//! as a whole, but its beginning may. With `hold` nothing passes before the end of the body was seen, which the
//! proxy's buffer limits.

use filter_kit::patterns::{read_pattern, Patterns, State};
use filter_kit::settings::parse;

/// What the filter does.
pub struct Settings {
    patterns: Patterns,
    pub on_request: bool,
    pub on_response: bool,
    pub status: u32,
    pub hold: bool,
}

impl Settings {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut root = parse(configuration)?;
        let texts = root.strings("patterns")?.unwrap_or_default();
        if texts.is_empty() {
            return Err("patterns must name at least one".to_owned());
        }
        let read = texts
            .iter()
            .map(|text| read_pattern(text))
            .collect::<Result<Vec<_>, _>>();
        let ignore_case = root.boolean("ignore_case")?.unwrap_or(false);
        let patterns = read.and_then(|bytes| Patterns::new(&bytes, ignore_case));
        let sides = root
            .strings("on")?
            .unwrap_or_else(|| vec!["request".to_owned()]);
        if sides.is_empty()
            || sides
                .iter()
                .any(|side| side != "request" && side != "response")
        {
            return Err("on must be a list of request and response".to_owned());
        }
        let settings = Settings {
            patterns: patterns.map_err(|problem| format!("patterns: {problem}"))?,
            on_request: sides.iter().any(|side| side == "request"),
            on_response: sides.iter().any(|side| side == "response"),
            status: root.number("status", 400, 599)?.unwrap_or(403) as u32,
            hold: root.boolean("hold")?.unwrap_or(false),
        };
        root.finish()?;
        Ok(settings)
    }
}

/// What becomes of what has come so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A match: the pattern's number, and after how many bytes of the body it was complete.
    Deny {
        pattern: usize,
        at: u64,
    },
    /// It stays until more comes, and is shown again with it.
    Hold,
    Pass,
}

/// One body of one stream.
#[derive(Debug, Default)]
pub struct Body {
    state: State,
    /// Bytes at the beginning of the buffer that were looked at before, and held.
    held: usize,
    before: u64,
}

impl Body {
    /// Where in the buffer the new bytes begin.
    pub fn fresh(&self) -> usize {
        self.held
    }

    /// Looks at the new bytes of the buffer.
    pub fn look(&mut self, settings: &Settings, fresh: &[u8], is_end: bool) -> Step {
        if let Some(found) = settings.patterns.scan(&mut self.state, fresh) {
            return Step::Deny {
                pattern: found.pattern,
                at: self.before + found.end as u64,
            };
        }
        self.before += fresh.len() as u64;
        if settings.hold && !is_end {
            self.held += fresh.len();
            return Step::Hold;
        }
        self.held = 0;
        Step::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::from_json(text.as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// What passes of a body that comes in these chunks, and the step that ended it.
    fn run(settings: &Settings, chunks: &[&[u8]]) -> (Vec<u8>, Option<Step>) {
        let (mut body, mut buffer, mut passed) = (Body::default(), Vec::new(), Vec::new());
        for (index, chunk) in chunks.iter().enumerate() {
            buffer.extend_from_slice(chunk);
            match body.look(settings, &buffer[body.fresh()..], index + 1 == chunks.len()) {
                Step::Hold => {}
                Step::Pass => passed.append(&mut buffer),
                deny => return (passed, Some(deny)),
            }
        }
        assert!(buffer.is_empty());
        (passed, None)
    }

    #[test]
    fn a_match_is_denied_wherever_the_chunks_are_cut_and_does_not_pass() {
        let made = settings(r#"{"patterns": ["attack"]}"#);
        let text = b"an attaattack!";
        for cut in 0..text.len() {
            let (left, right) = text.split_at(cut);
            let (passed, step) = run(&made, &[left, right]);
            assert_eq!(step, Some(Step::Deny { pattern: 0, at: 13 }));
            assert!(passed.is_empty() || (passed == left && cut < 13));
        }
    }

    #[test]
    fn a_body_without_a_match_passes_as_it_is() {
        let made = settings(r#"{"patterns": ["aab", "hex:6162"]}"#);
        let chunks: Vec<&[u8]> = b"aa aaa a a".chunks(1).collect();
        assert_eq!(run(&made, &chunks), (b"aa aaa a a".to_vec(), None));
        assert_eq!(run(&made, &[b"aa", b""]), (b"aa".to_vec(), None));
        assert_eq!(run(&made, &[b""]), (Vec::new(), None));
    }

    #[test]
    fn a_body_that_is_held_passes_when_its_end_was_seen() {
        let made = settings(r#"{"patterns": ["bad"], "hold": true}"#);
        let deny = Step::Deny { pattern: 0, at: 8 };
        assert_eq!(
            run(&made, &[b"good ", b"ba", b"d"]),
            (Vec::new(), Some(deny))
        );
        assert_eq!(
            run(&made, &[b"good ", b"ba", b"y"]),
            (b"good bay".to_vec(), None)
        );
    }

    #[test]
    fn the_defaults_are_the_request_and_403() {
        let made = settings(r#"{"patterns": ["x"]}"#);
        assert_eq!(
            (made.on_request, made.on_response, made.status, made.hold),
            (true, false, 403, false)
        );
    }

    #[test]
    fn problems_are_named() {
        let problem = |text: &str| Settings::from_json(text.as_bytes()).err().unwrap();
        assert_eq!(problem(""), "patterns must name at least one");
        assert_eq!(
            problem(r#"{"patterns": [""]}"#),
            "patterns: an empty pattern matches everything"
        );
        assert_eq!(
            problem(r#"{"patterns": ["hex:1"]}"#),
            "patterns: \"hex:1\" is not hexadecimal"
        );
        assert_eq!(
            problem(r#"{"patterns": ["x"], "on": ["both"]}"#),
            "on must be a list of request and response"
        );
        assert_eq!(
            problem(r#"{"patterns": ["x"], "hold": "no"}"#),
            "hold must be true or false"
        );
        assert_eq!(
            problem(r#"{"patterns": ["x"], "status": 200}"#),
            "status must be a whole number from 400 to 599"
        );
        assert_eq!(
            problem(r#"{"patterns": ["x"], "log": true}"#),
            "unknown key log"
        );
    }
}
