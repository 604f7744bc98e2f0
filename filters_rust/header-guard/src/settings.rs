//! The plugin configuration: which headers are written.
//!
//! ```json
//! {
//!   "request_header":  {"name": "x-sidecar-wasm", "value": "header-guard"},
//!   "response_header": {"name": "x-wasm-filter",  "value": "header-guard"}
//! }
//! ```
//!
//! Every key may be left out. A key that is not known is an error: a misspelt one must not pass.

use serde_json::{Map, Value};

/// One header, its name in lower case as HTTP/2 wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// What the filter writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub request_header: Header,
    pub response_header: Header,
}

impl Default for Settings {
    fn default() -> Self {
        let marker = |name: &str| Header {
            name: name.to_owned(),
            value: "header-guard".to_owned(),
        };
        Settings {
            request_header: marker("x-sidecar-wasm"),
            response_header: marker("x-wasm-filter"),
        }
    }
}

impl Settings {
    /// Reads the configuration; empty bytes (no configuration given) mean the defaults.
    ///
    /// The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut settings = Settings::default();
        if configuration.iter().all(u8::is_ascii_whitespace) {
            return Ok(settings);
        }
        let value: Value = serde_json::from_slice(configuration)
            .map_err(|error| format!("the configuration is not JSON: {error}"))?;
        for (key, value) in object(&value, "the configuration")? {
            match key.as_str() {
                "request_header" => read_header(&mut settings.request_header, key, value)?,
                "response_header" => read_header(&mut settings.response_header, key, value)?,
                _ => return Err(format!("unknown key {key:?}")),
            }
        }
        Ok(settings)
    }
}

fn read_header(header: &mut Header, key: &str, value: &Value) -> Result<(), String> {
    for (part, value) in object(value, key)? {
        let text = value
            .as_str()
            .ok_or_else(|| format!("{key}.{part} must be a string"))?;
        match part.as_str() {
            "name" if is_token(text) => header.name = text.to_ascii_lowercase(),
            "name" => return Err(format!("{key}.name: {text:?} is not a header name")),
            "value" if is_field_value(text) => header.value = text.to_owned(),
            "value" => return Err(format!("{key}.value: {text:?} is not a header value")),
            _ => return Err(format!("unknown key {key}.{part}")),
        }
    }
    Ok(())
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| format!("{what} must be a JSON object"))
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// RFC 9110 §5.5, visible ASCII and inner blanks only.
fn is_field_value(text: &str) -> bool {
    text == text.trim() && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::{Header, Settings};

    fn error(configuration: &str) -> String {
        Settings::from_json(configuration.as_bytes()).unwrap_err()
    }

    #[test]
    fn no_configuration_gives_the_defaults() {
        for configuration in ["", " \n", "{}"] {
            let settings = Settings::from_json(configuration.as_bytes()).unwrap();
            assert_eq!(settings, Settings::default());
        }
        assert_eq!(Settings::default().request_header.name, "x-sidecar-wasm");
        assert_eq!(Settings::default().response_header.name, "x-wasm-filter");
    }

    #[test]
    fn both_headers_can_be_named() {
        let settings = Settings::from_json(
            br#"{"request_header": {"name": "X-Seen-By", "value": "a b"}, "response_header": {"value": "v"}}"#,
        )
        .unwrap();
        let expected = Header {
            name: "x-seen-by".to_owned(),
            value: "a b".to_owned(),
        };
        assert_eq!(settings.request_header, expected);
        assert_eq!(settings.response_header.name, "x-wasm-filter");
        assert_eq!(settings.response_header.value, "v");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        assert!(error("{").contains("not JSON"));
        assert!(error("\u{0}").contains("not JSON"));
        assert!(Settings::from_json(b"\xff").is_err());
    }

    #[test]
    fn json_of_another_shape_is_refused_by_name() {
        assert!(error("[]").contains("must be a JSON object"));
        assert!(error(r#"{"request_header": "x"}"#).contains("request_header must be"));
        assert!(error(r#"{"request_header": {"name": 1}}"#).contains("request_header.name must be"));
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_by_name() {
        assert!(error(r#"{"request_headers": {}}"#).contains("request_headers"));
        assert!(error(r#"{"request_header": {"nam": "x"}}"#).contains("request_header.nam"));
    }

    #[test]
    fn a_header_that_could_split_a_message_is_refused() {
        assert!(error(r#"{"request_header": {"name": "a b"}}"#).contains("not a header name"));
        assert!(error(r#"{"request_header": {"name": ""}}"#).contains("not a header name"));
        assert!(error(r#"{"request_header": {"name": ":path"}}"#).contains("not a header name"));
        assert!(
            error(r#"{"response_header": {"value": "a\r\nb: c"}}"#).contains("not a header value")
        );
    }
}
