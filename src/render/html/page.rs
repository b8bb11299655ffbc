//! The frame of every page. The head has the content security policy, the style sheet and the script. The panels are at
//! the top of the body.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::markup::Html;
use crate::render::base64;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

pub(super) fn write(title: &str, body: impl FnOnce(&mut Html), w: &mut dyn Write) -> io::Result<()> {
    let mut html = Html::default();
    html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .markup(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-",
        )
        .text(&checksum(STYLE))
        .markup("'; script-src 'sha256-")
        .text(&checksum(SCRIPT))
        // Images are allowed for the icon below. Without an icon, a browser would request one from the server of the
        // page.
        .markup("'; img-src data:; base-uri 'none'; form-action 'none'\">\n")
        .markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .markup("<meta name=\"color-scheme\" content=\"light dark\">\n")
        .markup("<meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n")
        .element("<title>", title, "</title>\n")
        .markup("<style>")
        .markup(STYLE)
        .markup("</style>\n</head>\n<body>\n");
    body(&mut html);
    html.markup("<script>").markup(SCRIPT).markup("</script>\n</body>\n</html>\n");
    w.write_all(html.as_bytes())
}

pub(super) struct Panels<'a> {
    /// The CSS class of the verdict's panel: `good`, or the class of a severity.
    pub(super) class: &'static str,
    pub(super) verdict: &'a str,
    /// A sentence about the part of the machine that was visible.
    pub(super) seen: &'a str,
    /// The parts of the machine that were not visible, each once.
    pub(super) gaps: &'a [String],
}

impl Panels<'_> {
    pub(super) fn write(&self, html: &mut Html) {
        html.markup("<div class=\"panels\">\n<section class=\"panel ")
            .text(self.class)
            .markup("\" aria-labelledby=\"verdict\"><h2 id=\"verdict\">Verdict</h2><p>");
        match self.verdict.split_once(": ") {
            // The first word of an audit's verdict is its outcome.
            Some((outcome, rest)) if !outcome.contains(' ') => {
                html.element("<strong>", outcome, "</strong> ").text(rest)
            }
            _ => html.text(self.verdict),
        };
        let class = if self.gaps.is_empty() { "good" } else { "s2" };
        html.markup("</p></section>\n<section class=\"panel ")
            .text(class)
            .markup("\" aria-labelledby=\"completeness\"><h2 id=\"completeness\">Completeness</h2>")
            .element("<p>", self.seen, "</p>");
        if !self.gaps.is_empty() {
            html.markup("<ul>");
            for gap in self.gaps {
                html.element("<li>", gap, "</li>");
            }
            html.markup("</ul>");
        }
        html.markup("</section>\n</div>\n");
    }
}

/// Returns the SHA-256 checksum of a text in base64, as a content security policy needs it.
fn checksum(text: &str) -> String {
    base64(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksums of the empty text (RFC 6234) and of `abc` (FIPS 180) are well known.
    #[test]
    fn checksums_are_in_base64() {
        assert_eq!(checksum(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(checksum("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
