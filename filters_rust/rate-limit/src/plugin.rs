//! The binding to the proxy: buckets in shared data, refusals through a queue, metrics.

use std::rc::Rc;
use std::time::UNIX_EPOCH;

use filter_kit::binding::{configured, log};
use filter_kit::headers::{without_port, without_query};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};

use crate::bucket::Bucket;
use crate::settings::{Key, Settings};

/// How often a bucket is tried that others change at the same time.
const TRIES: usize = 10;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::<Root>::default() });
}}

#[derive(Clone, Copy, Default)]
struct Metrics {
    allowed: u32,
    refused: u32,
    contended: u32,
    /// What came through the queue.
    reported: u32,
}

#[derive(Default)]
struct Root {
    settings: Option<Rc<Settings>>,
    metrics: Metrics,
    queue: u32,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let read = Settings::from_json(&self.get_plugin_configuration().unwrap_or_default());
        let Some(settings) = configured("rate-limit", read) else {
            return false;
        };
        let counter =
            |name: &str| hostcalls::define_metric(MetricType::Counter, name).unwrap_or_default();
        self.metrics = Metrics {
            allowed: counter("rate_limit_allowed"),
            refused: counter("rate_limit_refused"),
            contended: counter("rate_limit_contended"),
            reported: counter("rate_limit_reported"),
        };
        self.queue = self.register_shared_queue(&settings.queue);
        self.settings = Some(Rc::new(settings));
        true
    }

    /// Refusals are told one by one, wherever they happened: one worker reads them for all.
    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(key)) = self.dequeue_shared_queue(queue) {
            count(self.metrics.reported);
            log(
                LogLevel::Info,
                &format!("rate-limit: refused {}", String::from_utf8_lossy(&key)),
            );
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let settings = Rc::clone(self.settings.as_ref()?);
        Some(Box::new(Stream {
            settings,
            metrics: self.metrics,
            queue: self.queue,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    settings: Rc<Settings>,
    metrics: Metrics,
    queue: u32,
}

impl Stream {
    fn key(&self) -> Vec<u8> {
        match &self.settings.key {
            Key::All => Vec::new(),
            Key::Header(name) => self.get_http_request_header_bytes(name).unwrap_or_default(),
            Key::Address => {
                let address = self
                    .get_property(vec!["source", "address"])
                    .unwrap_or_default();
                without_port(&address).to_vec()
            }
            Key::Path => {
                let path = self
                    .get_http_request_header_bytes(":path")
                    .unwrap_or_default();
                without_query(&path).to_vec()
            }
        }
    }

    /// Takes a token; Err(seconds) where there is none before so long.
    fn take(&self, key: &str) -> Result<u64, u64> {
        let shape = &self.settings.shape;
        let since = self
            .get_current_time()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now_ns = since.as_nanos() as u64;
        for _ in 0..TRIES {
            let (kept, cas) = self.get_shared_data(key);
            let bucket = kept
                .and_then(|bytes| Bucket::from_bytes(&bytes))
                .unwrap_or(Bucket::new(shape, now_ns));
            let Some(left) = bucket.take(shape, now_ns) else {
                return Err(bucket.retry_after_s(shape, now_ns));
            };
            if self
                .set_shared_data(key, Some(&left.to_bytes()), cas)
                .is_ok()
            {
                return Ok(left.tokens);
            }
            count(self.metrics.contended);
        }
        // Others took tokens all the while: who cannot write down what it takes is let through.
        Ok(0)
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let key = self.settings.bucket(&self.key());
        match self.take(&key) {
            Ok(left) => {
                count(self.metrics.allowed);
                self.set_http_request_header("x-rate-limit-remaining", Some(&left.to_string()));
                Action::Continue
            }
            Err(seconds) => {
                count(self.metrics.refused);
                let _ = self.enqueue_shared_queue(self.queue, Some(key.as_bytes()));
                let after = seconds.to_string();
                let headers = vec![
                    ("retry-after", after.as_str()),
                    ("content-type", "text/plain"),
                ];
                self.send_http_response(
                    self.settings.status,
                    headers,
                    Some(b"too many requests\n"),
                );
                Action::Pause
            }
        }
    }
}

fn count(metric: u32) {
    let _ = hostcalls::increment_metric(metric, 1);
}
