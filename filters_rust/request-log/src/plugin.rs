//! The binding to the proxy: streams write down entries, the root context sends them on its tick.
//!
//! A gRPC stream belongs to the context that opened it, so only the root, which stays, opens and writes one.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use filter_kit::binding::{configured, log};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel, MetricType};

use crate::entry::{batch, Entry};
use crate::outbox::Outbox;
use crate::settings::Settings;

const SERVICE: &str = "envoy.service.accesslog.v3.AccessLogService";
const METHOD: &str = "StreamAccessLogs";

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::<Root>::default() });
}}

#[derive(Default)]
struct Root {
    settings: Option<Rc<Settings>>,
    outbox: Rc<RefCell<Outbox>>,
    sent: u32,
    dropped: u32,
}

impl Root {
    fn open(&self, settings: &Settings) {
        match self.open_grpc_stream(&settings.cluster, SERVICE, METHOD, Vec::new()) {
            Ok(stream) => self.outbox.borrow_mut().opened(stream),
            Err(status) => {
                log(
                    LogLevel::Warn,
                    &format!("request-log: no stream to {}: {status:?}", settings.cluster),
                );
                self.outbox.borrow_mut().closed();
            }
        }
    }

    fn flush(&self, settings: &Settings) {
        loop {
            let Some((stream, is_first, entries)) = self.outbox.borrow_mut().take(settings.batch)
            else {
                break;
            };
            let name = is_first.then_some(settings.log_name.as_str());
            self.send_grpc_stream_message(stream, Some(&batch(name, &entries)), false);
            count(self.sent, entries.len() as i64);
        }
        let dropped = std::mem::take(&mut self.outbox.borrow_mut().dropped);
        count(self.dropped, dropped as i64);
    }
}

impl Context for Root {
    fn on_grpc_stream_close(&mut self, stream: u32, status: u32) {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_open(stream) {
            log(
                LogLevel::Warn,
                &format!("request-log: the stream closed with status {status}"),
            );
            outbox.closed();
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let read = Settings::from_json(&self.get_plugin_configuration().unwrap_or_default());
        let Some(settings) = configured("request-log", read) else {
            return false;
        };
        let counter =
            |name: &str| hostcalls::define_metric(MetricType::Counter, name).unwrap_or_default();
        self.sent = counter("request_log_sent");
        self.dropped = counter("request_log_dropped");
        self.set_tick_period(Duration::from_millis(settings.flush_interval_ms));
        self.settings = Some(Rc::new(settings));
        true
    }

    fn on_tick(&mut self) {
        let Some(settings) = self.settings.clone() else {
            return;
        };
        let wants_stream = self.outbox.borrow_mut().wants_stream();
        if wants_stream {
            self.open(&settings);
        }
        self.flush(&settings);
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let settings = Rc::clone(self.settings.as_ref()?);
        Some(Box::new(Stream {
            settings,
            outbox: Rc::clone(&self.outbox),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    settings: Rc<Settings>,
    outbox: Rc<RefCell<Outbox>>,
}

impl Stream {
    fn text(&self, path: &[&str]) -> Vec<u8> {
        self.get_property(path.to_vec()).unwrap_or_default()
    }

    fn number(&self, path: &[&str]) -> u64 {
        let bytes = self.text(path);
        bytes
            .try_into()
            .map(i64::from_le_bytes)
            .map_or(0, |number| number.max(0) as u64)
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_log(&mut self) {
        let request =
            |name: &String| Some((name.clone(), self.get_http_request_header_bytes(name)?));
        let response =
            |name: &String| Some((name.clone(), self.get_http_response_header_bytes(name)?));
        let entry = Entry {
            start_ns: self.number(&["request", "time"]),
            duration_ns: self.number(&["request", "duration"]),
            cluster: self.text(&["xds", "cluster_name"]),
            route: self.text(&["xds", "route_name"]),
            protocol: self.text(&["request", "protocol"]),
            method: self.text(&["request", "method"]),
            scheme: self.text(&["request", "scheme"]),
            authority: self.text(&["request", "host"]),
            path: self.text(&["request", "path"]),
            user_agent: self.text(&["request", "useragent"]),
            request_id: self.text(&["request", "id"]),
            request_headers: self
                .settings
                .request_headers
                .iter()
                .filter_map(request)
                .collect(),
            request_bytes: self.number(&["request", "size"]),
            status: self.number(&["response", "code"]),
            details: self.text(&["response", "code_details"]),
            response_headers: self
                .settings
                .response_headers
                .iter()
                .filter_map(response)
                .collect(),
            response_bytes: self.number(&["response", "size"]),
        };
        self.outbox
            .borrow_mut()
            .put(entry.encode(), self.settings.most_waiting);
    }
}

fn count(metric: u32, offset: i64) {
    if offset != 0 {
        let _ = hostcalls::increment_metric(metric, offset);
    }
}
