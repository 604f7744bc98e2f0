//! Entries that wait for the stream: so many at most, the newest go.

/// What is to be sent, and when a stream may be opened.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Vec<Vec<u8>>,
    pub dropped: u64,
    /// The stream that is open, and whether it was told whose log it is.
    stream: Option<u32>,
    is_greeted: bool,
    /// Ticks until a stream may be opened again.
    pause: u32,
    /// How long the next pause is.
    next_pause: u32,
}

const MOST_PAUSE: u32 = 64;

impl Outbox {
    /// Takes an entry, or drops it where `limit` wait already.
    pub fn put(&mut self, entry: Vec<u8>, limit: usize) {
        if self.waiting.len() < limit {
            self.waiting.push(entry);
        } else {
            self.dropped += 1;
        }
    }

    /// A moment has passed; true where a stream should be opened now.
    pub fn wants_stream(&mut self) -> bool {
        self.pause = self.pause.saturating_sub(1);
        self.stream.is_none() && self.pause == 0 && !self.waiting.is_empty()
    }

    pub fn opened(&mut self, stream: u32) {
        self.stream = Some(stream);
        self.is_greeted = false;
    }

    /// The stream is over, or could not be opened: the pause doubles each time.
    pub fn closed(&mut self) {
        self.stream = None;
        self.next_pause = (self.next_pause * 2).clamp(1, MOST_PAUSE);
        self.pause = self.next_pause;
    }

    pub fn is_open(&self, stream: u32) -> bool {
        self.stream == Some(stream)
    }

    /// What goes on the open stream now: at most `most` entries, and whether they are its first.
    pub fn take(&mut self, most: usize) -> Option<(u32, bool, Vec<Vec<u8>>)> {
        let stream = self.stream?;
        if self.waiting.is_empty() {
            return None;
        }
        let rest = self.waiting.split_off(most.min(self.waiting.len()));
        let batch = std::mem::replace(&mut self.waiting, rest);
        let is_first = !std::mem::replace(&mut self.is_greeted, true);
        self.next_pause = 0;
        Some((stream, is_first, batch))
    }
}

#[cfg(test)]
mod tests {
    use super::Outbox;

    #[test]
    fn entries_go_in_order_and_in_batches_and_the_first_one_greets() {
        let mut outbox = Outbox::default();
        assert!(!outbox.wants_stream());
        for entry in [b"a", b"b", b"c"] {
            outbox.put(entry.to_vec(), 10);
        }
        assert!(outbox.wants_stream());
        assert_eq!(outbox.take(2), None);
        outbox.opened(7);
        assert!(!outbox.wants_stream() && outbox.is_open(7) && !outbox.is_open(8));
        assert_eq!(
            outbox.take(2),
            Some((7, true, vec![b"a".to_vec(), b"b".to_vec()]))
        );
        assert_eq!(outbox.take(2), Some((7, false, vec![b"c".to_vec()])));
        assert_eq!(outbox.take(2), None);
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let mut outbox = Outbox::default();
        for _ in 0..5 {
            outbox.put(Vec::new(), 3);
        }
        assert_eq!(outbox.dropped, 2);
    }

    #[test]
    fn a_stream_that_fails_is_opened_again_after_a_pause_that_grows() {
        let mut outbox = Outbox::default();
        outbox.put(Vec::new(), 3);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            outbox.closed();
            let mut ticks = 1;
            while !outbox.wants_stream() {
                ticks += 1;
            }
            pauses.push(ticks);
        }
        assert_eq!(pauses, [1, 2, 4, 8]);
        outbox.opened(1);
        outbox.take(1);
        outbox.put(Vec::new(), 3);
        outbox.closed();
        assert!(outbox.wants_stream());
    }
}
