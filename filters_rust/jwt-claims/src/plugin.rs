//! The binding to the proxy.

use std::rc::Rc;

use filter_kit::binding::{HttpFilter, HttpRoot};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

use crate::claims::{Settings, Verdict};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| HttpRoot::<Settings>::boxed());
}}

impl HttpFilter for Settings {
    const NAME: &'static str = "jwt-claims";

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

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let value = self.get_http_request_header_bytes(&self.settings.header);
        match self.settings.judge(value.as_deref()) {
            Verdict::Pass(headers) => {
                // Removed before they are set: a client must not be able to send claims along.
                for name in self.settings.targets() {
                    self.remove_http_request_header(name);
                }
                for (name, value) in &headers {
                    self.set_http_request_header(name, Some(value));
                }
                Action::Continue
            }
            Verdict::Unauthorized => {
                let headers = vec![
                    ("www-authenticate", "Bearer"),
                    ("content-type", "text/plain"),
                ];
                self.send_http_response(401, headers, Some(b"no token\n"));
                Action::Pause
            }
            Verdict::Forbidden => {
                let headers = vec![("content-type", "text/plain")];
                self.send_http_response(403, headers, Some(b"a claim is not as required\n"));
                Action::Pause
            }
        }
    }
}
