//! `portolan audit`: reports findings, and returns the verdict as the exit code.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::path::Path;

use anyhow::{Error, Result, bail};

use super::atomic_write::{self, Existing, Readers};
use super::policy::load;
use super::progress::Progress;
use super::{
    Exit, Ui, charset, diff, from, judged, list, print_message, registry_source, suggestions, take_snapshot,
};
use crate::baseline::{self, NotComparedReason};
use crate::cli::{AuditArgs, CommonArgs, Output};
use crate::judge::audit::{Audit, AuditVerdict, Subject};
use crate::judge::{self, Entry, Report};
use crate::model::{Gap, HostScope, Namespaces, Note, Pid, Severity, Snapshot, Stage, State};
use crate::observe::{self, Scope};
use crate::policy;
use crate::query::Selection;
use crate::render::audit::{self as report_text, json, metrics, rules, sarif, table};
use crate::render::{html, stderr};

pub(super) fn run(args: &AuditArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    if args.rules {
        return rules(args, common, ui, out);
    }
    // The policy is read first, so that an invalid policy is refused before the scan.
    let policy = args.policy.as_deref().map(load).transpose()?;
    let registry = registry_source::registry(common)?;
    let selection = list::parsed(&args.filter.typed_filters(false), &registry, common)?;
    let asked = args.filter.typed();
    check(args, common, &selection, asked.is_some())?;
    // The filters do not limit the scan, because a policy rule may require a listener that the filters exclude.
    let mut scope = Scope { details: true, part: HostScope::Machine, ..Scope::default() };
    common.apply_to(&mut scope);
    let baseline = args.baseline.as_deref().map(|path| from::read_for_scope(path, &scope)).transpose()?;
    // If the user chose no network namespaces, the policy and the baseline apply only to the namespaces that they were
    // made for. The other rules apply to all namespaces.
    let are_chosen = common.netns.is_some() || args.deep;
    let namespaces = match (observe::audited_namespaces(scope.part), &baseline) {
        _ if args.deep => observe::EVERYWHERE,
        (Namespaces::Own, Some(baseline)) => baseline.scope.namespaces.clone(),
        (namespaces, _) => namespaces,
    };
    // Reading the details of processes takes time, and the rules do not need the details. They are read only for a
    // format that shows them, for a policy, or for a baseline.
    let people = matches!(common.output, Output::Table | Output::Metrics | Output::Html);
    let details = !people || args.policy.is_some() || baseline.is_some();
    let part = scope.part;
    let mut scope = Scope { details, namespaces, packages: true, part, ..Scope::default() };
    scope.states.push(State::Raw);
    let mut snapshot = take_snapshot(common, scope)?;
    if let (Some(path), Some(baseline)) = (&args.baseline, &baseline) {
        let name = path.display().to_string();
        diff::same_host(&name, baseline, &snapshot, args.other_host)?;
        if let Some(why) = diff::exchanged(&name, baseline, &snapshot) {
            return Err(Error::msg(why));
        }
    }
    let deep = || {
        let _progress = Progress::start();
        observe::deep(&snapshot.scope.namespaces)
    };
    let deep = args.deep.then(deep).transpose();
    let deep = deep.map_err(Error::msg)?;
    snapshot.notes.extend(deep.iter().flat_map(|deep| deep.notes.clone()));
    list::check_users(&selection, &snapshot)?;
    let leaves_out_others = !are_chosen
        && snapshot.sockets.iter().any(|socket| socket.netns.is_some() && socket.state.is_judged());
    let covers_only_own = |one: &Snapshot| one.scope.namespaces == Namespaces::Own;
    if leaves_out_others && baseline.as_ref().is_some_and(covers_only_own) {
        snapshot.notes.push(not_covered("the baseline was taken"));
    }
    if leaves_out_others && policy.as_ref().is_some_and(|(policy, _)| !policy.names_other_namespaces()) {
        snapshot.notes.push(not_covered("the policy has rules"));
    }
    let before = baseline.map(|baseline| judged(baseline, registry, common));
    let mut report = judged(snapshot, registry, common);
    if !details {
        let pids = critical(&report);
        super::read_rest(&mut report, &pids, common);
    }
    if matches!(common.output, Output::Table | Output::Html) || selection.uses_probable_owners() {
        super::infer_owners(&mut report, |_| true, common);
    }
    let mut audit = Audit::of(&report);
    // The audit already contains the findings on single listeners. The policy, the baseline and the deep scan add
    // findings and gaps.
    if let Some((policy, applied)) = policy {
        audit.policy = Some(applied);
        audit.are_namespaces_chosen = are_chosen;
        policy::apply(&policy, &mut audit);
    }
    if let Some(before) = &before {
        let mut comparison = baseline::compare(before, &report);
        if !are_chosen {
            comparison.not_compared.retain(|one| one.why != NotComparedReason::Namespace);
        }
        baseline::add_to(&mut audit, &comparison);
    }
    audit.gaps.extend(uncovered_namespaces(&report.snapshot, common));
    if let Some(deep) = &deep {
        judge::deep::add_to(&mut audit, deep);
    }
    audit.sort();
    if let Some(asked) = asked {
        audit.expects_match = selection.names_listeners();
        let matched = narrow(&mut audit, asked, &selection);
        if let Some(line) =
            suggestions::unknown_names(&selection, &matched, &report, common).into_iter().next()
        {
            return Err(Error::msg(line));
        }
    }

    let outcome = audit.outcome(args.fail_on);
    let mut bytes = Vec::new();
    match common.output {
        Output::Json => json::document(&audit, args.fail_on, &mut bytes)?,
        Output::Ndjson => json::lines(&audit, args.fail_on, &mut bytes)?,
        Output::Sarif => sarif::document(&audit, args.fail_on, &mut bytes)?,
        Output::Metrics => metrics::document(&audit, args.fail_on, &mut bytes)?,
        Output::Html => html::audit::document(&audit, args.fail_on, ui.stdout.zone, &mut bytes)?,
        _ => table::document(&audit, args.fail_on, &style(args, ui), &mut bytes)?,
    }
    deliver(args, common, &bytes, out)?;
    let on_screen = common.output == Output::Table && args.write.is_none();
    if !on_screen {
        // The table on the screen already contains the gaps.
        let _ = stderr::gaps(audit.all_gaps(), &report.snapshot.notes, &ui.stderr, &mut charset::stderr());
    }
    if let Some(line) = audit.policy.as_ref().and_then(report_text::skipped_rules) {
        print_message(&format!("note: {line}"));
    }
    if !on_screen {
        print_message(&report_text::verdict(&audit, args.fail_on));
    }
    Ok(match outcome {
        AuditVerdict::Clear => Exit::Clear,
        AuditVerdict::Findings => Exit::Findings,
        AuditVerdict::NothingMatched if audit.is_complete() => Exit::Nothing,
        AuditVerdict::NothingMatched => Exit::Incomplete,
        AuditVerdict::Incomplete if args.allow_incomplete => Exit::Clear,
        AuditVerdict::Incomplete => Exit::Incomplete,
    })
}

fn not_covered(why: &str) -> Note {
    let what = format!(
        "{why} only for the network namespace in which portolan runs, and does not apply to listeners in other \
            network namespaces"
    );
    Note::new(what).with_remedy(Note::ALL_NAMESPACES)
}

/// Returns the gap for network namespaces that a saved snapshot does not cover.
fn uncovered_namespaces(snapshot: &Snapshot, common: &CommonArgs) -> Option<Gap> {
    let is_accepted = common.from.is_none() || common.scope == Some(HostScope::Namespace);
    // If the scan saw only a separate network namespace, another gap already reports that the rest of the machine is
    // missing.
    if is_accepted || snapshot.host.scope == Some(HostScope::Namespace) {
        return None;
    }
    let note = snapshot.notes.iter().find(|note| note.is_about_namespaces())?;
    let nouns = if note.count == Some(1) { "other network namespace" } else { "other network namespaces" };
    let gap = Gap::new(Stage::Namespaces, nouns, "the snapshot does not cover them");
    let remedy = "capture it as root with --netns all, or accept this with --scope namespace";
    Some(Gap { count: note.count, ..gap }.with_remedy(remedy))
}

/// Returns the processes with a critical finding. Their details are needed to write the command that stops them.
fn critical(report: &Report) -> BTreeSet<Pid> {
    let is_critical =
        |entry: &&Entry| entry.findings().iter().any(|found| found.severity == Severity::Critical);
    let critical = report.entries.iter().filter(is_critical);
    critical.flat_map(|entry| entry.socket.owner.pids()).copied().collect()
}

fn rules(args: &AuditArgs, common: &CommonArgs, ui: &Ui, out: &mut dyn Write) -> Result<Exit> {
    let mut bytes = Vec::new();
    match common.output {
        Output::Table => rules::text(&style(args, ui), &mut bytes)?,
        Output::Json => rules::document(&mut bytes)?,
        _ => {
            bail!("--rules does not have this output format (expected table or json)");
        }
    }
    deliver(args, common, &bytes, out)?;
    Ok(Exit::Clear)
}

fn style(args: &AuditArgs, ui: &Ui) -> crate::render::Style {
    match args.write {
        Some(_) => crate::render::Style { width: None, color: false, ..ui.stdout },
        None => ui.stdout,
    }
}

fn deliver(args: &AuditArgs, common: &CommonArgs, bytes: &[u8], out: &mut dyn Write) -> Result<()> {
    if let Some(path) = &args.write {
        // JSON contains command lines, which may contain secrets. So only the user may read the file.
        let has_command_lines = matches!(common.output, Output::Json | Output::Ndjson) && !args.rules;
        let readers = if has_command_lines { Readers::Owner } else { Readers::All };
        return atomic_write::write(path, bytes, Existing::Replace, readers);
    }
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Refuses options that would hide findings or gaps from the report.
fn check(args: &AuditArgs, common: &CommonArgs, selection: &Selection, narrowed: bool) -> Result<()> {
    if args.deep && common.from.is_some() {
        bail!("--deep scans this machine, and --from reads a file: use only one of them");
    }
    if args.baseline.as_deref() == Some(Path::new("-")) && common.from.as_deref() == Some(Path::new("-")) {
        bail!("only one of --baseline and --from can read standard input");
    }
    if matches!(common.output, Output::Csv | Output::Wide) {
        bail!(
            "audit does not have this output format (expected table, json, ndjson, sarif, metrics or html)"
        );
    }
    if selection.states().any(|state| !state.is_judged()) {
        bail!("audit covers listeners only; to list connections, use portolan -a");
    }
    if selection.values("flag").next().is_some() {
        bail!(
            "audit does not accept --flag, because it shows every finding; to choose by severity, use --fail-on"
        );
    }
    if narrowed && common.output == Output::Metrics {
        bail!("-o metrics always covers the whole machine; leave out targets and filters");
    }
    Ok(())
}

/// Keeps the findings that match the filters, and returns the indices of the targets that matched. A finding about a
/// missing listener is kept if the filters would select this listener.
fn narrow(audit: &mut Audit<'_>, asked: String, selection: &Selection) -> HashSet<usize> {
    let mut matched = HashSet::new();
    audit.narrow(asked, |subject| match subject {
        Subject::Entry(entry) => {
            entry.socket.state.is_judged() && selection.test(&subject, &mut matched).is_yes()
        }
        Subject::NoListener { .. } => !selection.test(&subject, &mut HashSet::new()).is_no(),
    });
    matched
}
