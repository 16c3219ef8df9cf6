//! A channel's topic: `load/RUN/WORKER/CHANNEL`, the run in hexadecimal.

use std::fmt::Write as _;

/// Names the channels of one run and worker.
#[derive(Debug)]
pub(super) struct Topics {
    /// Everything before the channel, and at times a channel behind it.
    buffer: String,
    prefix_bytes: usize,
    channels: u32,
}

impl Topics {
    pub(super) fn new(run: u64, worker: u32, channels: u32) -> Self {
        let buffer = format!("load/{run:x}/{worker}/");
        Self { prefix_bytes: buffer.len(), buffer, channels }
    }

    /// The topic of `channel`.
    pub(super) fn name(&mut self, channel: u32) -> &str {
        self.buffer.truncate(self.prefix_bytes);
        // Writing to a string does not fail.
        let _ = write!(self.buffer, "{channel}");
        &self.buffer
    }

    /// The channel that a topic names. `None`: it is not one of this run and worker.
    pub(super) fn channel(&self, topic: &str) -> Option<u32> {
        let digits = topic.strip_prefix(&self.buffer[..self.prefix_bytes])?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        digits.parse().ok().filter(|channel| *channel < self.channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_leads_back_to_its_channel() {
        let mut topics = Topics::new(u64::MAX, 7, 1_001);
        assert_eq!(topics.name(12), "load/ffffffffffffffff/7/12");
        for channel in [0, 9, 10, 1_000] {
            let name = topics.name(channel).to_owned();
            assert_eq!(topics.channel(&name), Some(channel));
        }
    }

    #[test]
    fn topics_of_others_lead_nowhere() {
        let mut topics = Topics::new(0xab, 7, 10);
        // What was named last must not matter.
        topics.name(3);
        let others = [
            "",
            "load/ab/7/",
            "load/ab/7/10",
            "load/ab/7/03",
            "load/ab/7/+3",
            "load/ab/7/3/",
            "load/ab/7/-0",
            "load/ab/7/4294967296",
            "load/ab/8/3",
            "load/ac/7/3",
            "load/AB/7/3",
            "/load/ab/7/3",
            "load/ab/73",
        ];
        for other in others {
            assert_eq!(topics.channel(other), None, "{other}");
        }
    }
}
