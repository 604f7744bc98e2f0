//! The binding to the proxy.

use std::rc::Rc;

use filter_kit::binding::{log, HttpFilter, HttpRoot};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

use crate::guard::{Body, Settings, Step};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| HttpRoot::<Settings>::boxed());
}}

impl HttpFilter for Settings {
    const NAME: &'static str = "body-guard";

    fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        Settings::from_json(configuration)
    }

    fn stream(self: &Rc<Settings>) -> Box<dyn HttpContext> {
        Box::new(Stream {
            settings: Rc::clone(self),
            request: Body::default(),
            response: Body::default(),
        })
    }
}

struct Stream {
    settings: Rc<Settings>,
    request: Body,
    response: Body,
}

impl Stream {
    fn act(&self, step: Step, side: &str) -> Action {
        match step {
            Step::Pass => Action::Continue,
            Step::Hold => Action::Pause,
            Step::Deny { pattern, at } => {
                // The pattern's number, not its text: what is forbidden does not belong into a log.
                log(
                    LogLevel::Warn,
                    &format!("body-guard: pattern {pattern} ends at byte {at} of the {side}"),
                );
                let headers = vec![("content-type", "text/plain")];
                self.send_http_response(
                    self.settings.status,
                    headers,
                    Some(b"the body is not allowed\n"),
                );
                Action::Pause
            }
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.settings.on_request {
            return Action::Continue;
        }
        let start = self.request.fresh();
        let fresh = self
            .get_http_request_body(start, size.saturating_sub(start))
            .unwrap_or_default();
        let step = self.request.look(&self.settings, &fresh, end_of_stream);
        self.act(step, "request")
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.settings.on_response {
            return Action::Continue;
        }
        let start = self.response.fresh();
        let fresh = self
            .get_http_response_body(start, size.saturating_sub(start))
            .unwrap_or_default();
        let step = self.response.look(&self.settings, &fresh, end_of_stream);
        self.act(step, "response")
    }
}
