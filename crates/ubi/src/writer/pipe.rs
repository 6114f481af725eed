//! Reading and writing at the same time: one thread fills buffers, the caller's empties them.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::fill::Filler;
use super::{Progress, WriteError};

/// Buffers that go round.
const BUFFERS: usize = 3;
/// Bytes of a buffer, when a PEB is not larger.
const BUFFER: usize = 1 << 20;

/// Writes all PEBs, with that number in their headers; returns the number that follows from what was read.
pub(super) fn run(
    filler: &Filler<'_>,
    image_seq: u32,
    output: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<u32, WriteError> {
    let total = filler.image_len();
    let most = usize::try_from(total).unwrap_or(usize::MAX);
    let peb = filler.peb_size();
    let buffer_len = (BUFFER / peb).max(1).saturating_mul(peb).min(most);
    thread::scope(|scope| {
        let (empty_out, empty_in) = sync_channel(BUFFERS);
        let (full_out, full_in) = sync_channel(BUFFERS);
        let reader = scope.spawn(move || read(filler, image_seq, &empty_in, &full_out));
        for _ in 0..BUFFERS {
            // Room for all of them, and the other end is there as long as the reader runs.
            let _ = empty_out.send(vec![0; buffer_len]);
        }
        let written = write(output, total, &full_in, &empty_out, progress);
        // With nobody to take its buffers the reader ends.
        drop((full_in, empty_out));
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(read)
    })
}

type Buffer = Vec<u8>;

fn read(
    filler: &Filler<'_>,
    image_seq: u32,
    empty: &Receiver<Buffer>,
    full: &SyncSender<(Buffer, usize)>,
) -> Result<u32, WriteError> {
    let mut pebs = filler.start(image_seq);
    while let Ok(mut buffer) = empty.recv() {
        let used = pebs.next_into(&mut buffer)?;
        if used == 0 || full.send((buffer, used)).is_err() {
            break;
        }
    }
    Ok(pebs.image_seq())
}

fn write(
    output: &mut dyn Write,
    total: u64,
    full: &Receiver<(Buffer, usize)>,
    empty: &SyncSender<Buffer>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), WriteError> {
    let mut done = 0;
    while let Ok((buffer, used)) = full.recv() {
        output.write_all(&buffer[..used]).map_err(WriteError::Write)?;
        done += used as u64;
        progress(Progress { bytes_done: done, bytes_total: total });
        // When the reader is at its end, nobody takes it back.
        let _ = empty.send(buffer);
    }
    Ok(())
}
