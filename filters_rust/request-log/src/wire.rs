//! Protocol Buffers on the wire, as far as a log entry needs them (protobuf.dev/programming-guides/encoding).

/// A message that is being written.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number; 0 is not written, as proto3 has it.
    pub fn number(&mut self, field: u32, value: u64) -> &mut Message {
        if value != 0 {
            self.varint(u64::from(field << 3));
            self.varint(value);
        }
        self
    }

    /// Bytes or text; none are not written.
    pub fn bytes(&mut self, field: u32, value: &[u8]) -> &mut Message {
        if !value.is_empty() {
            self.nested(field, value);
        }
        self
    }

    /// A message inside of this one, also an empty one.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Message)) -> &mut Message {
        let mut inner = Message::default();
        write(&mut inner);
        self.nested(field, &inner.0);
        self
    }

    /// What is written already, as a field.
    pub fn nested(&mut self, field: u32, written: &[u8]) {
        self.varint(u64::from(field << 3 | 2));
        self.varint(written.len() as u64);
        self.0.extend_from_slice(written);
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn fields_are_written_as_the_guide_shows_them() {
        let mut message = Message::default();
        message
            .number(1, 150)
            .bytes(2, b"testing")
            .message(3, |inner| {
                inner.number(1, 150);
            });
        assert_eq!(
            message.finish(),
            b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01"
        );
    }

    #[test]
    fn what_is_nothing_is_left_out_but_for_messages() {
        let mut message = Message::default();
        message.number(1, 0).bytes(2, b"").message(16, |_| {});
        assert_eq!(message.finish(), b"\x82\x01\x00");
    }
}
