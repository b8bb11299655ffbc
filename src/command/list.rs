//! `portolan` and `portolan list`: lists sockets.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};

use anyhow::{Error, Result, bail};

use super::{Exit, Ui, charset, judged, print_message, registry_source, suggestions, take_snapshot};
use crate::cli::{CommonArgs, FilterArgs, ListArgs, Output, ScanArgs};
use crate::findings::socket::Sniffer;
use crate::findings::{FindingKind, Flag};
use crate::judge::{Entry, Listener, Report};
use crate::model::{Direction, Gap, Owner, Protocol, Snapshot, State};
use crate::observe::{self, Scope};
use crate::query::{Answer, OwnAddresses, Selection, Subject, TypedFilters, names};
use crate::registry::Registry;
use crate::render::columns::{self, Column, Key};
use crate::render::{
    brief, caveats, csv, json, listener_card, merge, stderr, summary_height, table, write_summary,
};

/// Lists sockets. `is_named` is true if the user typed the command `list`.
pub(super) fn run(
    args: &ListArgs,
    is_named: bool,
    common: &CommonArgs,
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    if args.brief && !matches!(common.output, Output::Ndjson | Output::Csv) {
        bail!("--brief needs -o ndjson or -o csv");
    }
    if args.brief && !args.columns.is_empty() {
        bail!("--brief always has the same columns; leave out --columns");
    }
    let registry = registry_source::registry(common)?;
    let mut selection = selection(&args.scan, args.raw, &registry, common)?;
    if args.pids {
        check_pids(args, common, &selection)?;
        selection.mean_bound_sockets();
    }
    let mut scope = scan_scope(&args.scan, &selection);
    scope.details |= common.output != Output::Table || !args.columns.is_empty() || args.sort.is_some();
    let listeners = scope.clone();
    let wanted = match names_numbers(&args.scan, &selection) {
        _ if args.group => MatchMode::Listeners,
        true => MatchMode::Numbers,
        false => MatchMode::Sockets,
    };
    if wanted != MatchMode::Sockets {
        scope.states = State::with_ports();
    }
    // A port number selects sockets in every state. A saved snapshot usually has only listeners. To avoid a gap for
    // each missing state, only listeners are requested from a saved snapshot.
    let is_saved = common.from.is_some() && wanted == MatchMode::Numbers;
    let snapshot = take_snapshot(common, if is_saved { listeners } else { scope.clone() })?;
    check_users(&selection, &snapshot)?;
    let mut report = judged(snapshot, registry, common);
    if selection.uses_probable_owners() {
        super::infer_owners(&mut report, |_| true, common);
    }
    let matched_entries = matched_entries(&report, &scope, &selection, wanted);
    if !is_named
        && let Some(message) = suggestions::misplaced_command(
            &args.scan.filter.targets,
            &selection,
            &matched_entries.matched,
            common,
        )
    {
        return Err(Error::msg(message));
    }
    if let Some(note) = suggestions::also_reachable(&selection, &report) {
        print_message(&note);
    }
    let unknown = suggestions::unknown_names(&selection, &matched_entries.matched, &report, common);
    let mut searched = selection.searched(&matched_entries.matched);
    searched.extend(suggestions::unknown_values(&selection, &report));
    searched.extend(selection.foreign_addresses(&matched_entries.matched));
    let unused = suggestions::unused_exclusions(&selection, &report, common);
    narrow(&mut report, &matched_entries, &selection);
    let columns = columns(args, common.output)?;
    let is_for_people = matches!(common.output, Output::Table | Output::Wide) && !args.pids;
    // If the filters use probable owners, these owners are already known here.
    if is_for_people && !selection.uses_probable_owners() {
        super::infer_owners(&mut report, |_| true, common);
    }
    if let Some(key) = &args.sort {
        sort(&mut report, key)?;
    }
    let may_have_card = !asks_for_table(args, common)
        && !selection.is_everything()
        && Listener::only(&report.entries).is_some();
    let has_card = may_have_card && ui.stdout.width.is_some_and(|width| width >= listener_card::NARROWEST);
    // The note about the card is only for a person who redirects standard output. A script gets no note, because its
    // standard error is not a terminal.
    let would_be_card = may_have_card && ui.stdout.width.is_none() && ui.stderr.width.is_some();
    if is_for_people && !has_card && !args.no_merge {
        report.entries = merge(std::mem::take(&mut report.entries));
    }
    if has_card {
        let pids = report.entries.iter().flat_map(|entry| entry.socket.owner.pids()).copied().collect();
        super::read_rest(&mut report, &pids, common);
        super::add_connections(&mut report, common);
        super::add_ssh_clients(&mut report, common);
    }
    let reasons = || unknown.iter().chain(&searched);
    let is_empty = report.entries.is_empty();
    if is_empty {
        // If nothing matched, the messages about the targets come before the gaps.
        reasons().for_each(|line| print_message(line));
    }
    let mut legend = String::new();
    match common.output {
        _ if args.pids => pids(&report, out)?,
        _ if let (true, Some(listener)) = (has_card, Listener::only(&report.entries)) => {
            let free = ui.rows.map_or(USUAL_ROWS, usize::from).max(USUAL_ROWS).saturating_sub(AROUND_CARD);
            let free =
                if args.scan.verbose { usize::MAX } else { free - caveat_height(&report, ui).min(free) };
            listener_card::listing(&listener, free, &report, &ui.stdout, out)?;
        }
        Output::Ndjson if args.brief => brief::lines(&report, out)?,
        Output::Csv if args.brief => brief::csv(&report, !args.no_header, out)?,
        Output::Json => json::listing(&report, out)?,
        Output::Ndjson => json::lines(&report, out)?,
        Output::Csv => csv::listing(&report, &columns, !args.no_header, out)?,
        Output::Table if columns.is_empty() => {
            legend = table::listing(&report, !args.no_header, &ui.stdout, out)?;
        }
        Output::Wide if columns.is_empty() => {
            legend = table::wide(&report, !args.no_header, &ui.stdout, out)?;
        }
        // `Sarif`, `Metrics` and `Html` are formats of an audit or a comparison, so they were refused earlier.
        Output::Table | Output::Wide | Output::Sarif | Output::Metrics | Output::Html => {
            legend = table::grid(&report, &columns, !args.no_header, &ui.stdout, out)?;
        }
    }
    out.flush()?;
    if args.scan.verbose || !is_for_people || has_card {
        ui.print_caveats(&report, args.scan.verbose);
    }
    let summed = common.output == Output::Table && columns.is_empty() && ui.stdout.width.is_some();
    if is_for_people && !summed {
        // Standard output contains only the rows, so the summary goes to standard error.
        let _ = write_summary(&report, &legend, &ui.stderr, &mut charset::stderr());
    }
    let height = report.entries.len() + HEADER + summary_height(&report, &legend, &ui.stdout);
    if args.sort.is_some() && is_for_people && ui.rows.is_some_and(|rows| height >= rows.into()) {
        print_message(
            "note: the first rows have scrolled off this screen; to see only the first rows, add | head",
        );
    }
    let after = reasons().filter(|_| !is_empty);
    after.chain(&unused).for_each(|line| print_message(line));
    let number = report.question.port.filter(|_| is_for_people && is_empty);
    if let Some(note) = number.and_then(|number| suggestions::meant_process(number.into(), common)) {
        print_message(&format!("note: {note}"));
    }
    if would_be_card {
        let port = report.entries.first().map_or(0, |entry| entry.socket.local.port);
        print_message(&format!(
            "note: on a terminal, this listener is shown as a card with more details; to write the card to a pipe or a file, type portolan explain {port}"
        ));
    }
    let has_pid = |entry: &Entry| !entry.socket.owner.pids().is_empty();
    let matched = if args.pids { report.entries.iter().any(has_pid) } else { !report.entries.is_empty() };
    let hides_pid = |entry: &Entry| !has_pid(entry) && entry.socket.owner != Owner::Kernel;
    let all_visible = matched_entries.undecided == 0
        && !report.snapshot.gaps.iter().any(Gap::hides_listeners)
        && !(args.pids && report.entries.iter().any(hides_pid));
    Ok(match (matched || selection.is_everything(), all_visible) {
        (true, _) => Exit::Matched,
        (false, true) => Exit::Nothing,
        (false, false) => Exit::Incomplete,
    })
}

/// The usual number of rows of a terminal.
const USUAL_ROWS: usize = 24;
/// The number of lines around a card: the command above it and the shell prompt below it.
const AROUND_CARD: usize = 2;

fn caveat_height(report: &Report, ui: &Ui) -> usize {
    let caveats = caveats(&report.snapshot, report.entries.iter(), report.question);
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = stderr::caveats(&caveats, &ui.stderr, &mut bytes);
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The number of lines of a table above its rows.
const HEADER: usize = 2;

/// Returns whether an option requests a table. Without such an option, a terminal may show a card instead.
fn asks_for_table(args: &ListArgs, common: &CommonArgs) -> bool {
    common.output != Output::Table
        || common.format_is_named.0
        || args.pids
        || args.group
        || args.no_header
        || args.no_merge
        || args.sort.is_some()
        || !args.columns.is_empty()
}

/// Parses the filters of a listing or a watch. `raw` selects the sockets without a port.
pub(super) fn selection(
    args: &ScanArgs,
    raw: bool,
    registry: &Registry,
    common: &CommonArgs,
) -> Result<Selection> {
    let connections = |(name, values): &(&str, Vec<String>)| {
        *name == "state" && values.iter().any(|value| value.eq_ignore_ascii_case("established"))
    };
    let either_end = args.all || args.filter.fields.values.iter().any(connections);
    parsed(&TypedFilters { raw, ..args.filter.typed_filters(either_end) }, registry, common)
}

/// Parses filters. A name in a filter may be the name of a network interface of this machine.
pub(super) fn parsed(
    asked: &TypedFilters<'_>,
    registry: &Registry,
    common: &CommonArgs,
) -> Result<Selection> {
    let mut selection = Selection::new(asked, registry)
        .map_err(|error| Error::msg(suggestions::with_pid(&error, asked.targets, common)))?;
    // A snapshot or another network namespace can have other interfaces with the same names. So the interfaces of this
    // machine are used only if the scan is in portolan's own network namespace.
    if common.from.is_none() && common.netns.is_none() {
        let machine =
            OwnAddresses { of_interface: &observe::interface_addresses, has: &observe::is_own_address };
        selection.resolve(&machine);
    }
    Ok(selection)
}

#[derive(Default)]
pub(super) struct MatchedEntries {
    /// Whether each entry matches, in the order of the entries.
    pub(super) keep: Vec<bool>,
    /// The indices of the targets that matched.
    pub(super) matched: HashSet<usize>,
    /// The number of entries that are left out because the filters need facts that are not known.
    pub(super) undecided: usize,
}

/// The sockets that can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MatchMode {
    /// Sockets in the states of the scope.
    Sockets,
    /// Only listeners, regardless of the scope.
    Listeners,
    /// The sockets of the scope. If the user names a port by number, sockets in other states that occupy this port can
    /// match too.
    Numbers,
    /// Every socket that prevents a program from binding a target.
    Port,
}

pub(super) fn matched_entries(
    report: &Report,
    scope: &Scope,
    selection: &Selection,
    wanted: MatchMode,
) -> MatchedEntries {
    let mut matched_entries = MatchedEntries::default();
    let matched = &mut matched_entries.matched;
    for entry in &report.entries {
        let state = entry.socket.state;
        let answer = match wanted {
            // A saved snapshot may contain sockets in states that are not in the scope.
            _ if !scope.states.contains(&state) => Answer::No,
            MatchMode::Port => selection.blocks_target(entry, matched),
            // A connection that a listener accepted does not occupy the port. The listener occupies it.
            MatchMode::Numbers if !state.holds_port() && entry.direction == Some(Direction::In) => Answer::No,
            MatchMode::Numbers if !state.holds_port() => selection.test_numbers(entry, matched),
            MatchMode::Listeners if !state.holds_port() => Answer::No,
            _ => selection.test(&Subject::Entry(entry), matched),
        };
        matched_entries.undecided += usize::from(answer == Answer::Unknown);
        matched_entries.keep.push(answer.is_yes());
    }
    matched_entries
}

/// Returns whether the user named a port by number. Returns false if an option selects connections or states, or skips
/// the processes.
fn names_numbers(args: &ScanArgs, selection: &Selection) -> bool {
    !args.all && !args.no_holders && selection.states().next().is_none() && selection.names_numbers()
}

pub(super) fn narrow(report: &mut Report, matched_entries: &MatchedEntries, selection: &Selection) {
    let question = &mut report.question;
    question.is_narrowed = !selection.is_everything();
    question.port = selection.only_port();
    question.undecided = matched_entries.undecided;
    let mut keep = matched_entries.keep.iter();
    report.entries.retain(|_| keep.next() == Some(&true));
}

/// Returns an error if the filters name a user that neither this system nor the snapshot knows.
pub(super) fn check_users(selection: &Selection, snapshot: &Snapshot) -> Result<()> {
    for user in selection.values("user") {
        let of_sockets = snapshot.sockets.iter().map(|socket| socket.user.as_deref());
        let of_processes = snapshot.processes.iter().map(|process| process.user.as_deref());
        if user.parse::<u32>().is_err()
            && !of_sockets.chain(of_processes).any(|known| known == Some(user))
            && !observe::is_user(user)
        {
            bail!("--user {user}: no such user (expected a name or a user ID)");
        }
    }
    Ok(())
}

/// Returns the columns to show. The list is empty for the default table.
fn columns(args: &ListArgs, output: Output) -> Result<Vec<&'static Column>> {
    let named: Vec<&str> = match (args.columns.is_empty(), output) {
        (false, Output::Json | Output::Ndjson) => {
            bail!("--columns: JSON always has every field; use -o csv, wide or table");
        }
        (false, _) => args.columns.iter().map(String::as_str).collect(),
        (true, Output::Csv) => columns::CSV.to_vec(),
        (true, _) => Vec::new(),
    };
    named.into_iter().map(|name| column(name, &format!("--columns {name}"))).collect()
}

fn column(name: &str, option: &str) -> Result<&'static Column> {
    columns::named(name).ok_or_else(|| {
        let names: Vec<&str> = columns::names().collect();
        Error::msg(format!("{option}: {}", names::unknown("field", name, &names)))
    })
}

/// Sorts the listing by a column. The sort is stable.
fn sort(report: &mut Report, key: &str) -> Result<()> {
    let (name, falling) = key.strip_prefix('-').map_or((key, false), |name| (name, true));
    let column = column(name, &format!("--sort {key}"))?;
    if falling {
        // Unknown values come last in both directions.
        report.entries.sort_by_cached_key(|entry| {
            let key = column.key(entry);
            (key == Key::Unknown, Reverse(key))
        });
    } else {
        report.entries.sort_by_cached_key(|entry| column.key(entry));
    }
    Ok(())
}

/// Returns an error for unsafe uses of `--pids`. Users pass its output to `kill`, so it may contain only processes
/// that the user selected explicitly.
fn check_pids(args: &ListArgs, common: &CommonArgs, selection: &Selection) -> Result<()> {
    if common.output != Output::Table {
        bail!("--pids: prints one process ID per line; leave out -o");
    }
    if args.scan.no_holders {
        bail!("--pids: needs the process lookup; leave out --no-holders");
    }
    if selection.is_everything() {
        bail!("--pids: needs a target or a filter, for example portolan --pids 3000");
    }
    Ok(())
}

/// Prints the process IDs of the matching entries, each once, in ascending order.
fn pids(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let pids: BTreeSet<_> = report.entries.iter().flat_map(|j| j.socket.owner.pids()).collect();
    pids.into_iter().try_for_each(|pid| writeln!(out, "{pid}"))
}

fn filter_scope(args: &FilterArgs, selection: &Selection) -> Scope {
    let details = selection.needs_details();
    let mut scope = Scope { ports: selection.ports(), details, ..Scope::default() };
    if args.tcp || args.udp {
        scope.protocols.retain(|protocol| match protocol {
            Protocol::Tcp => args.tcp,
            Protocol::Udp | Protocol::Udplite => args.udp,
            Protocol::Sctp | Protocol::Dccp | Protocol::Raw | Protocol::Packet => false,
        });
    }
    let states: Vec<State> = selection.states().collect();
    if states.iter().any(|state| !state.is_judged()) {
        // Listeners are scanned too, because they show the direction of a connection.
        scope.states.extend(states);
    } else if !states.is_empty() {
        scope.states = states;
    }
    // Only sockets without a port can have the finding `sniffer`, so the scan must include them.
    if selection.values("flag").any(|code| Flag::find(code) == Some(Sniffer::FLAG)) {
        scope.states.push(State::Raw);
    }
    scope
}

pub(super) fn scan_scope(args: &ScanArgs, selection: &Selection) -> Scope {
    let mut scope = filter_scope(&args.filter, selection);
    scope.processes = !args.no_holders;
    if args.all {
        scope.states = State::ALL.to_vec();
    } else if args.no_holders && selection.states().next().is_none() {
        scope.states.retain(|state| *state != State::Bound);
    }
    scope
}
