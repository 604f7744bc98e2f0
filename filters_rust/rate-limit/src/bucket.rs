//! A token bucket as a value of 16 bytes, which lives in the proxy's shared data.

/// Tokens that a bucket holds, and how they come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub max_tokens: u64,
    pub tokens_per_fill: u64,
    pub fill_interval_ns: u64,
}

/// What is in a bucket, and up to when it was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub tokens: u64,
    pub filled_ns: u64,
}

impl Bucket {
    /// A full one.
    pub fn new(shape: &Shape, now_ns: u64) -> Bucket {
        Bucket {
            tokens: shape.max_tokens,
            filled_ns: now_ns,
        }
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Bucket> {
        let number = |part: &[u8]| Some(u64::from_le_bytes(part.try_into().ok()?));
        let (tokens, filled) = (bytes.get(..8)?, bytes.get(8..)?);
        Some(Bucket {
            tokens: number(tokens)?,
            filled_ns: number(filled)?,
        })
    }

    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[8..].copy_from_slice(&self.filled_ns.to_le_bytes());
        bytes
    }

    /// Fills the bucket up to now and takes a token; None where there is none.
    pub fn take(self, shape: &Shape, now_ns: u64) -> Option<Bucket> {
        let mut full = self;
        let fills = now_ns.saturating_sub(self.filled_ns) / shape.fill_interval_ns;
        full.tokens = self
            .tokens
            .saturating_add(fills.saturating_mul(shape.tokens_per_fill));
        full.tokens = full.tokens.min(shape.max_tokens);
        // Whole intervals only: what has passed of the next one counts for the next fill.
        full.filled_ns = self
            .filled_ns
            .saturating_add(fills.saturating_mul(shape.fill_interval_ns));
        full.tokens = full.tokens.checked_sub(1)?;
        Some(full)
    }

    /// Seconds until the next fill, rounded up.
    pub fn retry_after_s(self, shape: &Shape, now_ns: u64) -> u64 {
        let since = now_ns.saturating_sub(self.filled_ns) % shape.fill_interval_ns;
        (shape.fill_interval_ns - since)
            .div_ceil(1_000_000_000)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        max_tokens: 3,
        tokens_per_fill: 2,
        fill_interval_ns: 1_000,
    };

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_nothing() {
        let mut bucket = Bucket::new(&SHAPE, 5);
        for left in [2, 1, 0] {
            bucket = bucket.take(&SHAPE, 10).unwrap();
            assert_eq!(bucket.tokens, left);
        }
        assert_eq!(bucket.take(&SHAPE, 1_004), None);
    }

    #[test]
    fn tokens_come_back_by_whole_intervals() {
        let empty = Bucket {
            tokens: 0,
            filled_ns: 0,
        };
        assert_eq!(
            empty.take(&SHAPE, 1_999),
            Some(Bucket {
                tokens: 1,
                filled_ns: 1_000
            })
        );
        assert_eq!(
            empty.take(&SHAPE, 2_000),
            Some(Bucket {
                tokens: 2,
                filled_ns: 2_000
            })
        );
        assert_eq!(empty.take(&SHAPE, 999), None);
    }

    #[test]
    fn no_clock_makes_it_overflow_or_go_back() {
        let bucket = Bucket {
            tokens: 1,
            filled_ns: 100,
        };
        assert_eq!(
            bucket.take(&SHAPE, 0),
            Some(Bucket {
                tokens: 0,
                filled_ns: 100
            })
        );
        assert!(bucket.take(&SHAPE, u64::MAX).is_some());
    }

    #[test]
    fn a_bucket_is_read_back_as_it_was_written() {
        let bucket = Bucket {
            tokens: 7,
            filled_ns: u64::MAX,
        };
        assert_eq!(Bucket::from_bytes(&bucket.to_bytes()), Some(bucket));
        assert_eq!(Bucket::from_bytes(b"short"), None);
        assert_eq!(Bucket::from_bytes(&[0; 17]), None);
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let shape = Shape {
            fill_interval_ns: 2_500_000_000,
            ..SHAPE
        };
        let empty = Bucket {
            tokens: 0,
            filled_ns: 0,
        };
        assert_eq!(empty.retry_after_s(&shape, 0), 3);
        assert_eq!(empty.retry_after_s(&shape, 2_000_000_000), 1);
        assert_eq!(empty.retry_after_s(&SHAPE, 0), 1);
    }
}
