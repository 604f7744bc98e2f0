//! The binding to the proxy: the request waits while the service is asked.

use std::rc::Rc;
use std::time::Duration;

use filter_kit::binding::{log, HttpFilter, HttpRoot};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

use crate::decision::{Settings, Verdict};

/// Bytes of a refusal's body that are handed on.
const MAX_BODY: usize = 64 * 1024;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| HttpRoot::<Settings>::boxed());
}}

impl HttpFilter for Settings {
    const NAME: &'static str = "auth-callout";

    fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        Settings::from_json(configuration)
    }

    fn stream(self: &Rc<Settings>) -> Box<dyn HttpContext> {
        Box::new(Stream {
            settings: Rc::clone(self),
        })
    }
}

struct Stream {
    settings: Rc<Settings>,
}

impl Stream {
    /// Asks; false where nobody can be.
    fn ask(&self, path: &[u8]) -> bool {
        let settings = &self.settings;
        let read = |name: &str| {
            let value = self.get_http_request_header_bytes(name)?;
            // The SDK takes text here; a service that is asked has no use for other bytes.
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        let method = read(":method").unwrap_or_default();
        let host = read(":authority").unwrap_or_default();
        let path = String::from_utf8_lossy(path);
        let names = settings.request_headers.iter();
        let kept: Vec<_> = names
            .filter_map(|name| Some((name.as_str(), read(name)?)))
            .collect();
        let mut headers = vec![
            (":method", "GET"),
            (":path", settings.path.as_str()),
            (":authority", settings.authority.as_str()),
            ("x-original-method", &method),
            ("x-original-host", &host),
            ("x-original-path", &path),
        ];
        headers.extend(kept.iter().map(|(name, value)| (*name, value.as_str())));
        let timeout = Duration::from_millis(settings.timeout_ms);
        self.dispatch_http_call(&settings.cluster, headers, None, Vec::new(), timeout)
            .is_ok()
    }

    /// Answers the client where the verdict says so; false lets the request pass.
    fn refuse(&self, verdict: Verdict, headers: Vec<(&str, &str)>, body: &[u8]) -> bool {
        match verdict {
            Verdict::Allow => return false,
            Verdict::Deny(status) => self.send_http_response(status, headers, Some(body)),
            Verdict::Unavailable => {
                log(
                    LogLevel::Warn,
                    "auth-callout: the service could not be asked",
                );
                let headers = vec![("content-type", "text/plain")];
                self.send_http_response(503, headers, Some(b"authorization is not available\n"));
            }
        }
        true
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _call: u32, headers: usize, size: usize, _trailers: usize) {
        // No headers are no answer. The SDK panics where it is asked for one of them then.
        let text = match headers {
            0 => None,
            _ => self.get_http_call_response_header_bytes(":status"),
        };
        let status = text.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
        let verdict = self.settings.judge(status);
        if verdict == Verdict::Allow {
            if status.is_some_and(|status| status < 300) {
                for name in &self.settings.upstream_headers {
                    if let Some(value) = self.get_http_call_response_header_bytes(name) {
                        self.set_http_request_header_bytes(name, Some(&value));
                    }
                }
            }
            self.resume_http_request();
            return;
        }
        let body = self
            .get_http_call_response_body(0, size.min(MAX_BODY))
            .unwrap_or_default();
        let mut kept = Vec::new();
        for name in self.settings.client_headers.iter().filter(|_| headers > 0) {
            let value = self.get_http_call_response_header_bytes(name);
            if let Some(value) = value.and_then(|value| String::from_utf8(value).ok()) {
                kept.push((name.as_str(), value));
            }
        }
        let headers = kept
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.refuse(verdict, headers, &body);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        // Removed first: a client must not be able to send what the service says.
        for name in &self.settings.upstream_headers {
            self.remove_http_request_header(name);
        }
        let path = self
            .get_http_request_header_bytes(":path")
            .unwrap_or_default();
        if self.settings.skips(&path) {
            return Action::Continue;
        }
        if self.ask(&path) || self.refuse(self.settings.judge(None), Vec::new(), b"") {
            return Action::Pause;
        }
        Action::Continue
    }
}
