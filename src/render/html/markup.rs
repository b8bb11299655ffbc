//! Builds a page of HTML. Only [`Html::text`] escapes text; markup comes from the source of this program.

use std::fmt::Write;

use crate::render::sanitize::push_escaped;

#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup. This is safe, because a `'static` text can only come from the source of this program.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, between tags or in an attribute with quotation marks. The caller sanitizes text from outside; any
    /// unsafe character that is left is escaped here.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => push_escaped(&mut self.0, c),
            }
        }
        self
    }

    pub(super) fn number(&mut self, number: usize) -> &mut Self {
        // Writing to a String cannot fail.
        _ = write!(self.0, "{number}");
        self
    }

    /// Adds the number `share / whole` in percent, for an attribute of SVG.
    pub(super) fn percent(&mut self, share: usize, whole: usize) -> &mut Self {
        let hundredths = share.saturating_mul(10_000) / whole.max(1);
        _ = write!(self.0, "{}.{:02}%", hundredths / 100, hundredths % 100);
        self
    }

    pub(super) fn element(&mut self, open: &'static str, text: &str, close: &'static str) -> &mut Self {
        self.markup(open).text(text).markup(close)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::render::is_unsafe;

    fn escaped(text: &str) -> String {
        let mut html = Html::default();
        html.text(text);
        html.0
    }

    #[test]
    fn text_is_not_markup() {
        for (name, text, shown) in [
            ("plain", "nginx: worker", "nginx: worker"),
            ("a tag", "<script>", "&lt;script&gt;"),
            ("the end of an attribute", "\"' onload=x", "&quot;&#39; onload=x"),
            ("an entity", "&lt;", "&amp;lt;"),
            ("a bidirectional control", "a\u{202e}b", "a\\u{202e}b"),
            ("a newline", "a\nb", "a\\x0ab"),
        ] {
            assert_eq!(escaped(text), shown, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_contains_markup(text in any::<String>()) {
            let shown = escaped(&text);
            let is_entity = |rest: &str| ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|e| rest.starts_with(e));
            prop_assert!(!shown.contains(['<', '>', '"', '\'']));
            prop_assert!(shown.split('&').skip(1).all(is_entity));
            prop_assert!(!shown.chars().any(is_unsafe));
        }
    }

    #[test]
    fn shares_are_in_percent() {
        for (share, whole, shown) in
            [(0, 8, "0.00%"), (1, 8, "12.50%"), (8, 8, "100.00%"), (1, 1024, "0.09%")]
        {
            let mut html = Html::default();
            html.percent(share, whole);
            assert_eq!(html.0, shown);
        }
    }
}
