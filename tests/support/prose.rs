//! Extracts the words from source files and pages: comments, string literals, identifiers and prose.

/// One comment, string, identifier or paragraph.
pub struct Piece {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// Its text on one line. An identifier is split into its words.
    pub text: String,
}

/// Returns the texts of a file: for Rust, its comments, strings and identifiers; for other files, their paragraphs.
pub fn pieces(file: &str, text: &str) -> Vec<Piece> {
    let extension = file.rsplit('.').next().unwrap_or_default();
    match extension {
        "rs" => rust(text),
        "md" => paragraphs(text),
        _ => text.lines().zip(1..).map(|(text, line)| Piece { line, text: split_names(text) }).collect(),
    }
}

fn paragraphs(text: &str) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    let mut ended = true;
    for (text, line) in text.lines().zip(1..) {
        let text = text.trim();
        match found.last_mut() {
            Some(last) if !ended && !text.is_empty() && !text.starts_with(['|', '-', '#']) => {
                last.text.push(' ');
                last.text.push_str(text);
            }
            _ if text.is_empty() => {}
            _ => found.push(Piece { line, text: text.to_owned() }),
        }
        ended = text.is_empty();
    }
    found
}

fn rust(text: &str) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    // The line and the kind of the previous comment.
    let mut before = (0, "");
    let (mut rest, mut line) = (text, 1);
    while let Some(c) = rest.chars().next() {
        let length = if let Some(comment) = rest.strip_prefix("//") {
            let end = comment.find('\n').unwrap_or(comment.len());
            let words = comment[..end].trim_start_matches(['/', '!']).trim();
            let kind = if comment.starts_with(['/', '!']) { "documentation" } else { "comment" };
            // Comments on consecutive lines are one text.
            match found.last_mut() {
                Some(last) if before == (line - 1, kind) && !words.is_empty() && last.line < line => {
                    last.text.push(' ');
                    last.text.push_str(words);
                }
                _ => found.push(Piece { line, text: words.to_owned() }),
            }
            before = (line, kind);
            end + 2
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").unwrap_or(comment.len());
            found.push(Piece { line, text: comment[..end].trim().to_owned() });
            (end + 4).min(rest.len())
        } else if let Some(string) = rest.strip_prefix("r#\"").or_else(|| rest.strip_prefix("r##\"")) {
            let close = if rest.starts_with("r##") { "\"##" } else { "\"#" };
            let end = string.find(close).unwrap_or(string.len());
            found.push(Piece { line, text: split_names(&string[..end]) });
            (rest.len() - string.len() + end + close.len()).min(rest.len())
        } else if c == '"' {
            let end = end_of_string(&rest[1..]);
            found.push(Piece { line, text: split_names(&unwrapped(&rest[1..=end])) });
            (end + 2).min(rest.len())
        } else if c == '\'' {
            character(rest)
        } else if c.is_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            found.push(Piece { line, text: words(&rest[..end]) });
            end
        } else {
            c.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// Returns the length of a string's text up to its closing quote.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len().saturating_sub(1)
}

/// Joins the lines of a string that ends its lines with a backslash, and turns escaped line breaks and tabs into
/// blanks.
fn unwrapped(text: &str) -> String {
    let text = text.replace("\\n", " ").replace("\\t", " ");
    let mut lines = text.split("\\\n");
    let mut joined = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        joined.push_str(line.trim_start());
    }
    joined
}

/// Splits the names in a text at their underscores, and a text that is one name at its hyphens: `"snake_case"` becomes
/// `snake case`, and `"kebab-case"` becomes `kebab case`.
fn split_names(text: &str) -> String {
    let is_name = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    text.replace(if is_name { ['_', '-'] } else { ['_', '_'] }, " ")
}

/// Returns the length of a character literal, or 1 for the quote of a lifetime.
fn character(text: &str) -> usize {
    let inner = &text[1..];
    if inner.starts_with('\\') {
        return inner.get(2..).and_then(|rest| rest.find('\'')).map_or(1, |end| end + 4);
    }
    match inner.char_indices().nth(1) {
        Some((end, '\'')) => end + 2,
        _ => 1,
    }
}

/// Splits an identifier in snake case or camel case: `is_open` becomes `is open`, `OpenPort` becomes `Open Port`.
fn words(name: &str) -> String {
    let mut words = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if c == '_' {
            words.push(' ');
        } else {
            if c.is_uppercase() && before.is_lowercase() {
                words.push(' ');
            }
            words.push(c);
        }
        before = c;
    }
    words.trim().to_owned()
}
