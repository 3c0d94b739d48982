//! Where the messages of a gRPC stream end: a flag, four bytes of length, and that many bytes.

/// Bytes before a message.
const HEAD: u8 = 5;

/// Follows a stream of messages, wherever its pieces are cut.
#[derive(Debug, Clone, Default)]
pub(crate) struct Messages {
    /// Bytes of the current head that were seen.
    seen: u8,
    /// Bytes of the current message that are to come.
    left: u32,
}

impl Messages {
    /// Takes bytes up to the end of the current message: how many these are, or `None` where it does
    /// not end within them and all were taken.
    pub(crate) fn take(&mut self, data: &[u8]) -> Option<usize> {
        let mut at = 0;
        while self.seen < HEAD {
            let byte = *data.get(at)?;
            at += 1;
            if self.seen > 0 {
                self.left = (self.left << 8) | u32::from(byte);
            }
            self.seen += 1;
        }
        let available = data.len().saturating_sub(at);
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        if left <= available {
            *self = Self::default();
            return Some(at + left);
        }
        self.left = self
            .left
            .saturating_sub(u32::try_from(available).unwrap_or(u32::MAX));
        None
    }

    /// Takes bytes; how many messages end within them.
    pub(crate) fn count(&mut self, mut data: &[u8]) -> u64 {
        let mut ended = 0;
        while let Some(end) = self.take(data) {
            ended += 1;
            data = data.get(end..).unwrap_or_default();
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(5 + length, 7);
        bytes
    }

    #[test]
    fn messages_are_counted_wherever_they_are_cut() {
        let stream = [message(0), message(1), message(700), message(0)].concat();
        for step in [1, 2, 3, 5, 7, 64, stream.len()] {
            let mut messages = Messages::default();
            let ended: u64 = stream.chunks(step).map(|it| messages.count(it)).sum();
            assert_eq!(ended, 4, "in steps of {step}");
        }
        assert_eq!(Messages::default().count(&stream[..stream.len() - 1]), 3);
    }

    #[test]
    fn a_length_of_4_gib_is_only_a_number() {
        let mut messages = Messages::default();
        assert_eq!(messages.take(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2]), None);
        assert_eq!(messages.left, u32::MAX - 2);
    }
}
