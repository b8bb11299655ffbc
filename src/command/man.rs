//! `portolan man`: makes the manual pages from the declaration of the command line and its help texts.

use std::io::{self, Write};

use anyhow::Result;

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, Command, CommandFactory, Id};
use roff::{Inline, Roff, bold, italic, roman};

use super::Exit;
use crate::cli::{Cli, Page};
use crate::findings::Flag;
use crate::policy::manual;
use crate::registry::Registry;

/// Headings of the paragraphs that follow the options in a help text.
const EXAMPLES: &str = "Examples";
const CODES: &str = "Exit codes";

const ENVIRONMENT: [(&str, &str); 4] = [
    ("NO_COLOR", "If set and not empty, the output has no colour, unless --color is given."),
    ("PORTOLAN_COMPLETE", "Used by the shell completions only."),
    ("PORTOLAN_REGISTRY", "The registry to use, as with --registry. An empty value is ignored."),
    ("TERM", "If the value is dumb, the output has no colour and watch shows no screen."),
];

const FILES: [(&str, &str); 3] = [
    ("/proc", "Sockets and processes, on Linux. Only root can read the processes of other users."),
    ("/run/netns", "The names of network namespaces."),
    ("/etc/passwd", "The names of users. Portolan also uses the other user databases of the system."),
];

const SEE_ALSO: [(&str, u8); 8] = [
    ("portolan-audit", 1),
    ("portolan-policy", 5),
    ("fuser", 1),
    ("ip-netns", 8),
    ("lsof", 8),
    ("netstat", 8),
    ("services", 5),
    ("ss", 8),
];

pub(super) fn run(page: Page, out: &mut dyn Write) -> Result<Exit> {
    let mut program = Cli::command();
    program.build();
    let sub = |name: &str| program.find_subcommand(name).cloned().unwrap_or_default();
    match page {
        Page::Portolan => main_page(&program, out),
        Page::Audit => audit_page(&program, &sub("audit"), out),
        Page::Policy => policy_page(&program, &sub("policy"), out),
    }?;
    Ok(Exit::Matched)
}

fn begin(program: &Command, name: &str, section: &str, about: &str) -> Roff {
    let mut roff = Roff::new();
    let source = format!("portolan {}", program.get_version().unwrap_or_default());
    // The page has the date of the registry, because the program knows no other date.
    let date = Registry::embedded().date();
    let manual = if section == "5" { "File Formats" } else { "User Commands" };
    roff.control("TH", [&name.to_uppercase(), section, date, &source, manual]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {about}"))]);
    roff
}

fn audit_page(program: &Command, audit: &Command, out: &mut dyn Write) -> io::Result<()> {
    let mut roff =
        begin(program, "portolan-audit", "1", "checks every listener; the exit code is the verdict");
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman(audit.clone().render_usage().to_string().trim_start_matches("Usage: "))]);
    roff.control("SH", ["DESCRIPTION"]);
    prose(&mut roff, &text(audit.get_long_about()));
    roff.control("SH", ["OPTIONS"]);
    audit.get_arguments().filter(|arg| !arg.is_hide_set()).for_each(|arg| option(&mut roff, arg));
    roff.control("SH", ["FINDINGS"]);
    roff.text([roman(
        "For each finding, portolan audit --rules prints when it is raised, its severity, why it matters and \
            what to do.",
    )]);
    for flag in Flag::all() {
        entry(&mut roff, flag.code(), &format!("{}.", flag.description()));
    }
    for (_, text) in sections(audit).filter(|(heading, _)| *heading == CODES) {
        roff.control("SH", ["EXIT STATUS"]);
        prose(&mut roff, &text);
    }
    examples(&mut roff, [audit]);
    see_also(&mut roff, &[("portolan", 1), ("portolan-policy", 5)]);
    roff.to_writer(out)
}

fn policy_page(program: &Command, policy: &Command, out: &mut dyn Write) -> io::Result<()> {
    let mut roff = begin(program, "portolan-policy", "5", "what may listen on a machine, for portolan audit");
    roff.control("SH", ["DESCRIPTION"]);
    prose(&mut roff, &text(policy.get_long_about()));
    for (heading, keys) in
        [("KEYS OF [[allow]]", &manual::ALLOW[..]), ("KEYS OF [[rule]]", &manual::SEVERITY)]
    {
        roff.control("SH", [heading]);
        keys.iter().for_each(|(key, meaning)| entry(&mut roff, key, meaning));
    }
    for (heading, text) in
        [("PATTERNS", manual::PATTERNS), ("DECISION", manual::DECISION), ("FILES", manual::INCLUDE)]
    {
        roff.control("SH", [heading]);
        prose(&mut roff, text);
    }
    examples(&mut roff, [policy]);
    see_also(&mut roff, &[("portolan", 1), ("portolan-audit", 1)]);
    roff.to_writer(out)
}

fn main_page(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let name = command.get_name();
    let mut roff = begin(command, name, "1", &text(command.get_about()));
    let commands = || command.get_subcommands().filter(|sub| !sub.is_hide_set());
    roff.control("SH", ["SYNOPSIS"]);
    for (at, command) in std::iter::once(command).chain(commands()).enumerate() {
        if at > 0 {
            roff.control("br", []);
        }
        let usage = command.clone().render_usage().to_string();
        roff.text([roman(usage.trim_start_matches("Usage: "))]);
    }
    roff.control("SH", ["DESCRIPTION"]);
    prose(&mut roff, &text(command.get_long_about()));
    roff.control("SH", ["OPTIONS"]);
    command.get_arguments().filter(|arg| !arg.is_hide_set()).for_each(|arg| option(&mut roff, arg));

    roff.control("SH", ["COMMANDS"]);
    for sub in commands() {
        roff.control("SS", [sub.get_name()]);
        prose(&mut roff, &text(sub.get_long_about().or(sub.get_about())));
        // The page has already listed the global options and the options of a listing. They are not repeated for a
        // subcommand.
        let takes = |id: &Id| sub.get_arguments().any(|arg| arg.get_id() == id);
        let lists = takes(&Id::from("inet"));
        let is_in_the_synopsis = |arg: &Arg| {
            let above = command.get_arguments().any(|other| other.get_id() == arg.get_id());
            arg.is_hide_set() || arg.get_id() == "help" || (above && (lists || arg.is_global_set()))
        };
        if lists {
            roff.control("PP", []);
            let left_out =
                command.get_arguments().filter(|arg| arg.get_id() != "version" && !takes(arg.get_id()));
            let left_out: Vec<_> =
                left_out.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect();
            let but =
                if left_out.is_empty() { String::new() } else { format!(", except {}", left_out.join(", ")) };
            roff.text([roman(format!("The command accepts the targets and options of portolan list{but}."))]);
        }
        sub.get_arguments().filter(|arg| !is_in_the_synopsis(arg)).for_each(|arg| option(&mut roff, arg));
        for (heading, text) in sections(sub).filter(|(heading, _)| *heading != EXAMPLES) {
            roff.control("PP", []);
            roff.text([roman(if heading.is_empty() { text } else { format!("{heading}: {text}") })]);
        }
    }
    for (heading, text) in sections(command).filter(|(heading, _)| *heading != EXAMPLES) {
        roff.control("SH", [if heading == CODES { "EXIT STATUS" } else { "SCOPE" }]);
        prose(&mut roff, &text);
    }
    for (heading, entries) in [("ENVIRONMENT", &ENVIRONMENT[..]), ("FILES", &FILES)] {
        roff.control("SH", [heading]);
        entries.iter().for_each(|(name, text)| entry(&mut roff, name, text));
    }
    examples(&mut roff, std::iter::once(command).chain(commands()));
    see_also(&mut roff, &SEE_ALSO);
    roff.to_writer(out)
}

fn entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(meaning)]);
}

fn examples<'c>(roff: &mut Roff, commands: impl IntoIterator<Item = &'c Command>) {
    roff.control("SH", ["EXAMPLES"]);
    let examples = commands.into_iter().flat_map(sections).filter(|(heading, _)| *heading == EXAMPLES);
    for (at, (_, text)) in examples.enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        verbatim(roff, &text);
    }
}

/// Writes lines without their indentation, and otherwise unchanged.
fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    text.lines().for_each(|line| {
        roff.text([roman(line.trim())]);
    });
    roff.control("fi", []);
}

fn see_also(roff: &mut Roff, pages: &[(&str, u8)]) {
    roff.control("SH", ["SEE ALSO"]);
    for (at, (name, section)) in pages.iter().enumerate() {
        let between = if at + 1 < pages.len() { "," } else { "" };
        roff.control("BR", [*name, &format!("({section}){between}")]);
    }
}

fn text(styled: Option<&StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

fn option(roff: &mut Roff, arg: &Arg) {
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => String::new(),
    };
    let mut header: Vec<Inline> = Vec::new();
    if !name.is_empty() {
        header.push(bold(name));
    }
    if arg.get_num_args().is_some_and(|count| count.takes_values()) {
        let names = arg.get_value_names().unwrap_or_default();
        let value = names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ");
        if !header.is_empty() {
            header.push(roman(" "));
        }
        header.push(italic(value));
    }
    roff.control("TP", []);
    roff.text(header);
    let help = text(arg.get_long_help().or(arg.get_help()));
    let values = arg.get_possible_values();
    let values: Vec<&str> = values.iter().filter(|v| !v.is_hide_set()).map(PossibleValue::get_name).collect();
    let mut help = help.replace('\n', " ");
    if !values.is_empty() {
        help.push_str(&format!(": {}", values.join(", ")));
    }
    let defaults = arg.get_default_values().iter().filter(|_| arg.get_action().takes_values());
    for default in defaults {
        help.push_str(&format!(" [default: {}]", default.to_string_lossy()));
    }
    roff.text([roman(help)]);
}

/// Writes paragraphs. The lines of an indented paragraph are not joined.
fn prose(roff: &mut Roff, text: &str) {
    for (at, paragraph) in text.split("\n\n").enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        if paragraph.lines().all(|line| line.starts_with("  ")) {
            verbatim(roff, paragraph);
        } else {
            roff.text([roman(paragraph.replace('\n', " "))]);
        }
    }
}

/// Returns the paragraphs after the options of a help text. Each has a heading, such as `Examples:` or `Exit codes:`,
/// if the help text gives one.
fn sections(command: &Command) -> std::vec::IntoIter<(&'static str, String)> {
    let help = text(command.get_after_long_help());
    let paragraphs = help.split("\n\n").filter(|paragraph| !paragraph.is_empty());
    let sections = paragraphs.map(|paragraph| {
        let headed = [EXAMPLES, CODES].into_iter().find_map(|heading| {
            Some((heading, paragraph.strip_prefix(heading)?.strip_prefix(':')?.trim().to_owned()))
        });
        headed.unwrap_or_else(|| ("", paragraph.to_owned()))
    });
    sections.collect::<Vec<_>>().into_iter()
}
