//! The character set of text for people. If the locale names a character set other than UTF-8, the text is ASCII.
//! Otherwise, and without a locale (as in a container), the text is UTF-8.

use std::borrow::Cow;
use std::io::{self, BufWriter, StderrLock, Write};
use std::sync::OnceLock;

use crate::render;

pub(super) fn is_ascii_only() -> bool {
    static ASCII_ONLY: OnceLock<bool> = OnceLock::new();
    *ASCII_ONLY.get_or_init(|| {
        let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
        is_other_charset(variables.map(|name| std::env::var(name).unwrap_or_default()))
    })
}

/// Returns whether the locale has a character set other than UTF-8. Only the first variable that is set counts. If no
/// variable is set, returns false.
fn is_other_charset(variables: [String; 3]) -> bool {
    let locale = variables.into_iter().find(|value| !value.is_empty()).map(|value| value.to_lowercase());
    locale.is_some_and(|locale| !locale.contains("utf-8") && !locale.contains("utf8"))
}

pub(super) fn readable(text: &str) -> Cow<'_, str> {
    if is_ascii_only() { render::ascii(text) } else { text.into() }
}

/// Writes text for people in the character set of the locale. An incomplete character at the end of a write is kept
/// for the next write.
pub(super) struct Readable<W> {
    inner: W,
    is_ascii_only: bool,
    incomplete: Vec<u8>,
}

impl<W: Write> Readable<W> {
    pub(super) fn new(inner: W, is_ascii_only: bool) -> Self {
        Readable { inner, is_ascii_only, incomplete: Vec::new() }
    }
}

impl<W: Write> Write for Readable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_ascii_only || (bytes.is_ascii() && self.incomplete.is_empty()) {
            return self.inner.write(bytes);
        }
        let mut all = std::mem::take(&mut self.incomplete);
        all.extend(bytes);
        for chunk in all.utf8_chunks() {
            self.inner.write_all(render::ascii(chunk.valid()).as_bytes())?;
            // The next write may continue an incomplete character at the end of the bytes.
            let is_at_end = std::ptr::eq(chunk.invalid().as_ptr_range().end, all.as_ptr_range().end);
            match chunk.invalid() {
                [] => {}
                begun if is_at_end && begun.len() < 4 => self.incomplete = begun.to_vec(),
                _ => self.inner.write_all(b"?")?,
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns a writer to standard error for one message. The message is written in one piece when the writer is dropped.
/// So no other output appears inside it.
pub(super) fn stderr() -> Readable<BufWriter<StderrLock<'static>>> {
    Readable::new(BufWriter::new(io::stderr().lock()), is_ascii_only())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides() {
        for (all, ctype, lang, ascii) in [
            ("", "", "", false),
            ("C", "", "en_US.UTF-8", true),
            ("", "POSIX", "en_US.UTF-8", true),
            ("", "", "de_DE.ISO-8859-1", true),
            ("", "", "de_DE.utf8", false),
            ("C.UTF-8", "", "C", false),
        ] {
            assert_eq!(
                is_other_charset([all, ctype, lang].map(str::to_owned)),
                ascii,
                "{all} {ctype} {lang}"
            );
        }
    }

    #[test]
    fn characters_may_be_written_in_parts() {
        let text = "a×b…".as_bytes();
        for at in 0..text.len() {
            let mut written = Readable::new(Vec::new(), true);
            written.write_all(&text[..at]).unwrap();
            written.write_all(&text[at..]).unwrap();
            assert_eq!(String::from_utf8(written.inner).unwrap(), "axb~", "{at}");
        }
        let mut written = Readable::new(Vec::new(), true);
        written.write_all(b"a\xffb").unwrap();
        assert_eq!(written.inner, b"a?b");
        let mut written = Readable::new(Vec::new(), false);
        written.write_all(text).unwrap();
        assert_eq!(written.inner, text);
    }
}
