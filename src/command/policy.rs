//! `portolan policy`: drafts and checks policies, and reads policy files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Error, Result, bail};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::atomic_write::{self, Existing, Readers};
use super::from::read_limited;
use super::{Exit, Ui, charset, judged, registry_source, take_snapshot};
use crate::cli::{CommonArgs, Output, PolicyCheckArgs, PolicyCommand, PolicyInitArgs};
use crate::judge::audit::AppliedPolicy;
use crate::observe::Scope;
use crate::policy::{self, Included, Policy};
use crate::render::policy as report_text;

/// The maximum size of a policy with its included files, in bytes. This is enough for 5,000 rules of 800 bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

pub(super) fn run(
    command: &PolicyCommand,
    common: &CommonArgs,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    if common.output != Output::Table {
        bail!("policy prints only text; leave out -o");
    }
    match command {
        PolicyCommand::Init(args) => init(args, common, ui, out),
        PolicyCommand::Check(args) => check(args, common, ui, out),
    }
}

fn init(args: &PolicyInitArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    let registry = registry_source::registry(common)?;
    let snapshot = take_snapshot(common, Scope { details: true, ..Scope::default() })?;
    let report = judged(snapshot, registry, common);
    let draft = policy::draft(&report);
    let mut bytes = Vec::new();
    report_text::draft(&draft, &report.snapshot, &mut bytes)?;
    match &args.write {
        Some(path) => atomic_write::write(path, &bytes, Existing::Keep, Readers::All)?,
        None => {
            out.write_all(&bytes)?;
            out.flush()?;
        }
    }
    ui.print_notices(&report.snapshot);
    writeln!(charset::stderr(), "portolan: {}", report_text::summary(&draft))?;
    Ok(if !draft.flagged.is_empty() {
        Exit::Findings
    } else if report.snapshot.is_complete() && draft.left_out.is_empty() {
        Exit::Matched
    } else {
        Exit::Incomplete
    })
}

fn check(args: &PolicyCheckArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    // All policies are read before the first remark is printed. If a policy is invalid, only its error is printed.
    let policies: Vec<Policy> =
        args.files.iter().map(|path| load(path).map(|(policy, _)| policy)).collect::<Result<_, _>>()?;
    let registry = registry_source::registry(common)?;
    let report = if args.here || common.from.is_some() {
        Some(judged(take_snapshot(common, Scope { details: true, ..Scope::default() })?, registry, common))
    } else {
        None
    };
    let taken = report.as_ref().map_or_else(Timestamp::now, |report| report.snapshot.taken);
    let today = taken.to_zoned(TimeZone::UTC).date();
    for (path, policy) in args.files.iter().zip(&policies) {
        let mut remarks = policy::check(policy, today);
        remarks.extend(report.iter().flat_map(|report| policy::unmatched(policy, report)));
        report_text::checked(&path.display().to_string(), policy, &remarks, out)?;
    }
    out.flush()?;
    if let Some(report) = &report {
        ui.print_notices(&report.snapshot);
    }
    Ok(Exit::Matched)
}

pub(super) fn load(path: &Path) -> Result<(Policy, AppliedPolicy)> {
    let name = path.display().to_string();
    let said = |error: io::Error| Error::msg(format!("{name}: {error}"));
    let file = File::open(path).map_err(said)?;
    let mut changed = changed(&file);
    let mut left = LARGEST;
    let bytes = bounded(file, &mut left).map_err(said)?;
    let mut sum = Sha256::new();
    sum.update(&bytes);
    // The paths of included files start at the directory of the policy file itself, even if the user named a symbolic
    // link to it.
    let identity = path.canonicalize().map_err(said)?;
    let directory = identity.parent().unwrap_or(Path::new("/")).to_owned();
    let shown = path.parent().unwrap_or(Path::new("")).to_owned();
    let top = Included { name: name.clone(), identity: text(&identity), bytes };
    let mut read = |from: &str, include: &str| {
        let (inner, date) = included(from, include, &directory, &shown, &mut left)?;
        changed = changed.max(date);
        sum.update(&inner.bytes);
        Ok(inner)
    };
    let policy = policy::parse(&top, &mut read).map_err(|trouble| Error::msg(trouble.to_string()))?;
    let sha256 = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((policy, AppliedPolicy { name, sha256, changed, skipped_rules: Vec::new() }))
}

fn changed(file: &File) -> Option<Timestamp> {
    Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()
}

/// Reads an included file. A file outside the directory of the policy is an error, even if a symbolic link in this
/// directory leads to it.
fn included(
    from: &str,
    include: &str,
    directory: &Path,
    shown: &Path,
    left: &mut u64,
) -> Result<(Included, Option<Timestamp>), String> {
    const OUTSIDE: &str = "outside the directory of the policy";
    if Path::new(include).has_root() {
        return Err(OUTSIDE.to_owned());
    }
    let base = Path::new(from).parent().unwrap_or(directory);
    let path = base.join(include).canonicalize().map_err(|error| error.to_string())?;
    let within = path.strip_prefix(directory).map_err(|_| OUTSIDE.to_owned())?;
    let file = regular(&path).map_err(|error| error.to_string())?;
    let date = changed(&file);
    let bytes = bounded(file, left).map_err(|error| error.to_string())?;
    Ok((Included { name: shown.join(within).display().to_string(), identity: text(&path), bytes }, date))
}

/// Opens a regular file. Anything else is an error, because reading a pipe could block forever.
fn regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    File::open(path)
}

/// Reads a file of at most `left` bytes, and subtracts its size from `left`. A larger file is an error.
fn bounded(file: File, left: &mut u64) -> io::Result<Vec<u8>> {
    let bytes = read_limited(file, *left, "too large for a policy (the limit is 4 MiB, all files together)")?;
    *left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    Ok(bytes)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
