//! Writes to standard output. If the reader has closed the pipe, the verdict stays the same.

use std::io::{self, BufWriter, StdoutLock, Write};

use anyhow::Error;

pub(super) struct Stdout {
    inner: BufWriter<StdoutLock<'static>>,
    /// Whether the command fails when the reader closes the output. If false, the rest of the output is dropped, and
    /// the command continues to its verdict.
    stops_without_reader: bool,
    reader_left: bool,
}

#[derive(Debug)]
struct StdoutError(io::Error);

impl std::fmt::Display for StdoutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output")
    }
}

impl std::error::Error for StdoutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl Stdout {
    pub(super) fn new(stops_without_reader: bool) -> Self {
        Stdout { inner: BufWriter::new(io::stdout().lock()), stops_without_reader, reader_left: false }
    }

    /// Returns `done` in place of an error, if the reader has closed the output and the command may continue.
    fn unless_reader_left<T>(&mut self, result: io::Result<T>, done: T) -> io::Result<T> {
        result.or_else(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe && !self.stops_without_reader {
                self.reader_left = true;
                return Ok(done);
            }
            Err(io::Error::new(error.kind(), StdoutError(error)))
        })
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reader_left {
            return Ok(bytes.len());
        }
        let written = self.inner.write(bytes);
        self.unless_reader_left(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.reader_left {
            return Ok(());
        }
        let flushed = self.inner.flush();
        self.unless_reader_left(flushed, ())
    }
}

/// Returns whether a command failed only because the reader closed the output.
pub fn is_broken_pipe(error: &Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        error.kind() == io::ErrorKind::BrokenPipe
            && matches!(error.get_ref(), Some(inner) if inner.is::<StdoutError>())
    })
}

/// Returns whether the reader has closed standard output. A failed write shows this too, but a stream of events may
/// have nothing to write for a long time.
#[cfg(target_os = "linux")]
pub(super) fn has_reader_left() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    // `poll` reports errors and hang-ups even if they are not requested.
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ends, Some(&at_once)).is_ok_and(|count| count > 0)
        && ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Returns false, because on other systems only a write shows that the reader has closed the output.
#[cfg(not(target_os = "linux"))]
pub(super) const fn has_reader_left() -> bool {
    false
}
