//! Where the log goes, and what of it.
//!
//! ```json
//! {"cluster": "logs", "log_name": "edge", "request_headers": ["x-tenant"], "response_headers": ["server"],
//!  "flush_interval_ms": 1000, "batch": 100, "most_waiting": 10000}
//! ```

use filter_kit::settings::parse;

/// What the filter does.
#[derive(Debug)]
pub struct Settings {
    pub cluster: String,
    pub log_name: String,
    pub request_headers: Vec<String>,
    pub response_headers: Vec<String>,
    pub flush_interval_ms: u64,
    pub batch: usize,
    pub most_waiting: usize,
}

impl Settings {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut root = parse(configuration)?;
        let settings = Settings {
            cluster: root.string("cluster")?.ok_or("cluster is missing")?,
            log_name: root
                .string("log_name")?
                .unwrap_or_else(|| "request-log".to_owned()),
            request_headers: root.header_names("request_headers")?.unwrap_or_default(),
            response_headers: root.header_names("response_headers")?.unwrap_or_default(),
            flush_interval_ms: root
                .number("flush_interval_ms", 10, 3_600_000)?
                .unwrap_or(1000),
            batch: root.number("batch", 1, 10_000)?.unwrap_or(100) as usize,
            most_waiting: root.number("most_waiting", 1, 1_000_000)?.unwrap_or(10_000) as usize,
        };
        root.finish()?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn what_is_not_said_has_defaults() {
        let read = Settings::from_json(br#"{"cluster": "c"}"#).unwrap();
        assert_eq!(
            (read.log_name.as_str(), read.flush_interval_ms, read.batch),
            ("request-log", 1000, 100)
        );
    }

    #[test]
    fn problems_are_named() {
        let problem = |text: &str| Settings::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(problem(""), "cluster is missing");
        assert_eq!(
            problem(r#"{"cluster": "c", "flush_interval_ms": 1}"#),
            "flush_interval_ms must be a whole number from 10 to 3600000"
        );
        assert_eq!(
            problem(r#"{"cluster": "c", "name": "x"}"#),
            "unknown key name"
        );
    }
}
