//! What is limited.
//!
//! ```json
//! {"max_tokens": 100, "tokens_per_fill": 10, "fill_interval_ms": 1000, "key": {"header": "x-api-key"},
//!  "status": 429, "queue": "rate-limit-refusals"}
//! ```
//!
//! Without `key` all requests share a bucket; `{"header": NAME}` gives each of its values one, `{"address": true}`
//! each client's address, `{"path": true}` each path without its query.

use filter_kit::settings::parse;

use crate::bucket::Shape;

/// Bytes of a key that count: the proxy keeps every key.
pub const MAX_KEY_BYTES: usize = 256;

/// What a bucket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    All,
    Header(String),
    Address,
    Path,
}

/// What the filter does.
#[derive(Clone, Debug)]
pub struct Settings {
    pub shape: Shape,
    pub key: Key,
    pub status: u32,
    /// The queue that refusals are written to, for whoever wants to know.
    pub queue: String,
    /// Tells buckets of plugins with the same vm_id apart.
    pub name: String,
}

impl Settings {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut root = parse(configuration)?;
        let max_tokens = root
            .number("max_tokens", 1, u64::from(u32::MAX))?
            .ok_or("max_tokens is missing")?;
        let interval_ms = root
            .number("fill_interval_ms", 1, 7 * 86_400_000)?
            .unwrap_or(1000);
        let key = match root.object("key")? {
            None => Key::All,
            Some(mut key) => {
                let header = key.header_name("header")?;
                let (address, path) = (
                    key.boolean("address")? == Some(true),
                    key.boolean("path")? == Some(true),
                );
                key.finish()?;
                match (header, address, path) {
                    (None, false, false) => Key::All,
                    (Some(name), false, false) => Key::Header(name),
                    (None, true, false) => Key::Address,
                    (None, false, true) => Key::Path,
                    _ => return Err("key can be one of header, address and path".to_owned()),
                }
            }
        };
        let settings = Settings {
            shape: Shape {
                max_tokens,
                tokens_per_fill: root
                    .number("tokens_per_fill", 1, u64::from(u32::MAX))?
                    .unwrap_or(1),
                fill_interval_ns: interval_ms * 1_000_000,
            },
            key,
            status: root.number("status", 400, 599)?.unwrap_or(429) as u32,
            queue: root
                .string("queue")?
                .unwrap_or_else(|| "rate-limit-refusals".to_owned()),
            name: root.string("name")?.unwrap_or_default(),
        };
        root.finish()?;
        Ok(settings)
    }

    /// The key of a bucket in the shared data.
    pub fn bucket(&self, value: &[u8]) -> String {
        let value = String::from_utf8_lossy(&value[..value.len().min(MAX_KEY_BYTES)]);
        format!("rate-limit/{}/{value}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_by_one_a_second_unless_told_otherwise() {
        let read = Settings::from_json(br#"{"max_tokens": 5}"#).unwrap();
        assert_eq!(
            read.shape,
            Shape {
                max_tokens: 5,
                tokens_per_fill: 1,
                fill_interval_ns: 1_000_000_000
            }
        );
        assert_eq!((read.key, read.status), (Key::All, 429));
    }

    #[test]
    fn keys_are_of_one_kind() {
        let key = |text: &str| {
            Settings::from_json(format!(r#"{{"max_tokens": 1, "key": {text}}}"#).as_bytes())
                .map(|read| read.key)
        };
        assert_eq!(
            key(r#"{"header": "X-Key"}"#).unwrap(),
            Key::Header("x-key".to_owned())
        );
        assert_eq!(key(r#"{"address": true}"#).unwrap(), Key::Address);
        assert_eq!(key(r#"{"path": true}"#).unwrap(), Key::Path);
        assert_eq!(key("{}").unwrap(), Key::All);
        assert!(key(r#"{"path": true, "address": true}"#).is_err());
        assert_eq!(
            key(r#"{"host": true}"#).unwrap_err(),
            "unknown key key.host"
        );
    }

    #[test]
    fn a_bucket_has_a_name_of_bounded_length() {
        let read = Settings::from_json(br#"{"max_tokens": 1, "name": "n"}"#).unwrap();
        assert_eq!(read.bucket(b"al"), "rate-limit/n/al");
        assert!(read.bucket(&[0xff; 5000]).len() < 1000);
    }

    #[test]
    fn problems_are_named() {
        let problem = |text: &str| Settings::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(problem(""), "max_tokens is missing");
        assert_eq!(
            problem(r#"{"max_tokens": 0}"#),
            "max_tokens must be a whole number from 1 to 4294967295"
        );
        assert_eq!(problem(r#"{"max_tokens": 1, "x": 1}"#), "unknown key x");
    }
}
