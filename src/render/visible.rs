//! Writes JSON that is safe to show: every character that a terminal could interpret or that a reader could not see is
//! a `\u` escape. JSON requires an escape only for characters below U+0020.

use std::io::{self, Write};

use super::is_unsafe;

/// A writer that escapes the unsafe characters in JSON. Line breaks are kept, because they are outside strings.
/// `serde_json` writes whole characters, so no character is split between two writes.
pub(super) struct Visible<W>(pub(super) W);

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_plain = |byte: &u8| byte.is_ascii() && *byte != 0x7f;
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        if bytes.iter().all(is_plain) || text.is_empty() {
            return self.0.write(bytes);
        }
        let mut shown = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            if is_unsafe(c) && c >= ' ' {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = std::fmt::Write::write_fmt(&mut shown, format_args!("\\u{unit:04x}"));
                }
            } else {
                shown.push(c);
            }
        }
        self.0.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
