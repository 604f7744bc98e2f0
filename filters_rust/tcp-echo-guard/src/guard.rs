//! What a connection may carry.
//!
//! ```json
//! {"deny": ["QUIT", "hex:00ff"], "ignore_case": true, "on": ["client", "server"], "max_bytes": 65536,
//!  "banner": "guarded\n"}
//! ```
//!
//! Bytes pass as they come, unless a pattern is complete in them, or the client has sent more than it may: then
//! the connection closes, and what was just read does not pass. The banner goes in front of the first bytes that
//! the client gets.

use filter_kit::patterns::{read_pattern, Patterns, State};
use filter_kit::settings::parse;

/// What the filter does.
pub struct Settings {
    patterns: Patterns,
    on_client: bool,
    on_server: bool,
    /// Of a client; 0 for any number.
    max_bytes: u64,
    pub banner: Vec<u8>,
}

/// Why a connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pattern's number.
    Pattern(usize),
    TooMuch,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

impl Settings {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut root = parse(configuration)?;
        let texts = root.strings("deny")?.unwrap_or_default();
        let ignore_case = root.boolean("ignore_case")?.unwrap_or(false);
        let read = texts
            .iter()
            .map(|text| read_pattern(text))
            .collect::<Result<Vec<_>, _>>();
        let patterns = read.and_then(|bytes| Patterns::new(&bytes, ignore_case));
        let sides = root
            .strings("on")?
            .unwrap_or_else(|| vec!["client".to_owned()]);
        if sides.is_empty()
            || sides
                .iter()
                .any(|side| side != "client" && side != "server")
        {
            return Err("on must be a list of client and server".to_owned());
        }
        let settings = Settings {
            patterns: patterns.map_err(|problem| format!("deny: {problem}"))?,
            on_client: sides.iter().any(|side| side == "client"),
            on_server: sides.iter().any(|side| side == "server"),
            max_bytes: root
                .number("max_bytes", 1, u64::from(u32::MAX))?
                .unwrap_or(0),
            banner: root.string("banner")?.unwrap_or_default().into_bytes(),
        };
        root.finish()?;
        Ok(settings)
    }
}

/// One connection.
#[derive(Debug, Default)]
pub struct Connection {
    client: State,
    server: State,
    pub from_client: u64,
    pub from_server: u64,
}

impl Connection {
    /// Looks at what one side sent; a reason closes the connection.
    pub fn look(&mut self, settings: &Settings, from: From, data: &[u8]) -> Option<Reason> {
        let (state, count, is_watched) = match from {
            From::Client => (&mut self.client, &mut self.from_client, settings.on_client),
            From::Server => (&mut self.server, &mut self.from_server, settings.on_server),
        };
        *count += data.len() as u64;
        if from == From::Client && settings.max_bytes > 0 && *count > settings.max_bytes {
            return Some(Reason::TooMuch);
        }
        if !is_watched {
            return None;
        }
        settings
            .patterns
            .scan(state, data)
            .map(|found| Reason::Pattern(found.pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::from_json(text.as_bytes()).unwrap_or_else(|problem| panic!("{problem}"))
    }

    #[test]
    fn a_pattern_is_found_across_reads_and_on_the_sides_that_are_watched() {
        let made = settings(r#"{"deny": ["quit", "x"], "ignore_case": true}"#);
        let mut one = Connection::default();
        assert_eq!(one.look(&made, From::Client, b"hello QU"), None);
        assert_eq!(one.look(&made, From::Server, b"it x"), None);
        assert_eq!(
            one.look(&made, From::Client, b"IT"),
            Some(Reason::Pattern(0))
        );
        assert_eq!((one.from_client, one.from_server), (10, 4));
        let both = settings(r#"{"deny": ["x"], "on": ["client", "server"]}"#);
        assert_eq!(
            Connection::default().look(&both, From::Server, b"x"),
            Some(Reason::Pattern(0))
        );
    }

    #[test]
    fn a_client_may_send_so_much() {
        let made = settings(r#"{"max_bytes": 4}"#);
        let mut one = Connection::default();
        assert_eq!(one.look(&made, From::Client, b"1234"), None);
        assert_eq!(one.look(&made, From::Server, b"123456789"), None);
        assert_eq!(one.look(&made, From::Client, b"5"), Some(Reason::TooMuch));
    }

    #[test]
    fn nothing_is_asked_for_and_everything_passes() {
        let made = settings("");
        assert!(made.banner.is_empty());
        assert_eq!(
            Connection::default().look(&made, From::Client, &[0; 100_000]),
            None
        );
    }

    #[test]
    fn problems_are_named() {
        let problem = |text: &str| Settings::from_json(text.as_bytes()).err().unwrap();
        assert_eq!(
            problem(r#"{"deny": [""]}"#),
            "deny: an empty pattern matches everything"
        );
        assert_eq!(
            problem(r#"{"on": []}"#),
            "on must be a list of client and server"
        );
        assert_eq!(
            problem(r#"{"max_bytes": 0}"#),
            "max_bytes must be a whole number from 1 to 4294967295"
        );
        assert_eq!(problem(r#"{"x": 0}"#), "unknown key x");
    }
}
