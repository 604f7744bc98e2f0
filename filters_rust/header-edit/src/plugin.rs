//! The binding to the proxy.

use std::rc::Rc;

use filter_kit::binding::{HttpFilter, HttpRoot};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, LogLevel, MapType};

use crate::rules::{Headers, Rules, Side};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| HttpRoot::<Rules>::boxed());
}}

impl HttpFilter for Rules {
    const NAME: &'static str = "header-edit";

    fn from_json(configuration: &[u8]) -> Result<Rules, String> {
        Rules::from_json(configuration)
    }

    fn stream(self: &Rc<Rules>) -> Box<dyn HttpContext> {
        Box::new(Stream {
            rules: Rc::clone(self),
            path: Vec::new(),
        })
    }
}

struct Stream {
    rules: Rc<Rules>,
    path: Vec<u8>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        // As the client sent it: a rule may edit the path, the ones behind it go by what was asked for.
        self.path = self
            .get_http_request_header_bytes(":path")
            .unwrap_or_default();
        if self.rules.have(Side::Request) {
            self.rules.apply(
                Side::Request,
                &self.path,
                &mut Map(MapType::HttpRequestHeaders),
            );
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if self.rules.have(Side::Response) {
            self.rules.apply(
                Side::Response,
                &self.path,
                &mut Map(MapType::HttpResponseHeaders),
            );
        }
        Action::Continue
    }
}

/// A map of the proxy's. Edits that the proxy refuses must not fail the stream.
struct Map(MapType);

impl Headers for Map {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        hostcalls::get_map_value_bytes(self.0, name).ok().flatten()
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        let _ = hostcalls::set_map_value_bytes(self.0, name, Some(value));
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        let _ = hostcalls::add_map_value_bytes(self.0, name, value);
    }

    fn remove(&mut self, name: &str) {
        let _ = hostcalls::remove_map_value(self.0, name);
    }
}
