//! Enforces the architecture: the imports that each module may have, the files that may use each crate, and the
//! absence of import circles. `.github/ARCHITECTURE.md` explains the modules.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "support/imports.rs"]
mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use imports::{Sources, read_sources, top_level};

/// The modules from the lowest to the highest, each with the modules that it may import.
const MODULES: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("observe", &["model"]),
    ("registry", &["model"]),
    ("findings", &["model"]),
    ("join", &["model", "registry", "findings"]),
    // A target's name is looked up in the registry, and a filter tests for a finding.
    ("query", &["model", "registry", "join", "findings"]),
    ("judge", &["model", "registry", "join", "findings"]),
    ("policy", &["model", "join", "query", "findings"]),
    ("baseline", &["model", "join", "findings", "judge"]),
    ("render", &["model", "join", "findings", "judge", "policy", "baseline"]),
    // The filter options are generated from the fields of a query.
    ("cli", &["model", "query"]),
    (
        "command",
        &[
            "model", "observe", "registry", "join", "findings", "query", "judge", "policy", "baseline",
            "render", "cli",
        ],
    ),
];

/// Imports that the table forbids but that still exist, by the beginning of the file's path. Never add entries.
const KNOWN_IMPORTS: [(&str, &str); 2] = [("policy/", "judge"), ("render/", "registry")];

/// The import circles that still exist: the files of each circle. Never add entries.
const KNOWN_CIRCLES: [&[&str]; 0] = [];

/// Crates that only these files may name.
const CRATES: [(&str, &[&str]); 10] = [
    ("netstat2", &["observe/"]),
    ("sysinfo", &["observe/"]),
    ("comfy_table", &["render/table.rs"]),
    // The colours of the table, and the screen of `watch`.
    ("crossterm", &["render/table.rs", "command/screen.rs"]),
    ("signal_hook", &["command/screen.rs", "command/supervisor.rs"]),
    ("clap", &["cli/", "command/program.rs", "command/completions.rs", "command/man.rs"]),
    ("clap_complete", &["command/completions.rs"]),
    ("roff", &["command/man.rs"]),
    ("toml", &["policy/"]),
    // System calls: netlink and /proc, the test whether the reader of standard output has closed it, atomic writes, and
    // signals to processes.
    (
        "rustix",
        &[
            "observe/linux/",
            "command/stdout.rs",
            "command/supervisor.rs",
            "command/atomic_write/linux.rs",
            "command/kill/",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Sources {
    let sources = Sources::read(&root().join("src"));
    assert!(sources.files.len() > 20, "the sources were not found");
    sources
}

#[test]
fn imports_point_downwards() {
    let mut wrong = BTreeSet::new();
    for file in &sources().files {
        let own = top_level(&file.path);
        let Some((_, may)) = MODULES.iter().find(|(module, _)| *module == own) else { continue };
        for path in file.paths.iter().filter(|path| path[0] == "crate" && path.len() > 1) {
            let module = path[1].as_str();
            if MODULES.iter().any(|(other, _)| *other == module) && module != own && !may.contains(&module) {
                wrong.insert((file.path.clone(), module.to_owned()));
            }
        }
    }
    let is = |(path, module): &(String, String), known: &(&str, &str)| {
        path.starts_with(known.0) && module == known.1
    };
    let new: Vec<_> =
        wrong.iter().filter(|import| !KNOWN_IMPORTS.iter().any(|known| is(import, known))).collect();
    assert!(new.is_empty(), "the table does not allow these imports: {new:#?}");
    let gone: Vec<_> =
        KNOWN_IMPORTS.iter().filter(|known| !wrong.iter().any(|import| is(import, known))).collect();
    assert!(gone.is_empty(), "these imports are gone; remove them from the list: {gone:#?}");
}

#[test]
fn every_module_is_in_the_table() {
    for file in sources().files {
        let own = top_level(&file.path);
        assert!(
            ["main", "lib", "testkit"].contains(&own) || MODULES.iter().any(|(module, _)| *module == own),
            "src/{} is in no module of the table",
            file.path
        );
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = sources().circles();
    let is_known = |circle: &[String]| {
        KNOWN_CIRCLES.iter().any(|known| circle.iter().all(|path| known.contains(&path.as_str())))
    };
    let new: Vec<_> = circles.iter().filter(|circle| !is_known(circle)).collect();
    assert!(new.is_empty(), "circles of imports: {new:#?}");
    let gone: Vec<_> = KNOWN_CIRCLES
        .iter()
        .filter(|known| !circles.iter().any(|c| known.contains(&c[0].as_str())))
        .collect();
    assert!(gone.is_empty(), "these circles are gone; remove them from the list: {gone:#?}");
}

/// The maximum number of lines of a file; a longer file has more than one purpose.
const LONGEST: usize = 500;

#[test]
fn files_are_short() {
    let long: Vec<_> = read_sources(&root().join("src"))
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "files of more than {LONGEST} lines: {long:?}");
}

#[test]
fn crates_stay_in_their_files() {
    let mut wrong = Vec::new();
    for file in sources().files {
        for (name, places) in CRATES {
            let names = file.paths.iter().any(|path| path[0] == name);
            if names && !places.iter().any(|place| file.path.starts_with(place)) {
                wrong.push(format!("src/{} names {name}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns the circles among files with these texts, named without their extension.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(path, text)| (format!("{path}.rs"), (*text).to_owned())).collect();
    Sources::of(&files).circles().iter().map(|circle| circle.join(" ").replace(".rs", "")).collect()
}

#[test]
fn the_reader_of_imports_finds_circles_and_only_those() {
    for (name, files, wanted) in [
        (
            "directly",
            &[("a", "use crate::b::B;"), ("b", "use crate::{a::A, c};"), ("c", "")][..],
            &["a b"][..],
        ),
        (
            "through a third",
            &[("a", "use crate::b;"), ("b", "fn f() { crate::c::f() }"), ("c", "use super::a;")],
            &["a b c"],
        ),
        (
            "siblings",
            &[("m/a", "use super::b::{self, B};"), ("m/b", "use super::a::A as Other;"), ("m/mod", "mod a;")],
            &["m/a m/b"],
        ),
        (
            "a re-export is none",
            &[
                ("m/mod", "mod a; pub use a::A; pub(crate) use b::*;"),
                ("m/a", "use super::B;"),
                ("m/b", "pub struct B;"),
            ],
            &[],
        ),
        (
            "through a re-export",
            &[
                ("m/mod", "pub use a::A; pub use b::*;"),
                ("m/a", "use super::B;"),
                ("m/b", "use crate::m::A; pub struct B;"),
            ],
            &["m/a m/b"],
        ),
        (
            "parent and child are none",
            &[("m/mod", "mod a; fn f() { a::g() }"), ("m/a", "use super::f;")],
            &[],
        ),
        (
            "tests are left out",
            &[
                ("a", "use crate::b;"),
                ("b", "#[cfg(test)] mod tests { use crate::a; }"),
                ("b/tests", "use crate::a;"),
            ],
            &[],
        ),
        (
            "comments and literals are left out",
            &[
                ("a", "use crate::b;"),
                ("b", "// crate::a::x\nconst A: (&str, char) = (\"crate::a::x\", '\"');"),
            ],
            &[],
        ),
    ] {
        assert_eq!(circles(files), wanted, "{name}");
    }
}

/// Every dependency has a comment with its reason right above it.
#[test]
fn dependencies_say_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (mut listed, mut said, mut count) = (false, false, 0);
    for line in manifest.lines() {
        match line {
            _ if line.starts_with('[') => (listed, said) = (line.ends_with("dependencies]"), false),
            "" => said = false,
            _ if line.starts_with('#') => said = true,
            _ if listed => {
                count += 1;
                assert!(said, "Cargo.toml gives no reason for: {line}");
                said = false;
            }
            _ => {}
        }
    }
    assert!(count > 20, "the dependencies were not found");
}
