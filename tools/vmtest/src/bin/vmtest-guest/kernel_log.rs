//! The kernel's log, record by record, from `/dev/kmsg`.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::io::Errno;
use vmtest::protocol::LogMessage;

/// Longest record of `/dev/kmsg` in bytes.
const RECORD_MAX: usize = 8192;
/// Level of the message that stands for records that were lost.
const ERROR_LEVEL: u8 = 3;

pub(crate) struct KernelLog(File);

impl KernelLog {
    /// From the oldest record on.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg").map(KernelLog)
    }

    /// From now on.
    pub(crate) fn open_at_end() -> io::Result<Self> {
        let mut log = KernelLog::open()?;
        log.0.seek(SeekFrom::End(0))?;
        Ok(log)
    }

    /// What was logged since the last call.
    pub(crate) fn new_messages(&mut self) -> Vec<LogMessage> {
        let mut messages = Vec::new();
        let mut buffer = [0; RECORD_MAX];
        loop {
            match self.0.read(&mut buffer) {
                Ok(len) => messages.extend(buffer.get(..len).and_then(parse)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return messages,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    messages.push(message(format!("vmtest: messages of the kernel are lost: {error}")));
                    // EPIPE: older records were overwritten, and the next read goes on with what is left.
                    if Errno::from_io_error(&error) != Some(Errno::PIPE) {
                        return messages;
                    }
                }
            }
        }
    }
}

fn message(text: String) -> LogMessage {
    LogMessage { level: ERROR_LEVEL, microseconds: 0, text }
}

/// A record is `LEVEL,SEQUENCE,MICROSECONDS,FLAGS[,…];TEXT`, then lines that start with a blank. The level has the
/// facility above its lowest 3 bits.
fn parse(record: &[u8]) -> Option<LogMessage> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let mut numbers = head.split(',');
    let level = numbers.next()?.parse::<u32>().ok()? & 7;
    let microseconds = numbers.nth(1)?.parse().ok()?;
    let text = text.lines().next().unwrap_or_default().to_owned();
    Some(LogMessage { level: u8::try_from(level).ok()?, microseconds, text })
}
