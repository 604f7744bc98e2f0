//! The binding to the proxy: one root context per plugin, one HTTP context per stream.

use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use crate::guard::is_closed;
use crate::settings::Settings;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::<Root>::default() });
}}

/// Holds the settings that every stream of this plugin shares.
#[derive(Default)]
struct Root {
    settings: Rc<Settings>,
}

impl Context for Root {}

impl RootContext for Root {
    /// False makes the proxy refuse the plugin.
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        match Settings::from_json(&configuration) {
            Ok(settings) => {
                self.settings = Rc::new(settings);
                true
            }
            Err(reason) => {
                log(LogLevel::Error, &format!("header-guard: {reason}"));
                false
            }
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            settings: Rc::clone(&self.settings),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    settings: Rc<Settings>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        // Bytes, because the SDK's text form panics on a path that is no UTF-8.
        let path = self
            .get_http_request_header_bytes(":path")
            .unwrap_or_default();
        if is_closed(&path) {
            log(LogLevel::Info, "header-guard: closed path, answered 403");
            self.send_http_response(
                403,
                vec![("content-type", "text/plain")],
                Some(b"forbidden\n"),
            );
            return Action::Pause;
        }
        // Set, not added: a client must not be able to send the mark along.
        let header = &self.settings.request_header;
        self.set_http_request_header(&header.name, Some(&header.value));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let header = &self.settings.response_header;
        self.add_http_response_header(&header.name, &header.value);
        Action::Continue
    }
}

/// A log line that cannot be written must not fail the stream.
fn log(level: LogLevel, message: &str) {
    let _ = hostcalls::log(level, message);
}
