//! The committed registry and evidence are equal to the output of the generator for their packages.
//!
//! `PORTOLAN_REGISTRY_SOURCES` names a directory with the files of the packages; `.ci/registry-sources DIRECTORY` fills
//! it. If the variable is not set, or the directory does not exist, the tests that need it are reported as ignored. Each package
//! has a test with its name, which fails if the package has vanished.

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
    let of_packages = directory.clone();
    let trial = Trial::test("committed_registry_is_what_its_packages_make", move || matches(&of_packages))
        .with_ignored_flag(absent);
    let mut trials = vec![trial];
    for source in sources() {
        let name = format!("source_{}_{}_{}", source.role, source.package, source.version);
        let directory = directory.clone();
        let label = source.label();
        let named = format!("{name}_is_named_by_the_embedded_data");
        trials.push(Trial::test(named, move || is_embedded(&label)));
        let label = source.label();
        trials.push(
            Trial::test(format!("{name}_is_there"), move || is_there(&directory.join(source.file), &label))
                .with_ignored_flag(absent),
        );
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A row of `sources.tsv`.
struct SourceRow {
    role: &'static str,
    kind: &'static str,
    package: &'static str,
    version: &'static str,
    file: &'static str,
}

impl SourceRow {
    fn label(&self) -> String {
        format!("{} {} {}", self.kind, self.package, self.version)
    }
}

/// Returns the packages that the embedded data is made from. A malformed row stops the tests.
fn sources() -> Vec<SourceRow> {
    let rows = include_str!("tools/generate-registry/sources.tsv").lines();
    let rows = rows.filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 7, "sources.tsv: {line}");
        let [role, kind, package, version, file] = [0, 1, 2, 3, 5].map(|column| columns[column]);
        SourceRow { role, kind, package, version, file }
    })
    .collect()
}

/// Fails if the embedded data was made without this version of a package.
fn is_embedded(label: &str) -> Result<(), Failed> {
    let head = REGISTRY.lines().chain(EVIDENCE.lines()).filter(|line| line.starts_with("# made from: "));
    match head.into_iter().any(|line| line.contains(&format!("{label} ("))) {
        true => Ok(()),
        false => Err(format!("{label} is in sources.tsv, but the embedded data is not made from it").into()),
    }
}

/// Fails if a package no longer has its file.
fn is_there(path: &Path, label: &str) -> Result<(), Failed> {
    let is_there = match std::fs::metadata(path) {
        Ok(file) if file.is_file() => file.len() > 0,
        Ok(_) => std::fs::read_dir(path)?.next().is_some(),
        Err(_) => false,
    };
    if is_there { Ok(()) } else { Err(format!("{label} has vanished: no {}", path.display()).into()) }
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
