//! Enforces the language of the project: plain technical English in output, help, errors, docs, comments and names.
//! `.github/CONTRIBUTING.md` has the rules; `PATTERNS` lists the words and phrases that break them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "support/prose.rs"]
mod prose;

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use prose::{Piece, pieces};
use regex_lite::Regex;

/// A phrase that the project does not use.
struct Pattern {
    /// A part of every match, in lower case: texts without it are not searched.
    part: &'static str,
    /// A regular expression, matched without regard to case between word borders.
    phrase: &'static str,
    /// What to write instead.
    instead: &'static str,
    /// A sentence that must be refused.
    bad: &'static str,
    /// A similar sentence that is allowed.
    good: &'static str,
}

const fn pattern(
    part: &'static str,
    phrase: &'static str,
    instead: &'static str,
    bad: &'static str,
    good: &'static str,
) -> Pattern {
    Pattern { part, phrase, instead, bad, good }
}

const PATTERNS: &[Pattern] = &[
    pattern("told", "told", "shown, reported", "the gap is told", "the gap is reported"),
    pattern(
        "tell",
        "tells?|telling",
        "show, print, report, say",
        "the column tells the owner",
        "the column shows the owner",
    ),
    pattern("ever", "who(so)?ever", "anyone, the client", "whoever connects", "anyone who connects"),
    pattern("whatever", "whatever", "any, regardless of", "whatever its name", "regardless of its name"),
    pattern("anew", "anew", "again", "the service is started anew", "the service is started again"),
    pattern("grav", "grav(e|er|est|ity)", "severe, severity", "how grave it is", "how severe it is"),
    pattern("beside", "besides?", "next to, with, during", "a file beside it", "a file next to it"),
    pattern("kept back", "kept back", "reserved", "ports that are kept back", "ports that are reserved"),
    pattern(
        " into",
        "look(s|ed|ing)? into",
        "read, scanned",
        "the namespace was looked into",
        "the namespace was scanned",
    ),
    pattern("one me", "one (meets?|met)", "commonly used", "what one meets here", "commonly used here"),
    pattern(
        "met ",
        "met (here|today|there)",
        "commonly used",
        "met today on this port",
        "used today on this port",
    ),
    pattern(
        "answers for",
        "(nobody|who) answers for",
        "no policy rule allows, responsible",
        "nobody answers for it",
        "nobody answered the call",
    ),
    pattern("to light", "com(es?|ing) to light", "is found", "a gap comes to light", "a gap is found"),
    pattern(
        "house",
        "(a|the|its|our|this) house",
        "the product",
        "a house of its own",
        "an in-house program",
    ),
    pattern("room", "rooms?", "space, columns, bytes", "there is room for a row", "there is space for a row"),
    pattern(
        "neighbo",
        "neighbou?r(s|hood)?",
        "nearby, the other socket",
        "its neighbours",
        "the neighbouring port",
    ),
    pattern("holder", "holders?", "process, owner", "the holder of the socket", "the process of the socket"),
    pattern("tenant", "tenants?", "process, program", "a tenant of the port", "a user of the port"),
    pattern("folder", "folders?", "directory", "a folder below it", "a directory below it"),
    pattern(
        " no ",
        "([a-z]*[^e ]|[a-z]*[^r ]e) (is|are|was|were) no (port|process|address|registration|listener|file|directory|user|id|number|socket|program|service|name|protocol|all-clear|error|change|finding|failure)s?",
        "is not a …",
        "kftp is no port",
        "kftp is not a port",
    ),
    pattern(
        "came true",
        "came true",
        "is true, happened",
        "what was waited for came true",
        "the awaited condition is true",
    ),
    pattern(
        " of",
        "(tells?|says?|speaks?|told) of",
        "names, reports",
        "the file says of it",
        "the file says that",
    ),
    pattern(
        " a",
        "an? (line|row|finding|socket|change|event|file) an? [a-z]+",
        "one … per …",
        "a line a listener",
        "a line for each listener",
    ),
    pattern(
        "meant",
        "(is|are|was|were) meant",
        "is intended",
        "what is meant there",
        "the word means a file",
    ),
    pattern("asked of", "asked of", "requested", "what is asked of this machine", "what was requested"),
    pattern("one likes", "as one likes", "as you like", "as often as one likes", "as often as you like"),
    pattern("its like", "of its like", "similar", "nothing of its like", "it works like this"),
    pattern(
        "such ",
        "such (a one|ones)",
        "name the thing",
        "such ones are left out",
        "such sockets are left out",
    ),
    pattern(
        "of which",
        "of which (nothing|nobody|none)",
        "without …",
        "of which nothing is known",
        "about which nothing is known",
    ),
    pattern(
        "out of",
        "out of (force|sight)",
        "expired, hidden",
        "the rule is out of force",
        "the rule has expired",
    ),
    pattern(
        "the",
        "all the same|none the less|nonetheless",
        "still",
        "it is shown all the same",
        "it is still shown",
    ),
    pattern("but for", "(all|those) but for", "except for", "all but for one", "all except for one"),
    pattern("thus", "thus", "so", "thus it ends", "so it ends"),
    pattern("hence", "hence|whence|thence", "so", "hence it ends", "so it ends"),
    pattern(
        "there",
        "thereof|therein|thereby",
        "name the thing",
        "the rows thereof",
        "the rows of the table",
    ),
    pattern(
        "where",
        "whereof|wherein|whereby",
        "in which",
        "a file wherein it stands",
        "a file in which it stands",
    ),
    pattern("go of", "lets? go of", "release", "it lets go of the port", "it releases the port"),
    pattern(
        "talk",
        "talks?",
        "standard error, messages",
        "the talk of the program",
        "the messages of the program",
    ),
    pattern("accus", "accus(e|es|ed|ing|ation)", "flag, report", "nobody is accused", "nobody is flagged"),
    pattern(
        "acquit",
        "acquit(s|ted|tal)?",
        "trusted, not flagged",
        "a name acquits it",
        "a name that is trusted",
    ),
    pattern("vouch", "vouch(es|ed)?", "trusted, proves", "a file vouches for it", "a file proves it"),
    pattern("launder", "launders?|laundered", "hide", "a draft launders nothing", "a draft hides nothing"),
    pattern("stranger", "strangers?", "unknown program", "a stranger to the port", "an unknown program"),
];

/// Files with the text of others, which are not checked.
const TEXT_OF_OTHERS: [&str; 5] = [
    // IANA's registry and what packages make of it.
    "src/registry/data/registry.tsv",
    "src/registry/data/evidence.tsv",
    "src/share/debian/copyright",
    // The rules that firewalld makes.
    "tests/captures/firewalls/firewalld.json",
    "tests/language.rs",
];

/// A phrase that is allowed in files with this path prefix, if the text around it contains this text.
struct Allowed {
    file: &'static str,
    text: &'static str,
    reason: &'static str,
}

const fn allowed(file: &'static str, text: &'static str, reason: &'static str) -> Allowed {
    Allowed { file, text, reason }
}

const ALLOWED: &[Allowed] = &[
    allowed("", "no-holders", "the name of an option"),
    allowed("", "no holders", "the name of an option"),
    allowed("src/baseline/compare.rs", "namespace not looked into", "a name in portolan.diff/2"),
    allowed("tests/scenes/diff.rs", "namespace not looked into", "a name in portolan.diff/2"),
    allowed("src/model/context.rs", "kept back", "a name in portolan.explain/2"),
    allowed("src/share/schema/portolan.explain", "kept back", "a name in portolan.explain/2"),
    allowed("src/model/process.rs", "open folders", "a name in portolan.observation/2"),
    allowed("src/share/schema/portolan.observation", "open folders", "a name in portolan.observation/2"),
    allowed("src/model/deep.rs", "bound told", "a name in snapshots of a deep scan"),
    allowed("tests/scenes/deep.rs", "bound told", "a name in snapshots of a deep scan"),
    allowed("src/model/", "holders", "a name in the JSON of old snapshots"),
    allowed("src/findings/", "holders", "a name in portolan/2"),
    allowed("tests/scenes/audit_rules.rs", "holders", "a name in portolan/2"),
    allowed("", "holders.tsv", "the name of a file"),
    allowed("", "neighbours", "a name in portolan.explain/2"),
    allowed("src/registry/data/", "strangers", "the name of a column"),
    allowed("src/registry/data/", "neighbour discovery", "the name of a protocol"),
    allowed("src/registry/data/", "talk", "the name of a service"),
    allowed("src/registry/data/", "Talk", "the name of a service"),
    allowed("src/registry/data/orphans.tsv", "room", "an ordinary word"),
];

/// Returns the phrases of a text that break the rules, each with what to write instead.
fn violations(text: &str, patterns: &[(Regex, &'static Pattern)]) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let lower = text.to_lowercase();
    for (regex, pattern) in patterns.iter().filter(|(_, pattern)| lower.contains(pattern.part)) {
        for hit in regex.find_iter(text) {
            found.push((hit.as_str().to_owned(), pattern.instead));
        }
    }
    found
}

fn compiled() -> Vec<(Regex, &'static Pattern)> {
    let compile = |pattern: &'static Pattern| {
        (Regex::new(&format!(r"(?i)\b(?:{})\b", pattern.phrase)).unwrap(), pattern)
    };
    PATTERNS.iter().map(compile).collect()
}

/// Returns whether this phrase is allowed in this text.
fn is_allowed(file: &str, text: &str, phrase: &str) -> bool {
    ALLOWED.iter().any(|allowed| {
        file.starts_with(allowed.file)
            && (allowed.text.is_empty()
                || (text.contains(allowed.text) && !text.replace(allowed.text, "").contains(phrase)))
    })
}

/// Lists the files to check, as paths relative to the root of the project.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> =
        ["src", "tests", ".github", "README.md", "CHANGELOG.md"].map(|name| root.join(name)).into();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let path = path.strip_prefix(root).unwrap().to_owned();
            if !TEXT_OF_OTHERS.contains(&name(&path).as_str()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.to_str().unwrap().replace('\\', "/")
}

#[test]
fn the_project_is_written_in_plain_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patterns = compiled();
    let mut known: HashMap<String, Vec<(String, &str)>> = HashMap::new();
    let (mut report, mut checked, mut hits) = (String::new(), 0, 0);
    for path in files(root) {
        let name = name(&path);
        let Ok(text) = fs::read_to_string(root.join(&path)) else { continue };
        for Piece { line, text } in pieces(&name, &text) {
            checked += 1;
            // The same names occur many times: each text is matched once.
            let found = known.entry(text.clone()).or_insert_with(|| violations(&text, &patterns));
            for (phrase, instead) in found {
                if !is_allowed(&name, &text, phrase) {
                    hits += 1;
                    writeln!(report, "{name}:{line}: \"{phrase}\" (write: {instead})\n    {text}").unwrap();
                }
            }
        }
    }
    assert!(checked > 20_000, "only {checked} texts were found");
    assert!(hits == 0, "{hits} phrases that the project does not use:\n{report}");
}

/// A gap or a note with a count is shown as "1 socket that …", so its text must have a singular. This test finds texts
/// in the source that begin with a plural and do not depend on the count.
#[test]
fn counted_texts_have_a_singular() {
    let counted = Regex::new(
        r#"what: (?:format!\(\s*)?"(?:processes|sockets|ports|lines|files|listeners|owners)\b(?:[^;]{0,200}?)count: (?:Some|u64)"#,
    )
    .unwrap();
    assert!(counted.is_match("what: \"sockets of x\".to_owned(),\n count: Some(n),"));
    assert!(!counted.is_match("what: \"sockets of x\".to_owned(),\n count: None,"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = String::new();
    for path in
        files(root).iter().filter(|path| name(path).starts_with("src/") && !name(path).contains("tests"))
    {
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        for hit in counted.find_iter(&text).filter(|hit| !hit.as_str().contains("count: None")) {
            writeln!(found, "{}: {}", name(path), hit.as_str()).unwrap();
        }
    }
    assert!(found.is_empty(), "texts without a singular:\n{found}");
}

#[test]
fn each_pattern_refuses_a_bad_sentence_and_passes_a_good_one() {
    let patterns = compiled();
    for (regex, pattern) in &patterns {
        assert!(regex.is_match(pattern.bad), "{} passes: {}", pattern.phrase, pattern.bad);
        assert!(!regex.is_match(pattern.good), "{} refuses: {}", pattern.phrase, pattern.good);
    }
}

#[test]
fn names_strings_and_comments_are_found() {
    let source = r##"
        // A comment, told once.
        /// A doc comment.
        fn is_told_twice(theHolder: &str) -> &str { // at the end
            let r = r#"raw "text" here"#;
            let names = ["the_holder", "not-looked-into", "one-word: a-b"];
            "a string \
             over two lines, 'a' // no comment"
        }
        struct ToldHolder;
        /* a block */
        const C: char = '"';
    "##;
    let found = pieces("src/x.rs", source);
    let texts: Vec<&str> = found.iter().map(|piece| piece.text.as_str()).collect();
    for expected in [
        "A comment, told once.",
        "A doc comment.",
        "at the end",
        "raw \"text\" here",
        "a string over two lines, 'a' // no comment",
        "is told twice",
        "the holder",
        "not looked into",
        "one-word: a-b",
        "the Holder",
        "Told Holder",
        "a block",
    ] {
        assert!(texts.contains(&expected), "{expected} is missing from {texts:?}");
    }
    assert!(found.iter().any(|piece| piece.line == 7 && piece.text.starts_with("a string")));
}

#[test]
fn every_exception_has_a_reason_and_is_needed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts: Vec<(String, String)> = files(root)
        .into_iter()
        .filter_map(|path| Some((name(&path), fs::read_to_string(root.join(&path)).ok()?)))
        .collect();
    for allowed in ALLOWED {
        assert!(!allowed.reason.is_empty(), "{} has no reason", allowed.text);
        let mut near = texts.iter().filter(|(name, _)| name.starts_with(allowed.file));
        let needed =
            near.any(|(name, text)| pieces(name, text).iter().any(|piece| piece.text.contains(allowed.text)));
        assert!(needed, "{}{} does not occur: remove the exception", allowed.file, allowed.text);
    }
}
