//! The binding to the proxy: a context per connection.

use std::rc::Rc;

use filter_kit::binding::{configured, log};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, RootContext, StreamContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType, PeerType};

use crate::guard::{Connection, From, Reason, Settings};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::<Root>::default() });
}}

#[derive(Clone, Copy, Default)]
struct Metrics {
    connections: u32,
    open: u32,
    denied: u32,
    from_client: u32,
    from_server: u32,
    /// By whom connections were closed.
    closed_by_client: u32,
    closed_here: u32,
}

#[derive(Default)]
struct Root {
    settings: Option<Rc<Settings>>,
    metrics: Metrics,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let read = Settings::from_json(&self.get_plugin_configuration().unwrap_or_default());
        self.settings = configured("tcp-echo-guard", read).map(Rc::new);
        let define = |kind, name: &str| {
            let name = format!("tcp_echo_guard_{name}");
            hostcalls::define_metric(kind, &name).unwrap_or_default()
        };
        self.metrics = Metrics {
            connections: define(MetricType::Counter, "connections"),
            open: define(MetricType::Gauge, "open"),
            denied: define(MetricType::Counter, "denied"),
            from_client: define(MetricType::Counter, "bytes_from_client"),
            from_server: define(MetricType::Counter, "bytes_from_server"),
            closed_by_client: define(MetricType::Counter, "closed_by_client"),
            closed_here: define(MetricType::Counter, "closed_here"),
        };
        self.settings.is_some()
    }

    fn create_stream_context(&self, _context_id: u32) -> Option<Box<dyn StreamContext>> {
        let settings = Rc::clone(self.settings.as_ref()?);
        let connection = Connection::default();
        Some(Box::new(Stream {
            settings,
            metrics: self.metrics,
            connection,
            is_denied: false,
            has_written: false,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::StreamContext)
    }
}

struct Stream {
    settings: Rc<Settings>,
    metrics: Metrics,
    connection: Connection,
    is_denied: bool,
    has_written: bool,
}

impl Stream {
    fn look(&mut self, from: From, data: &[u8]) -> Action {
        if self.is_denied {
            return Action::Pause;
        }
        let Some(reason) = self.connection.look(&self.settings, from, data) else {
            return Action::Continue;
        };
        self.is_denied = true;
        count(self.metrics.denied, 1);
        let what = match reason {
            Reason::Pattern(number) => format!("pattern {number}"),
            Reason::TooMuch => "too many bytes".to_owned(),
        };
        log(
            LogLevel::Warn,
            &format!("tcp-echo-guard: {what}: the connection closes"),
        );
        self.close_downstream();
        Action::Pause
    }
}

impl Context for Stream {}

impl StreamContext for Stream {
    fn on_new_connection(&mut self) -> Action {
        count(self.metrics.connections, 1);
        count(self.metrics.open, 1);
        Action::Continue
    }

    fn on_downstream_data(&mut self, size: usize, _end_of_stream: bool) -> Action {
        let data = self.get_downstream_data(0, size).unwrap_or_default();
        self.look(From::Client, &data)
    }

    fn on_upstream_data(&mut self, size: usize, _end_of_stream: bool) -> Action {
        let data = self.get_upstream_data(0, size).unwrap_or_default();
        let action = self.look(From::Server, &data);
        if action == Action::Continue && !self.has_written && !data.is_empty() {
            self.has_written = true;
            if !self.settings.banner.is_empty() {
                self.set_upstream_data(0, 0, &self.settings.banner);
            }
        }
        action
    }

    fn on_downstream_close(&mut self, peer: PeerType) {
        let closed = if peer == PeerType::Remote {
            self.metrics.closed_by_client
        } else {
            self.metrics.closed_here
        };
        count(closed, 1);
    }

    fn on_log(&mut self) {
        count(self.metrics.open, -1);
        count(self.metrics.from_client, self.connection.from_client as i64);
        count(self.metrics.from_server, self.connection.from_server as i64);
    }
}

fn count(metric: u32, offset: i64) {
    if offset != 0 {
        let _ = hostcalls::increment_metric(metric, offset);
    }
}
