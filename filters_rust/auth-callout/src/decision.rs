//! What is asked, and what an answer means.
//!
//! ```json
//! {"cluster": "auth", "authority": "auth.example", "path": "/check", "timeout_ms": 500,
//!  "request_headers": ["authorization", "cookie"], "upstream_headers": ["x-user"],
//!  "client_headers": ["www-authenticate"], "skip": ["/health"], "on_failure": "deny"}
//! ```
//!
//! 2xx lets the request pass, everything else below 500 is the client's answer; 5xx, no answer and no service are
//! a failure, which refuses (503) unless `on_failure` is `allow`.

use filter_kit::headers::is_under;
use filter_kit::settings::parse;

/// What the filter does.
#[derive(Debug)]
pub struct Settings {
    pub cluster: String,
    pub authority: String,
    pub path: String,
    pub timeout_ms: u64,
    /// Of the client's request, handed on in the question.
    pub request_headers: Vec<String>,
    /// Of an answer that lets pass, put into the request; a client cannot send them.
    pub upstream_headers: Vec<String>,
    /// Of an answer that refuses, handed on to the client.
    pub client_headers: Vec<String>,
    skip: Vec<String>,
    pub allows_on_failure: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// With the status of the answer.
    Deny(u32),
    /// Nobody could be asked.
    Unavailable,
}

impl Settings {
    /// Reads the configuration. The error is a sentence for the operator's log.
    pub fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        let mut root = parse(configuration)?;
        let cluster = root.string("cluster")?.ok_or("cluster is missing")?;
        let settings = Settings {
            authority: root.string("authority")?.unwrap_or_else(|| cluster.clone()),
            path: root.string("path")?.unwrap_or_else(|| "/".to_owned()),
            timeout_ms: root.number("timeout_ms", 1, 3_600_000)?.unwrap_or(1000),
            request_headers: root
                .header_names("request_headers")?
                .unwrap_or_else(|| vec!["authorization".to_owned(), "cookie".to_owned()]),
            upstream_headers: root.header_names("upstream_headers")?.unwrap_or_default(),
            client_headers: root.header_names("client_headers")?.unwrap_or_default(),
            skip: root.strings("skip")?.unwrap_or_default(),
            allows_on_failure: match root.string("on_failure")?.as_deref() {
                Some("deny") | None => false,
                Some("allow") => true,
                Some(_) => return Err("on_failure must be deny or allow".to_owned()),
            },
            cluster,
        };
        root.finish()?;
        if !settings.path.starts_with('/') {
            return Err("path must begin with /".to_owned());
        }
        Ok(settings)
    }

    /// True for paths that nobody is asked about.
    pub fn skips(&self, path: &[u8]) -> bool {
        self.skip.iter().any(|root| is_under(path, root.as_bytes()))
    }

    /// What an answer means; None is no answer.
    pub fn judge(&self, status: Option<u32>) -> Verdict {
        match status {
            Some(200..=299) => Verdict::Allow,
            Some(status @ 300..=499) => Verdict::Deny(status),
            _ if self.allows_on_failure => Verdict::Allow,
            _ => Verdict::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        Settings::from_json(format!(r#"{{"cluster": "auth"{more}}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn the_status_of_the_answer_decides() {
        let made = settings("");
        assert_eq!(made.judge(Some(200)), Verdict::Allow);
        assert_eq!(made.judge(Some(204)), Verdict::Allow);
        assert_eq!(made.judge(Some(401)), Verdict::Deny(401));
        assert_eq!(made.judge(Some(302)), Verdict::Deny(302));
        for failed in [None, Some(500), Some(503), Some(100)] {
            assert_eq!(made.judge(failed), Verdict::Unavailable);
            assert_eq!(
                settings(r#", "on_failure": "allow""#).judge(failed),
                Verdict::Allow
            );
        }
    }

    #[test]
    fn nobody_is_asked_about_paths_that_are_skipped() {
        let made = settings(r#", "skip": ["/health", "/public/"]"#);
        assert!(made.skips(b"/health?x") && made.skips(b"/public/a"));
        assert!(!made.skips(b"/healthy") && !made.skips(b"/x?/health"));
    }

    #[test]
    fn what_is_not_said_has_defaults() {
        let made = settings("");
        assert_eq!(
            (made.authority.as_str(), made.path.as_str(), made.timeout_ms),
            ("auth", "/", 1000)
        );
        assert_eq!(made.request_headers, ["authorization", "cookie"]);
    }

    #[test]
    fn problems_are_named() {
        let problem = |text: &str| Settings::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(problem(""), "cluster is missing");
        assert_eq!(
            problem(r#"{"cluster": "a", "path": "x"}"#),
            "path must begin with /"
        );
        assert_eq!(
            problem(r#"{"cluster": "a", "on_failure": "x"}"#),
            "on_failure must be deny or allow"
        );
        assert_eq!(
            problem(r#"{"cluster": "a", "timeout": 1}"#),
            "unknown key timeout"
        );
    }
}
