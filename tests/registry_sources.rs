//! The committed registry and evidence are equal to the output of the generator for their packages.
//!
//! `PORTOLAN_REGISTRY_SOURCES` names a directory with the files of the packages; `.ci/registry-sources DIRECTORY` fills
//! it. If the variable is not set, or the directory does not exist, the tests are reported as ignored.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};

#[allow(unused_imports, dead_code, reason = "the generator's own tests run in the example")]
#[path = "tools/generate-registry/generator/mod.rs"]
mod generator;

const REGISTRY: &str = include_str!("../src/registry/data/registry.tsv");
const EVIDENCE: &str = include_str!("../src/registry/data/evidence.tsv");

fn main() {
    let arguments = Arguments::from_args();
    let directory = std::env::var_os("PORTOLAN_REGISTRY_SOURCES").map(PathBuf::from).filter(|f| f.is_dir());
    let absent = directory.is_none();
    let directory = directory.unwrap_or_default();
    let trial = Trial::test("committed_registry_is_what_its_packages_make", move || matches(&directory))
        .with_ignored_flag(absent);
    libtest_mimic::run(&arguments, vec![trial]).exit();
}

fn matches(directory: &Path) -> Result<(), Failed> {
    let generated = generator::generate(directory).map_err(|error| error.to_string())?;
    same("registry.tsv", &generated.registry, REGISTRY)?;
    same("evidence.tsv", &generated.evidence, EVIDENCE)
}

fn same(file: &str, made: &str, committed: &str) -> Result<(), Failed> {
    if made == committed {
        return Ok(());
    }
    let differing = made.lines().zip(committed.lines()).position(|(made, committed)| made != committed);
    let at = differing.unwrap_or_else(|| made.lines().count().min(committed.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(no line)").to_owned();
    let (made, committed) = (line(made), line(committed));
    Err(format!("{file}: line {} differs\n     made: {made}\ncommitted: {committed}", at + 1).into())
}
