//! Checks that each row of a table matches its own example, and no other example. The example of a row of
//! `programs.tsv` is a process on the ports of the row. In all other tables, an example is a command line.
//!
//! If a row names a program or a text, the example is made from this name. If the row has an expression, its examples
//! are lines of `command-lines.tsv`. So a new expression needs a line in this file.

use std::collections::BTreeSet;

use super::super::command_line::CommandLine;
use super::super::dangers::danger;
use super::super::identity::identify;
use super::super::program_names::interpreter;
use super::super::program_rows::is_named_by;
use super::super::programs::{ListedProgram, Match, interpreters, pairs, programs};
use super::super::tools::{ad_hoc, dual_use, dual_use_rows};
use super::body;
use crate::model::{Exe, ExeState, Process, Protocol};

/// Returns the words of an example; `\\n` is a line break.
fn words(line: &str) -> Vec<String> {
    line.split(' ').map(|word| word.replace("\\n", "\n")).collect()
}

/// Returns the process that a row of `programs.tsv` describes. `mark` is inserted into the text that identifies the
/// program.
fn process(row: &ListedProgram, mark: &str) -> Process {
    let (file, arguments) = match row.matches {
        Match::Comm => (format!("{mark}{}", row.name), String::new()),
        Match::Exe(file) => (format!("{mark}{file}"), String::new()),
        Match::Arg(text) => {
            let known = interpreters().iter().find(|(name, _)| *name == row.name);
            let middle = text.len() / 2;
            let middle = (0..=middle).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let text = format!("{}{mark}{}", &text[..middle], &text[middle..]);
            (known.map_or("python3", |(_, file)| file).to_owned(), text)
        }
    };
    let file = file.rsplit('/').next().unwrap().to_owned();
    let exe = Exe { path: format!("/usr/bin/{file}"), state: ExeState::Present, open_directories: None };
    let cmdline = words(format!("{file} {arguments}").trim_end());
    Process { name: Some(row.name.to_owned()), exe: Some(exe), cmdline, ..Process::unknown(7) }
}

#[test]
fn every_program_is_recognised_on_its_own_ports() {
    let mut failed = Vec::new();
    // Kernel services have no process.
    for row in programs().filter(|row| !(row.name.starts_with('[') && row.matches == Match::Comm)) {
        let identity = identify(&process(&row, "")).unwrap();
        let by_name = identify(&Process { exe: None, cmdline: Vec::new(), ..process(&row, "") }).unwrap();
        // An option for a debugger only explains the debugger's port.
        let mut ports = row.ports();
        let explains =
            ports.next().is_some_and(|(at, protocol)| identity.serving(at.low, protocol) == Some(row));
        if !identity.programs.contains(&row) && !by_name.programs.contains(&row) && !explains {
            failed.push(format!("not recognised: {row:?}, but {:?}", identity.programs));
        }
        for (ports, protocol) in row.ports() {
            if identity.serving(ports.low, protocol).is_none()
                || identity.serving(ports.high, protocol).is_none()
            {
                failed.push(format!("not on its port {ports}/{protocol}: {row:?}"));
            }
        }
        let other = identify(&process(&row, "~")).unwrap();
        if other.programs.contains(&row) {
            failed.push(format!("recognised by another name: {row:?}"));
        }
    }
    assert!(failed.is_empty(), "{} rows: {failed:#?}", failed.len());
}

/// Users see the names of products, so a name contains no remark on how a row matches. Parentheses only distinguish
/// programs with the same name.
#[test]
fn products_are_names() {
    const VARIANTS: [&str; 5] = [
        "Ncat (Nmap)",
        "netcat (OpenBSD)",
        "netcat (traditional)",
        "Telnet server (inetutils)",
        "Rust (game) server",
    ];
    let is_name = |product: &str| !product.contains(['(', ')', '[', ']', ';']) && product.trim() == product;
    let remarks: Vec<_> = programs()
        .map(|row| row.product)
        .filter(|product| !is_name(product) && !VARIANTS.contains(product))
        .collect();
    assert!(remarks.is_empty(), "{remarks:#?}");
    for line in body(include_str!("../data/dangers.tsv")) {
        let title = line.split('\t').nth(1).unwrap();
        assert!(!title.contains(['[', ']', ';']), "{title}");
    }
}

/// An example: program file, command line, protocol, port.
struct Example {
    file: &'static str,
    arguments: Vec<String>,
    protocol: Protocol,
    port: u16,
}

impl Example {
    fn command(&self) -> CommandLine<'_> {
        CommandLine::new(self.file, &self.arguments)
    }

    fn runs(file: &'static str, line: &str, (port, protocol): (u16, Protocol)) -> Self {
        Example { file, arguments: words(line), protocol, port }
    }
}

fn examples() -> Vec<Example> {
    let lines = body(include_str!("command-lines.tsv"));
    lines
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            Example::runs(fields[0], fields[1], (fields[3].parse().unwrap(), fields[2].parse().unwrap()))
        })
        .collect()
}

fn names(element: &'static str, command: &CommandLine<'_>) -> bool {
    is_named_by(element, command)
}

fn parts(element: &'static str) -> (&'static str, &'static str) {
    let element = element.strip_prefix('@').unwrap_or(element);
    let (name, condition) = element.split_once(':').unwrap_or((element, ""));
    (if name == "beam" { "beam.smp" } else { name }, condition)
}

/// Returns a command line that matches the element; `None` if the condition is an expression.
fn plain_example(element: &'static str, port: (u16, Protocol)) -> Option<Example> {
    let (file, condition) = parts(element);
    let line = match condition {
        "" => file.to_owned(),
        regex if regex.starts_with('/') => return None,
        option if option.starts_with('-') => format!("{file} {} target", option.trim_end_matches('*')),
        text if file == "beam.smp" => format!("{file} -s {text}"),
        text if file == "java" && text.contains('/') => format!("{file} -jar {text}"),
        text => format!("{file} {text}"),
    };
    Some(Example::runs(file, &line, port))
}

/// Returns the elements of a column of programs that match no program, or that match too many command lines.
fn elements_that_never_match(column: &'static str, examples: &[Example]) -> Vec<&'static str> {
    let never = |element: &&'static str| {
        let (file, condition) = parts(element);
        if file == "*" || file.starts_with('[') {
            return false;
        }
        let bare = Example::runs(file, file, (0, Protocol::Tcp));
        let matches = match plain_example(element, (0, Protocol::Tcp)) {
            Some(example) => names(element, &example.command()),
            None => {
                let by_file = |example: &Example| names(element, &CommandLine::new(file, &example.arguments));
                examples.iter().any(by_file)
            }
        };
        // An expression that begins with `^\S*` describes the whole command line. It may match a command line without
        // arguments.
        let is_whole = condition.starts_with(r"/^\S*");
        let is_selective = condition.is_empty() || is_whole || !names(element, &bare.command());
        // The program must not be found if its name is only in the arguments or the directory of another program.
        let unrelated =
            Example::runs("unrelated", &format!("unrelated --port 1 {condition}"), (0, Protocol::Tcp));
        let elsewhere =
            format!("{file} -Dx={condition} /srv/{condition}-demo/app x-{condition}-x --store {condition}");
        let elsewhere = Example::runs(file, &elsewhere, (0, Protocol::Tcp));
        let is_script = interpreter(file).is_some_and(|name| !matches!(name, "beam" | "busybox"))
            && !condition.is_empty()
            && !condition.ends_with('/');
        let is_named_by_others =
            names(element, &unrelated.command()) || (is_script && names(element, &elsewhere.command()));
        !matches || !is_selective || is_named_by_others
    };
    column.split(',').filter(never).collect()
}

#[test]
fn every_danger_is_found_by_a_command_line() {
    let examples = examples();
    let mut failed = Vec::new();
    for line in body(include_str!("../data/dangers.tsv")) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let [service, _, programs, ports, _, arguments, severity, ..] = fields[..] else { panic!("{line}") };
        let never = elements_that_never_match(programs, &examples);
        if !never.is_empty() {
            failed.push(format!("{service}: no command line for {never:?}"));
        }
        let of_row: Vec<&Example> = examples
            .iter()
            .filter(|example| programs.split(',').any(|one| names(one, &example.command())))
            .collect();
        for expression in arguments.split(" ;; ").filter(|expression| !expression.is_empty()) {
            let bare = expression.trim_start_matches(['!', '~']);
            let matches = |example: &&&Example| {
                let command = example.command();
                match bare == expression {
                    true => command.matches_on(bare, example.port),
                    false => command.protects_on(bare, example.port),
                }
            };
            if of_row.iter().find(matches).is_none() {
                failed.push(format!("{service}: no command line for {expression}"));
            }
        }
        let first_port =
            pairs(ports).next().map_or((31337, Protocol::Tcp), |(ports, protocol)| (ports.low, protocol));
        let plain = programs.split(',').filter_map(|element| plain_example(element, first_port));
        let is_found = |example: &Example| {
            let found = danger(&example.command(), example.port, example.protocol, false);
            found.is_some_and(|found| found.service == service)
        };
        let is_kernel = programs.split(',').all(|program| program.starts_with('['));
        if severity != "none"
            && !is_kernel
            && !plain.into_iter().any(|example| is_found(&example))
            && !of_row.iter().any(|example| is_found(example))
        {
            failed.push(format!("{service}: never found"));
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

/// The command lines of tools: the program file, the command line, and the use or kind of the tool.
const TOOLS: &str = include_str!("tools.tsv");

#[test]
fn every_tool_is_found_by_a_command_line() {
    let mut examples = Vec::new();
    let mut failed = Vec::new();
    for line in body(TOOLS) {
        let [file, command, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let example = Example::runs(file, command, (0, Protocol::Tcp));
        let found = ad_hoc(&example.command()).map(|tool| tool.used_for.name());
        let found = found
            .or_else(|| dual_use(&dual_use_rows(&example.command()), 0, Protocol::Tcp).map(|tool| tool.kind))
            .unwrap_or("-");
        if found != expected {
            failed.push(format!("{found}: {line}"));
        }
        examples.push(example);
    }
    for line in body(include_str!("../data/ad-hoc.tsv")) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let never = elements_that_never_match(fields[0], &examples);
        let used = examples.iter().any(|example| {
            let command = example.command();
            (fields[0].starts_with('*') || fields[0].split(',').any(|one| names(one, &command)))
                && (fields[1].is_empty() || command.matches(fields[1]))
        });
        if !never.is_empty() || !used {
            failed.push(format!("ad-hoc.tsv: no command line for {never:?} {}", fields[1]));
        }
    }
    let mut seen = BTreeSet::new();
    for line in body(include_str!("../data/dual-use.tsv")) {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let (programs, ports, kind) = (fields[0], fields[1], fields[2]);
        let never = elements_that_never_match(programs, &examples);
        if !never.is_empty() {
            failed.push(format!("dual-use.tsv: no command line for {never:?}"));
        }
        let port = pairs(ports).next().map_or((0, Protocol::Tcp), |(ports, protocol)| (ports.low, protocol));
        let of_row = programs.split(',').filter(|element| !element.starts_with('*'));
        for (element, example) in of_row.filter_map(|element| Some((element, plain_example(element, port)?)))
        {
            let found = dual_use(&dual_use_rows(&example.command()), example.port, example.protocol);
            if found.is_none_or(|found| found.kind != kind) {
                failed.push(format!("dual-use.tsv: {element} is {found:?}"));
            }
            if element.starts_with('@')
                && dual_use(&dual_use_rows(&example.command()), 4, Protocol::Tcp).is_some()
            {
                failed.push(format!("dual-use.tsv: {element} on a port that is not its own"));
            }
        }
        seen.insert(programs);
    }
    assert!(seen.len() > 150 && failed.is_empty(), "{} failed: {failed:#?}", failed.len());
}

/// Common or short names. Such a name identifies a program only with its own port or its arguments.
const COMMON_NAMES: &str = include_str!("common-names.txt");

#[test]
fn a_common_name_alone_is_in_no_row() {
    let mut flagged = Vec::new();
    for name in COMMON_NAMES.lines() {
        for (file, line) in [
            (name, format!("/usr/local/bin/{name} serve -c x.yaml")),
            ("node", format!("node {name}")),
            ("node", format!("node /srv/{name}/server.js --port 1")),
            ("python3.12", format!("/opt/{name}/bin/python3 {name}.py")),
            (
                "java",
                format!("java -D{name}.url=x -cp /opt/{name}/{name}-client.jar com.example.Main {name}"),
            ),
        ] {
            for port in [8080, 18_099] {
                flagged.extend(flag_of(&Example::runs(file, &line, (port, Protocol::Tcp))));
            }
        }
    }
    assert!(
        COMMON_NAMES.lines().count() > 150 && flagged.is_empty(),
        "{} flagged: {flagged:#?}",
        flagged.len()
    );
}

/// Returns the row that a command line matches, together with this command line.
fn flag_of(example: &Example) -> Option<String> {
    let (command, line) = (example.command(), example.arguments.join(" "));
    let said = danger(&command, example.port, example.protocol, false).map(|found| found.service);
    let said = said.or_else(|| {
        dual_use(&dual_use_rows(&command), example.port, example.protocol).map(|found| found.what)
    });
    let said = said.or_else(|| ad_hoc(&command).map(|found| found.used_for.name()))?;
    Some(format!("{said}: {line} ({})", example.port))
}

/// Ordinary programs whose name, path or arguments contain the name of a dangerous program.
#[test]
fn ordinary_programs_match_no_row() {
    let lines = body(include_str!("ordinary-lines.tsv"));
    let mut count = 0;
    let flagged: Vec<String> = lines
        .filter_map(|line| {
            let [file, port, command] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            count += 1;
            flag_of(&Example::runs(file, command, (port.parse().unwrap(), Protocol::Tcp)))
        })
        .collect();
    assert!(count >= 60 && flagged.is_empty(), "{} flagged: {flagged:#?}", flagged.len());
}
