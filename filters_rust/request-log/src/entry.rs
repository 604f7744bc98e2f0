//! A request as an `HTTPAccessLogEntry` of Envoy's access log service (`envoy.data.accesslog.v3`).

use crate::wire::Message;

/// What is logged of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub start_ns: u64,
    pub duration_ns: u64,
    pub cluster: Vec<u8>,
    pub route: Vec<u8>,
    pub protocol: Vec<u8>,
    pub method: Vec<u8>,
    pub scheme: Vec<u8>,
    pub authority: Vec<u8>,
    pub path: Vec<u8>,
    pub user_agent: Vec<u8>,
    pub request_id: Vec<u8>,
    pub request_headers: Vec<(String, Vec<u8>)>,
    pub request_bytes: u64,
    pub status: u64,
    pub details: Vec<u8>,
    pub response_headers: Vec<(String, Vec<u8>)>,
    pub response_bytes: u64,
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        let mut entry = Message::default();
        entry
            .message(1, |common| {
                common
                    .message(5, |time| seconds(time, self.start_ns))
                    .bytes(15, &text(&self.cluster))
                    .bytes(19, &text(&self.route))
                    .message(23, |time| seconds(time, self.duration_ns));
            })
            .number(2, protocol(&self.protocol))
            .message(3, |request| {
                request
                    .number(1, method(&self.method))
                    .bytes(2, &text(&self.scheme))
                    .bytes(3, &text(&self.authority))
                    .bytes(5, &text(&self.path))
                    .bytes(6, &text(&self.user_agent))
                    .bytes(9, &text(&self.request_id))
                    .number(12, self.request_bytes);
                pairs(request, 13, &self.request_headers);
            })
            .message(4, |response| {
                response
                    .message(1, |code| {
                        code.number(1, self.status);
                    })
                    .number(3, self.response_bytes);
                pairs(response, 4, &self.response_headers);
                response.bytes(6, &text(&self.details));
            });
        entry.finish()
    }
}

/// A message of the stream; the identifier stands in the first one.
pub fn batch(log_name: Option<&str>, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Message::default();
    if let Some(name) = log_name {
        message.message(1, |identifier| {
            identifier.message(1, |_node| {}).bytes(2, name.as_bytes());
        });
    }
    message.message(2, |logs| {
        for entry in entries {
            logs.nested(1, entry);
        }
    });
    message.finish()
}

fn seconds(time: &mut Message, nanoseconds: u64) {
    time.number(1, nanoseconds / 1_000_000_000)
        .number(2, nanoseconds % 1_000_000_000);
}

fn pairs(message: &mut Message, field: u32, headers: &[(String, Vec<u8>)]) {
    for (name, value) in headers {
        message.message(field, |pair| {
            pair.bytes(1, name.as_bytes()).bytes(2, &text(value));
        });
    }
}

/// Strings must be UTF-8.
fn text(bytes: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(bytes).into_owned().into_bytes()
}

fn protocol(name: &[u8]) -> u64 {
    match name {
        b"HTTP/1.0" => 1,
        b"HTTP/1.1" => 2,
        b"HTTP/2" => 3,
        b"HTTP/3" => 4,
        _ => 0,
    }
}

fn method(name: &[u8]) -> u64 {
    const METHODS: [&[u8]; 9] = [
        b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
    ];
    METHODS
        .iter()
        .position(|each| *each == name)
        .map_or(0, |index| index as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_by_the_numbers_of_its_fields() {
        let entry = Entry {
            start_ns: 1_000_000_002,
            protocol: b"HTTP/1.1".to_vec(),
            method: b"PATCH".to_vec(),
            path: b"/\xff".to_vec(),
            status: 200,
            response_headers: vec![("x".to_owned(), b"y".to_vec())],
            ..Entry::default()
        };
        let expected = b"\x0a\x09\x2a\x04\x08\x01\x10\x02\xba\x01\x00\
            \x10\x02\
            \x1a\x08\x08\x09\x2a\x04/\xef\xbf\xbd\
            \x22\x0d\x0a\x03\x08\xc8\x01\x22\x06\x0a\x01x\x12\x01y";
        assert_eq!(entry.encode(), expected);
    }

    #[test]
    fn the_first_message_says_whose_log_it_is() {
        assert_eq!(
            batch(Some("n"), &[b"a".to_vec()]),
            b"\x0a\x05\x0a\x00\x12\x01n\x12\x03\x0a\x01a"
        );
        assert_eq!(
            batch(None, &[b"a".to_vec(), b"bc".to_vec()]),
            b"\x12\x07\x0a\x01a\x0a\x02bc"
        );
    }

    #[test]
    fn methods_and_protocols_that_nobody_knows_are_zero() {
        assert_eq!((method(b"GET"), method(b"get"), protocol(b"")), (1, 0, 0));
    }
}
