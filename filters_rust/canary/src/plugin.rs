//! The binding to the proxy.

use std::rc::Rc;

use filter_kit::binding::{HttpFilter, HttpRoot};
use filter_kit::headers::without_port;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel};

use crate::choice::{Choice, Key, Settings};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| HttpRoot::<Settings>::boxed());
}}

impl HttpFilter for Settings {
    const NAME: &'static str = "canary";

    fn from_json(configuration: &[u8]) -> Result<Settings, String> {
        Settings::from_json(configuration)
    }

    fn stream(self: &Rc<Settings>) -> Box<dyn HttpContext> {
        Box::new(Stream {
            settings: Rc::clone(self),
            choice: None,
        })
    }
}

struct Stream {
    settings: Rc<Settings>,
    choice: Option<Choice>,
}

impl Stream {
    fn key(&self) -> Vec<u8> {
        let given = match &self.settings.key {
            Key::Header(name) => self.get_http_request_header_bytes(name),
            Key::Address => None,
        };
        given.unwrap_or_else(|| {
            let address = self
                .get_property(vec!["source", "address"])
                .unwrap_or_default();
            without_port(&address).to_vec()
        })
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let settings = &self.settings;
        let force_header = settings.force_header.as_ref();
        let force = force_header.and_then(|name| self.get_http_request_header_bytes(name));
        let cookies = settings
            .cookie
            .as_ref()
            .and_then(|_| self.get_http_request_header_bytes("cookie"));
        let choice = settings.choose(force.as_deref(), cookies.as_deref(), &self.key());
        // Set, not added: a client must not choose by this header.
        self.set_http_request_header(&settings.header, Some(settings.name(choice.is_canary)));
        self.choice = Some(choice);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if let Some(choice) = self.choice.as_ref().filter(|choice| choice.is_new) {
            if let Some(cookie) = self.settings.set_cookie(choice.is_canary) {
                self.add_http_response_header("set-cookie", &cookie);
            }
        }
        Action::Continue
    }
}
