//! Writes policies as TOML, and the remarks about a policy.
//!
//! Parsing the printed text gives the same policy. Names from outside are in quotes. Characters in these names are
//! escaped if a terminal could interpret them, or if a reader could not see them.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use jiff::civil::Date;

use super::{address, is_unsafe, owner_mark, sanitize};
use crate::findings::text::{first_of, plural};
use crate::judge::Entry;
use crate::model::Snapshot;
use crate::policy::{
    AllowRule, Draft, DraftNote, Drafted, ExecutablePattern, FlaggedBy, Glob, Namespaces, POLICY_SCHEMA,
    Policy, Ports, Remark, RemarkKind, SeverityRule, User, flagging,
};

/// The maximum number of values that a comment or the summary names; the rest are counted.
const MOST_NAMED: usize = 8;

/// Writes a policy with all included files as one file.
pub fn policy(policy: &Policy, w: &mut dyn Write) -> io::Result<()> {
    writeln!(w, "schema = {}", quoted(POLICY_SCHEMA))?;
    for rule in &policy.allow {
        writeln!(w)?;
        allow(rule, w)?;
    }
    for rule in &policy.rules {
        writeln!(w)?;
        grade(rule, w)?;
    }
    Ok(())
}

fn allow(rule: &AllowRule, w: &mut dyn Write) -> io::Result<()> {
    writeln!(w, "[[allow]]\nid = {}", quoted(&rule.id))?;
    list("hosts", &rule.hosts, glob, w)?;
    list("port", &rule.ports, port, w)?;
    list("protocol", &rule.protocols, |protocol| quoted(protocol.name()), w)?;
    list("address", &rule.addresses, |network| quoted(&network.to_string()), w)?;
    list("exposure", &rule.exposures, |exposure| quoted(exposure.name()), w)?;
    list("device", &rule.devices, glob, w)?;
    list("executable", &rule.executables, program, w)?;
    list("runs", &rule.runs, glob, w)?;
    list("user", &rule.users, user, w)?;
    list("unit", &rule.units, glob, w)?;
    list("container", &rule.containers, glob, w)?;
    list("netns", &rule.namespaces, namespace, w)?;
    text("reason", rule.reason.as_deref(), w)?;
    text("owner", rule.owner.as_deref(), w)?;
    date(rule.expires, w)?;
    list("accept", &rule.accept, |flag| quoted(flag.code()), w)?;
    if rule.required { writeln!(w, "required = true") } else { Ok(()) }
}

fn grade(rule: &SeverityRule, w: &mut dyn Write) -> io::Result<()> {
    writeln!(w, "[[rule]]\nid = {}", quoted(&rule.id))?;
    list("hosts", &rule.hosts, glob, w)?;
    list("code", &rule.codes, |flag| quoted(flag.code()), w)?;
    text("severity", Some(rule.severity.map_or("off", crate::model::Severity::name)), w)?;
    text("reason", Some(&rule.reason), w)?;
    text("owner", rule.owner.as_deref(), w)?;
    date(rule.expires, w)
}

fn list<T>(key: &str, values: &[T], one: impl Fn(&T) -> String, w: &mut dyn Write) -> io::Result<()> {
    match values {
        [] => Ok(()),
        [value] => writeln!(w, "{key} = {}", one(value)),
        values => {
            let values: Vec<String> = values.iter().map(one).collect();
            writeln!(w, "{key} = [{}]", values.join(", "))
        }
    }
}

fn text(key: &str, value: Option<&str>, w: &mut dyn Write) -> io::Result<()> {
    value.map_or(Ok(()), |value| writeln!(w, "{key} = {}", quoted(value)))
}

fn date(expires: Option<Date>, w: &mut dyn Write) -> io::Result<()> {
    expires.map_or(Ok(()), |date| writeln!(w, "expires = {date}"))
}

fn glob(glob: &Glob) -> String {
    quoted(glob.as_str())
}

fn port(ports: &Ports) -> String {
    match ports {
        Ports::Range(range) if range.low == range.high => range.low.to_string(),
        Ports::Range(range) => quoted(&range.to_string()),
        Ports::Ephemeral => quoted("ephemeral"),
    }
}

fn program(program: &ExecutablePattern) -> String {
    match program {
        ExecutablePattern::Kernel => quoted("kernel"),
        ExecutablePattern::File(path) => glob(path),
    }
}

fn user(user: &User) -> String {
    match user {
        User::Name(name) => quoted(name),
        User::Number(number) => number.to_string(),
    }
}

fn namespace(namespaces: &Namespaces) -> String {
    match namespaces {
        Namespaces::Own => quoted("own"),
        Namespaces::Unnamed => quoted("unnamed"),
        Namespaces::Named(name) => glob(name),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Writing to a String cannot fail.
            c if is_unsafe(c) => {
                let _ = match u32::from(c) {
                    low @ 0..=0xffff => write!(quoted, "\\u{low:04X}"),
                    high => write!(quoted, "\\U{high:08X}"),
                };
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The reasons why a listener with visible processes gets no rule.
const NO_RULE: &str = ": a process was not read completely, the path of its program or script is not reliable (in a \
    chroot or mount namespace, or under a mount), or a path or name cannot be written as a pattern";

/// Writes a drafted policy, with remarks for the reader.
pub fn draft(draft: &Draft<'_>, snapshot: &Snapshot, w: &mut dyn Write) -> io::Result<()> {
    let host = snapshot.host.name.as_deref().map_or("this host".into(), sanitize);
    write!(
        w,
        "# Policy for {host}, drafted from its listeners (portolan policy init).\n\
         # The first rule that matches decides. A listener that no rule allows is a finding: `unexpected`.\n\
         # Delete the rules that you do not want. Delete `required = true` if a service need not always run.\n\
         # Add to each remaining rule:   reason = \"...\"   owner = \"...\"   expires = 2027-12-31\n"
    )?;
    if !(snapshot.gaps.is_empty() && draft.left_out.is_empty()) {
        writeln!(
            w,
            "#\n# INCOMPLETE: not everything could be seen. A listener that could not be read has no rule."
        )?;
    }
    for judged in &draft.left_out {
        let socket = &judged.socket;
        let why = owner_mark(socket).map_or_else(|| NO_RULE.to_owned(), |mark| format!(", owner {mark}"));
        let local = &socket.local;
        writeln!(w, "#   no rule for {} {}:{}{why}", local.protocol, address(socket), local.port)?;
    }
    if !draft.left_out.is_empty() && !snapshot.host.privileged {
        writeln!(w, "#   Run as root to include these listeners.")?;
    }
    writeln!(w, "\nschema = {}", quoted(POLICY_SCHEMA))?;
    for drafted in &draft.rules {
        let Drafted { rule, services, notes, findings } = drafted;
        writeln!(w)?;
        for FlaggedBy { severity, flag, sentence } in findings {
            writeln!(w, "# {} {}: {}", severity.0.name().to_uppercase(), flag.code(), sanitize(sentence))?;
        }
        if drafted.needs_decision() {
            writeln!(
                w,
                "# DECIDE: stop this listener, or uncomment the rule and add a reason. Until then, \
                     the rule allows nothing."
            )?;
        }
        if !services.is_empty() {
            writeln!(w, "# registered services: {}", few(services))?;
        }
        for note in notes {
            write_note(note, w)?;
        }
        if drafted.needs_decision() {
            commented_out(rule, w)?;
        } else {
            allow(rule, w)?;
        }
    }
    Ok(())
}

fn commented_out(rule: &AllowRule, w: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    allow(rule, &mut text)?;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        w.write_all(b"# ")?;
        w.write_all(line)?;
    }
    Ok(())
}

/// Returns one line with the number of active rules, and the listeners that need a decision.
pub fn summary(draft: &Draft<'_>) -> String {
    let in_force = draft.rules.iter().filter(|drafted| !drafted.needs_decision()).count();
    let written = format!("{} written", plural(in_force, "rule"));
    if draft.flagged.is_empty() {
        return format!("{written}.");
    }
    let need = if draft.flagged.len() == 1 { "needs" } else { "need" };
    let listeners: Vec<String> = draft.flagged.iter().map(|judged| flagged(judged)).collect();
    format!(
        "{written}; {} {need} your decision: {}.",
        plural(draft.flagged.len(), "listener"),
        first_of(&listeners, MOST_NAMED)
    )
}

fn flagged(judged: &Entry) -> String {
    let (socket, local) = (&judged.socket, &judged.socket.local);
    let name = judged.processes.first().and_then(|process| process.name.as_deref());
    let mut codes: Vec<&str> = flagging(judged).map(|finding| finding.flag().code()).collect();
    codes.dedup();
    format!(
        "{} {}:{}{} ({})",
        local.protocol,
        address(socket),
        local.port,
        name.map_or_else(String::new, |name| format!(" {}", sanitize(name))),
        codes.join(", ")
    )
}

fn write_note(note: &DraftNote, w: &mut dyn Write) -> io::Result<()> {
    match note {
        DraftNote::Ephemeral(ports) => writeln!(
            w,
            "# Listens on {} now. The kernel probably picks these ports at each start, so the rule \
                 allows this program\n# and user any ephemeral port. If a port is fixed, write its \
                number instead.",
            few(ports)
        ),
        DraftNote::Picked(ports) => writeln!(
            w,
            "# Listens on {} now. At each start, the program chooses another port of this range.",
            few(ports)
        ),
        DraftNote::Interpreter => writeln!(
            w,
            "# The program is an interpreter or a relay, and the rule has no condition `runs`, so it allows\n\
             # everything that this program runs as this user."
        ),
        DraftNote::ForAnother => writeln!(
            w,
            "# Process 1 opened this socket for a service that starts on demand. While the service runs, the service\n\
            # owns the socket too: add the executable, user and unit of the service."
        ),
        DraftNote::Container => {
            writeln!(w, "# The container has an ID but no name, so the rule does not name the container.")
        }
    }
}

fn few<T: Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    first_of(&values, MOST_NAMED)
}

/// Writes the remarks on a valid policy, one per line, and a last line that says that the policy is valid.
pub fn checked(name: &str, policy: &Policy, remarks: &[Remark], w: &mut dyn Write) -> io::Result<()> {
    for Remark { rule, at, kind } in remarks {
        let text = match kind {
            RemarkKind::AllowsEverything => {
                "allows everything: it names no port, address, exposure, device, executable, runs, user, unit or container"
                    .to_owned()
            }
            RemarkKind::Shadowed { by } => format!("never applies: the earlier rule {by} allows the same listeners"),
            RemarkKind::Expired { on } => format!("expired on {on}"),
            RemarkKind::Impossible { why } => format!("never matches: {why}"),
            RemarkKind::AcceptsWithoutReason { flags } => {
                let codes: Vec<&str> = flags.iter().map(|flag| flag.code()).collect();
                format!("accepts {} without a reason", codes.join(", "))
            }
            RemarkKind::HidesCritical { flags } => {
                let codes: Vec<&str> = flags.iter().map(|flag| flag.code()).collect();
                format!(
                    "hides {} on every listener, even if the finding is critical; to accept the finding on one listener only, use accept in the allow rule of this listener",
                    codes.join(", ")
                )
            }
            RemarkKind::Unmatched => "matches no listener".to_owned(),
        };
        writeln!(w, "{}: rule {rule} {text}", sanitize(&at.to_string()))?;
    }
    let files = match policy.files.len() {
        0 | 1 => String::new(),
        more => format!(" in {more} files"),
    };
    let rules = plural(policy.allow.len() + policy.rules.len(), "rule");
    let remarks = match remarks.len() {
        0 => "no remarks".to_owned(),
        count => plural(count, "remark"),
    };
    writeln!(w, "{}: valid: {rules}{files}, {remarks}", sanitize(name))
}
