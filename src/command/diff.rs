//! `portolan diff`: shows what changed since a saved snapshot.

use std::io::Write;
use std::path::Path;

use anyhow::{Error, Result, bail};

use super::long_error::LongError;
use super::suggestions::NEWEST;
use super::{
    Exit, Ui, charset, from, infer_owners, judged, name_host, namespaces, print_message, registry_source,
};
use crate::baseline::compare;
use crate::cli::{CommonArgs, DiffArgs, Output};
use crate::model::{Host, Rights, Snapshot};
use crate::observe::{self, Scope, observe};
use crate::render::{diff, html, stderr};

pub(super) fn run(args: &DiffArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    check(args, common)?;
    let Some(path) = &args.before else {
        return Err(without_snapshot(observe::rights()).into());
    };
    let registry = registry_source::registry(common)?;
    let mut scope = Scope { details: true, ..Scope::default() };
    common.apply_to(&mut scope);
    let before = from::read_for_scope(path, &scope)?;
    let after = match &args.after {
        Some(path) => from::read_for_scope(path, &scope)?,
        None => scan_like(common, &before)?,
    };
    let name = path.display().to_string();
    same_host(&name, &before, &after, args.other_host)?;
    // If both snapshots are files, a wrong order only causes a message, because the user may want to see the changes in
    // reverse.
    match exchanged(&name, &before, &after) {
        Some(why) if args.after.is_none() => return Err(Error::msg(why)),
        Some(why) => print_message(&why),
        None => {}
    }
    let (mut before, mut after) = (judged(before, registry, common), judged(after, registry, common));
    before.question.is_saved = true;
    after.question.is_saved = args.after.is_some();
    if args.after.is_none() {
        infer_owners(&mut after, |_| true, common);
    }
    let comparison = compare(&before, &after);
    let mut messages = Vec::new();
    match args.verbose {
        true => stderr::unseen(&diff::gaps(&comparison), &ui.stderr, &mut messages)?,
        false => stderr::caveats(&diff::caveats(&before, &after), &ui.stderr, &mut messages)?,
    }
    diff::not_comparable(&comparison, &ui.stderr, &mut messages)?;
    let mut table = Vec::new();
    if common.output == Output::Table {
        diff::table(&comparison, &ui.stdout, &mut table)?;
    }
    // On a terminal, the changes come first if everything fits on the screen. Otherwise the changes and the verdict
    // come last, because the last lines stay visible.
    let height = height(&table) + height(&messages) + AROUND;
    let is_first = common.output == Output::Table && ui.rows.is_some_and(|rows| height <= rows.into());
    if is_first {
        out.write_all(&table)?;
        out.flush()?;
    }
    let _ = charset::stderr().write_all(&messages);
    match common.output {
        Output::Json => diff::document(&comparison, &registry, out)?,
        Output::Ndjson => diff::lines(&comparison, &registry, out)?,
        Output::Csv => diff::csv(&comparison, out)?,
        Output::Html => html::diff::document(&comparison, &after, ui.stdout.zone, out)?,
        _ if is_first => {}
        _ => out.write_all(&table)?,
    }
    out.flush()?;
    if common.output != Output::Table || ui.stdout.width.is_none() {
        // On a terminal, the table already ends with the summary.
        print_message(&diff::summary(&comparison, common.output == Output::Table, ui.stderr.zone));
    }
    Ok(match (comparison.changed(), comparison.is_complete() || args.allow_incomplete) {
        (true, _) => Exit::Findings,
        (false, true) => Exit::Clear,
        (false, false) => Exit::Incomplete,
    })
}

/// The number of lines around the answer: the command above it and the shell prompt below it.
const AROUND: usize = 2;

fn height(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// Returns the error for a comparison without an earlier snapshot. It contains the commands that lead to a comparison.
fn without_snapshot(rights: Rights) -> LongError {
    let sudo = if rights.needs_sudo { "sudo " } else { "" };
    LongError {
        messages: vec!["diff needs an earlier snapshot".to_owned()],
        commands: vec![
            ("take one now:", format!("{sudo}portolan capture >before.json")),
            ("after a change:", format!("{sudo}portolan diff before.json")),
            ("what started last:", format!("portolan {NEWEST}")),
        ],
    }
}

fn check(args: &DiffArgs, common: &CommonArgs) -> Result<()> {
    if common.from.is_some() {
        bail!("diff does not accept --from; name the files as arguments: portolan diff BEFORE AFTER");
    }
    if args.after.is_some() && common.netns.is_some() {
        bail!("--netns: applies to a scan, but this diff compares two files; leave out --netns");
    }
    if args.after.is_some() && (common.host_id.is_some() || !common.label.is_empty()) {
        bail!(
            "--host-id, --label: apply to a scan, but this diff compares two files; leave out these options"
        );
    }
    if args.before.as_deref() == Some(Path::new("-")) && args.after.as_deref() == Some(Path::new("-")) {
        bail!("only one side of a diff can read standard input");
    }
    Ok(())
}

fn scan_like(common: &CommonArgs, before: &Snapshot) -> Result<Snapshot> {
    let asked = if common.netns.is_some() { namespaces(common) } else { before.scope.namespaces.clone() };
    let part = common.scope.unwrap_or(before.scope.part);
    // Only root can read hidden processes. For other users, the slow search for hidden processes is skipped.
    let packages = before.scope.packages && !observe::rights().needs_sudo;
    let scope = Scope { namespaces: asked, details: true, packages, part, ..Scope::default() };
    let mut snapshot = observe(&scope).map_err(Error::msg)?;
    name_host(common, &mut snapshot);
    Ok(snapshot)
}

/// Returns whether both snapshots are of one host. The IDs are also compared, because two hosts can have the same name.
fn is_same_host(was: &Host, is: &Host) -> bool {
    match (&was.id, &is.id) {
        (Some(was), Some(is)) => was == is,
        _ => was.name.is_some() && (&was.name, &was.os) == (&is.name, &is.os),
    }
}

/// Returns an error if two hosts are compared without `--other-host`. `name` is the file of the earlier snapshot.
pub(super) fn same_host(name: &str, before: &Snapshot, after: &Snapshot, other_host: bool) -> Result<()> {
    let (was, is) = (&before.host, &after.host);
    if other_host || is_same_host(was, is) {
        return Ok(());
    }
    Err(Error::msg(format!(
        "{name}: a snapshot of host {}, not of {}; to compare two hosts, add --other-host",
        host_text(was),
        host_text(is)
    )))
}

/// Returns a sentence if the snapshots of one host are in the wrong order, because `before` was taken later than
/// `after`. New listeners would then be reported as vanished, or not at all. `name` is the file of `before`.
pub(super) fn exchanged(name: &str, before: &Snapshot, after: &Snapshot) -> Option<String> {
    let is_exchanged = is_same_host(&before.host, &after.host) && before.taken > after.taken;
    let [was, is] = [before, after].map(|side| side.taken.strftime("%Y-%m-%d %H:%M:%S UTC"));
    is_exchanged.then(|| {
        format!(
            "{name}: taken on {was}, which is later than the other snapshot ({is}); exchange the snapshots, or check the \
            clock of the host"
        )
    })
}

fn host_text(host: &Host) -> String {
    let name = host.name.as_deref().unwrap_or("a host without a name");
    let id = host.id.as_deref().map(|id| format!(", ID {id}")).unwrap_or_default();
    format!("{name} ({}{id})", host.os)
}
