//! Sanitizes text from outside: process names, paths, arguments, users, devices, host names.
//!
//! Characters that a terminal would interpret, or that a reader could not see, are escaped. Nothing is dropped or
//! shortened.
//!
//! | in the text | shown |
//! | --- | --- |
//! | an ASCII control, including newline and tab | `\x1b` |
//! | any other character for which [`is_unsafe`] is true | `\u{202e}` |
//! | backslashes before an escape, or before text that looks like one (`\x1b`, `\u{`) | each doubled |
//! | any other backslash (`C:\nginx`, `DOMAIN\user`) | unchanged |
//!
//! The result is unambiguous: after an odd number of backslashes, `x1b` is an escape of this function; after an even
//! number, `x1b` was in the text. Earlier steps have already replaced bytes that are not valid UTF-8 with U+FFFD.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns whether a character could control a terminal, reorder the text around it, end a line, or be invisible.
///
/// These are all controls (C0, DEL, C1), bidirectional controls, line and paragraph separators, and every other
/// character that Unicode calls default-ignorable (zero-width, fillers, variation selectors, tags).
pub const fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Returns `text` with every unsafe character escaped; borrowed if there is nothing to escape.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| (b' '..0x7f).contains(&b) && b != b'\\';
    if text.bytes().all(plain) || !text.chars().any(|c| c == '\\' || is_unsafe(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut backslashes = 0;
    for (at, c) in text.char_indices() {
        if c == '\\' {
            backslashes += 1;
        } else {
            if is_unsafe(c) || is_like_written_out(&text[at..]) {
                // Without doubling, a reader would take these backslashes for the beginning of an escape.
                shown.extend(std::iter::repeat_n('\\', backslashes));
            }
            backslashes = 0;
        }
        push_escaped(&mut shown, c);
    }
    Cow::Owned(shown)
}

pub(super) fn push_escaped(shown: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = match c {
        c if c.is_ascii_control() => write!(shown, "\\x{:02x}", u32::from(c)),
        c if is_unsafe(c) => write!(shown, "\\u{{{:x}}}", u32::from(c)),
        c => shown.write_char(c),
    };
}

/// Returns whether the text after a backslash would be read as an escape.
fn is_like_written_out(rest: &str) -> bool {
    match rest.as_bytes() {
        [b'x', high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        [b'u', b'{', ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unsafe_characters_are_escaped() {
        for (name, text, shown) in [
            ("plain", "nginx: worker", "nginx: worker"),
            ("other scripts", "сервер-数据-é", "сервер-数据-é"),
            ("escape sequence", "a\x1b[2Jb", "a\\x1b[2Jb"),
            ("one-character CSI", "\u{9b}2J", "\\u{9b}2J"),
            ("lines", "a\nb\r\tc\0", "a\\x0ab\\x0d\\x09c\\x00"),
            ("delete", "\x7f", "\\x7f"),
            ("right-to-left override", "a\u{202e}gpj.exe", "a\\u{202e}gpj.exe"),
            ("isolate", "\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("arabic letter mark", "\u{61c}", "\\u{61c}"),
            ("separators", "\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
            ("zero width", "ss\u{200b}hd\u{2060}\u{feff}", "ss\\u{200b}hd\\u{2060}\\u{feff}"),
            ("annotation", "\u{fff9}\u{fffb}", "\\u{fff9}\\u{fffb}"),
            ("tags", "\u{e0001}\u{e007f}", "\\u{e0001}\\u{e007f}"),
            ("not UTF-8", "a\u{fffd}b", "a\u{fffd}b"),
            ("a backslash that looks like an escape", "\\x1b", "\\\\x1b"),
            ("and one before it", "\\\\u{0}", "\\\\\\\\u{0}"),
            ("a backslash before a control", "\\\x1b", "\\\\\\x1b"),
            ("paths of Windows", "C:\\nginx\\xampp", "C:\\nginx\\xampp"),
            ("a share", "\\\\server\\share\\", "\\\\server\\share\\"),
        ] {
            assert_eq!(sanitize(text), shown, "{name}");
        }
        assert!(matches!(sanitize("наш"), Cow::Borrowed(_)));
    }

    /// Reverses [`sanitize`], to prove that it is reversible.
    fn undo(shown: &str) -> String {
        let mut text = String::new();
        let mut rest = shown;
        while let Some(start) = rest.find('\\') {
            text.push_str(&rest[..start]);
            let after = rest[start..].trim_start_matches('\\');
            let run = rest.len() - start - after.len();
            if !is_like_written_out(after) {
                text.push_str(&rest[start..start + run]);
                rest = after;
                continue;
            }
            text.extend(std::iter::repeat_n('\\', run / 2));
            rest = after;
            if run % 2 == 1 {
                let (digits, left) = match after.strip_prefix("u{") {
                    Some(digits) => digits.split_once('}').unwrap(),
                    None => after[1..].split_at(2),
                };
                text.push(char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap());
                rest = left;
            }
        }
        text + rest
    }

    fn nasty() -> impl Strategy<Value = String> {
        let some = prop_oneof![
            any::<char>(),
            proptest::char::range('\0', '\u{ff}'),
            proptest::char::range('\u{2000}', '\u{206f}'),
            proptest::char::range('\u{fe00}', '\u{ffff}'),
            proptest::char::range('\u{e0000}', '\u{e01ef}'),
        ]
        .prop_map(String::from);
        let written = prop_oneof![Just("\\"), Just("x1b"), Just("u{0}"), Just("u{")].prop_map(String::from);
        proptest::collection::vec(prop_oneof![some, written], 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in nasty()) {
            let shown = sanitize(&text);
            // This condition is independent of the function under test.
            let left = shown.chars().find(|c| c.is_control()
                || matches!(u32::from(*c), 0x61c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060 | 0x2066..=0x2069
                    | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f));
            prop_assert_eq!(left, None);
        }

        #[test]
        fn unambiguous(text in nasty()) {
            prop_assert_eq!(undo(&sanitize(&text)), text);
        }
    }
}
