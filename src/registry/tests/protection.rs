//! Some expressions of `dangers.tsv` lower a danger. They must not match an option that switches the protection off.

use super::super::command_line::CommandLine;
use super::super::protection::with_go_values;
use super::body;

/// Values that switch a protection off, or with which a program accepts every client.
const OFF: [&str; 6] = ["off", "none", "no", "false", "allow", "0"];

/// Returns texts that an expression matches: one for each alternative and for each optional part.
fn samples(expression: &str) -> Vec<String> {
    let expression = expression.strip_prefix("(?i)").unwrap_or(expression);
    let mut rest: Vec<char> = expression.chars().rev().collect();
    let found = alternatives(&mut rest);
    assert!(rest.is_empty(), "{expression}");
    found
}

fn alternatives(rest: &mut Vec<char>) -> Vec<String> {
    let mut found = sequence(rest);
    while rest.last() == Some(&'|') {
        rest.pop();
        found.extend(sequence(rest));
    }
    found
}

/// Returns a text with the first choice of every part. Each other choice of a part gives one further text.
fn sequence(rest: &mut Vec<char>) -> Vec<String> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    while let Some(next) = rest.pop_if(|next| !matches!(next, '|' | ')')) {
        let mut part = match next {
            '(' => {
                let inner = alternatives(rest);
                assert_eq!(rest.pop(), Some(')'));
                inner
            }
            '[' => class(rest),
            '\\' => vec![escaped(rest.pop().unwrap()).to_owned()],
            '^' | '$' => vec![String::new()],
            '.' => vec!["x".to_owned()],
            literal => vec![literal.to_string()],
        };
        match rest.last() {
            Some('?' | '*') => part.push(String::new()),
            Some('+') => {}
            _ => {
                parts.push(part);
                continue;
            }
        }
        rest.pop();
        parts.push(part);
    }
    let text = |changed: usize, choice: usize| {
        let choice = |at| if at == changed { choice } else { 0 };
        parts.iter().enumerate().map(|(at, part)| part[choice(at)].as_str()).collect::<String>()
    };
    let mut found = vec![text(0, 0)];
    for (at, part) in parts.iter().enumerate() {
        found.extend((1..part.len()).map(|choice| text(at, choice)));
    }
    found
}

fn class(rest: &mut Vec<char>) -> Vec<String> {
    let mut members: Vec<String> = Vec::new();
    while let Some(next) = rest.pop_if(|next| *next != ']') {
        members.push(if next == '\\' { escaped(rest.pop().unwrap()).to_owned() } else { next.to_string() });
    }
    rest.pop();
    if members[0] == "^" { vec!["x".to_owned()] } else { members }
}

fn escaped(next: char) -> &'static str {
    match next {
        's' => " ",
        'S' => "x",
        'd' => "1",
        'b' => "",
        '.' => ".",
        '[' => "[",
        ']' => "]",
        '"' => "\"",
        _ => panic!("\\{next}"),
    }
}

/// Returns a sample with another value for its option, in each possible notation.
fn with_value(sample: &str, value: &str) -> Vec<String> {
    let line = sample.trim_end();
    let begin = line.rfind(' ').map_or(0, |at| at + 1);
    let (before, last) = line.split_at(begin);
    if let Some(at) = last.rfind('=') {
        return vec![format!("{before}{}{value}", &last[..=at])];
    }
    if last.starts_with('-') {
        return vec![format!("{line}={value}"), format!("{line} {value}")];
    }
    let is_value = before.trim_end().rsplit(' ').next().is_some_and(|word| word.starts_with('-'));
    if is_value { vec![format!("{before}{value}")] } else { Vec::new() }
}

/// Returns whether an expression contains a value. If so, this value protects: `--anonymous-auth=false`.
fn names(expression: &str, value: &str) -> bool {
    expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == value)
}

#[test]
fn an_option_that_is_switched_off_lowers_no_danger() {
    let (mut count, mut wrong) = (0, Vec::new());
    for row in body(include_str!("../data/dangers.tsv")) {
        let fields: Vec<&'static str> = row.split('\t').collect();
        for lowering in fields[5].split(" ;; ").filter_map(|one| one.strip_prefix(['!', '~'])) {
            let expression = with_go_values(&lowering.replace("{port}", "12345"));
            let parts: Vec<Vec<String>> = expression.split(" && ").map(samples).collect();
            let on = |line: &String| {
                if line.ends_with([' ', '=']) { format!("{line}value") } else { line.clone() }
            };
            // Each part is tried on a line that also has one sample of each other part.
            let lines: Vec<String> = (0..parts.len())
                .flat_map(|at| {
                    let others = parts.iter().enumerate().filter(|(other, _)| *other != at);
                    let others: String = others.map(|(_, samples)| on(&samples[0]) + " ").collect();
                    let begin = if lowering.starts_with('^') { String::new() } else { format!("x {others}") };
                    parts[at].iter().map(move |text| format!("{begin}{text}"))
                })
                .collect();
            let protects = |line: &String| {
                let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
                CommandLine::new("x", &arguments).protects_on(lowering, 12345)
            };
            assert!(
                lines.iter().map(on).any(|line| protects(&line)),
                "{}: no sample of {lowering} protects: {lines:?}",
                fields[0]
            );
            for value in OFF.into_iter().filter(|value| !names(&expression, value)) {
                let off = lines.iter().flat_map(|line| with_value(line, value));
                wrong.extend(off.filter(protects).map(|line| (fields[0], line)));
                count += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count >= 300, "{count}");
}
