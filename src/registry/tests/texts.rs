//! Checks the texts of the tables that users read. They must be complete short sentences, without notes on the
//! research.

use super::{ANSWERS, SERVICES, body, dead, known_uses, live};

/// Every text that `explain` shows, with the table and the row.
fn texts() -> Vec<(String, &'static str)> {
    let mut texts = Vec::new();
    for row in dead().chain(live()) {
        let at = format!("{} {}", row.ports, row.service);
        let c = row.curated;
        let of_row = [Some(c.product), Some(c.reason), c.now_used_by, c.basis];
        texts.extend(of_row.into_iter().flatten().map(|text| (at.clone(), text)));
    }
    for known in known_uses() {
        texts
            .extend(known.text.into_iter().chain(known.abused_by).map(|text| (known.port.to_string(), text)));
    }
    for line in body(SERVICES) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        texts.extend([fields[0], fields[3]].map(|text| (fields[0].to_owned(), text)));
    }
    for line in body(ANSWERS) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        texts.extend([fields[1], fields[2]].map(|text| (fields[0].to_owned(), text)));
    }
    texts
}

/// Phrases about the research for the table. They say nothing about a port.
const NOTES: [&str; 20] = [
    "apparently",
    "probably",
    "seems",
    "no page",
    "not read",
    "was read",
    "page was found",
    "was found",
    "only a blog",
    "from experience",
    "from memory",
    "to be checked",
    "to check",
    "todo",
    "unverified",
    "not sure",
    "no packaged list",
    "see above",
    "i think",
    "???",
];

/// Returns the phrases of a text that are notes on the research. Addresses of pages are left out.
fn notes(text: &str) -> Vec<&'static str> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.contains("://")).collect();
    let text = format!(" {} ", words.join(" ").to_ascii_lowercase());
    NOTES.into_iter().filter(|note| text.contains(&format!(" {note}"))).collect()
}

#[test]
fn no_text_is_a_note_on_the_research() {
    let found: Vec<_> = texts()
        .into_iter()
        .filter(|(_, text)| !notes(text).is_empty())
        .map(|(at, text)| format!("{at}: {text}"))
        .collect();
    assert!(found.is_empty(), "{} texts: {found:#?}", found.len());
    for (text, note) in [
        ("the announcement itself was not read", "not read"),
        ("AirMobile IS, apparently Motorola middleware", "apparently"),
        ("From experience and lists", "from experience"),
        ("only a blog that reports it was found", "only a blog"),
    ] {
        assert!(notes(text).contains(&note), "{text}");
    }
    assert_eq!(notes("ended in 2012 (https://blog.example/no-page)"), [""; 0]);
}

/// A text that was cut (`as for lo...`) cannot be understood.
#[test]
fn no_text_is_cut() {
    let cut: Vec<_> = texts().into_iter().filter(|(_, text)| text.contains("...")).collect();
    assert!(cut.is_empty(), "{cut:#?}");
}

#[test]
fn sentences_are_short() {
    let words = |sentence: &str| sentence.split_whitespace().filter(|word| !word.contains("://")).count();
    let long: Vec<_> = texts()
        .into_iter()
        .filter(|(_, text)| text.split(['.', ';', ':']).any(|sentence| words(sentence) > 32))
        .map(|(at, text)| format!("{at}: {text}"))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
    let unbalanced: Vec<_> = texts()
        .into_iter()
        .filter(|(_, text)| text.matches('(').count() != text.matches(')').count() || text.contains("  "))
        .collect();
    assert!(unbalanced.is_empty(), "{unbalanced:#?}");
}

/// Ranges are written in words. `2018-2023` can mean in these years, once in between, or until the last year. `(one of
/// 6014-6114)` does not name the list to which the port belongs.
#[test]
fn ranges_are_words() {
    let year = |text: &str| {
        text.len() >= 4 && text[..4].bytes().all(|byte| byte.is_ascii_digit()) && &text[..2] < "21"
    };
    let found: Vec<_> = texts()
        .into_iter()
        .filter(|(_, text)| {
            let words = || text.split([' ', ',', ';', '(', ')']).filter(|word| !word.contains("://"));
            let is_range = |word: &str| {
                word.split_once('-').is_some_and(|(from, to)| {
                    from.len() == 4
                        && year(from)
                        && matches!(to.len(), 2 | 4)
                        && to.bytes().all(|b| b.is_ascii_digit())
                })
            };
            text.contains("(one of ") || words().any(is_range)
        })
        .map(|(at, text)| format!("{at}: {text}"))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
