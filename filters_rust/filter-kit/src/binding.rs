//! The binding to the proxy: a root context per plugin that reads its settings, and log lines.

use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

/// What a filter is made of: settings, and a context for each stream.
pub trait HttpFilter: Sized + 'static {
    /// The filter's name, for log lines.
    const NAME: &'static str;

    /// Reads the configuration. The error is a sentence for the operator's log.
    fn from_json(configuration: &[u8]) -> Result<Self, String>;

    /// The context of one stream.
    fn stream(self: &Rc<Self>) -> Box<dyn HttpContext>;
}

/// The root context of a filter that needs nothing besides its settings.
pub struct HttpRoot<F> {
    filter: Option<Rc<F>>,
}

impl<F: HttpFilter> HttpRoot<F> {
    pub fn boxed() -> Box<dyn RootContext> {
        Box::new(HttpRoot::<F> { filter: None })
    }
}

impl<F: HttpFilter> Context for HttpRoot<F> {}

impl<F: HttpFilter> RootContext for HttpRoot<F> {
    /// False makes the proxy refuse the plugin.
    fn on_configure(&mut self, _size: usize) -> bool {
        let read = F::from_json(&self.get_plugin_configuration().unwrap_or_default());
        self.filter = configured(F::NAME, read).map(Rc::new);
        self.filter.is_some()
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        self.filter.as_ref().map(F::stream)
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// What was read of a configuration; a problem is logged.
pub fn configured<T>(name: &str, read: Result<T, String>) -> Option<T> {
    read.map_err(|problem| log(LogLevel::Error, &format!("{name}: {problem}")))
        .ok()
}

/// A log line that cannot be written must not fail the stream.
pub fn log(level: LogLevel, message: &str) {
    let _ = hostcalls::log(level, message);
}
