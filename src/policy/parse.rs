//! Parses a policy from the bytes of its files, and refuses everything that it does not understand.
//!
//! The files are hostile input, so everything has a limit. The caller limits the size and the number of the files. This
//! parser limits the number of rules, and the TOML parser limits the depth of values.

use std::collections::HashMap;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    AllowRule, ExecutablePattern, Glob, MOST_FILES, MOST_RULES, Namespaces, POLICY_SCHEMA, Policy,
    PolicyError, Ports, Position, SeverityRule, User, manual,
};
use crate::findings::{FindingFamily, Flag};
use crate::model::{Exposure, PortRange, Protocol, Severity};
use crate::query::names::near;

#[derive(Clone, Debug)]
pub struct Included {
    /// The file name that messages contain.
    pub name: String,
    /// The identity of the file. Two names can lead to one file.
    pub identity: String,
    pub bytes: Vec<u8>,
}

/// Reads a policy. `read` reads an included file. Its arguments are the identity of the including file, and the name in
/// `include`. It returns the file, or the reason why the file cannot be read.
///
/// # Errors
///
/// Returns the first `PolicyError` in the files.
pub fn parse(
    top: &Included,
    read: &mut dyn FnMut(&str, &str) -> Result<Included, String>,
) -> Result<Policy, PolicyError> {
    let mut reader =
        PolicyReader { policy: Policy::default(), ids: HashMap::new(), open: Vec::new(), seen: vec![] };
    reader.file(top, read)?;
    Ok(reader.policy)
}

/// The maximum number of values in a file. The largest policy has 5,000 rules, and a rule has about 20 keys and values.
const MOST_VALUES: usize = 250_000;

const TOP: [&str; 4] = ["schema", "include", "allow", "rule"];
pub(super) const SEVERITY_KEYS: [&str; 7] = ["id", "hosts", "code", "severity", "reason", "owner", "expires"];

struct PolicyReader {
    policy: Policy,
    ids: HashMap<String, Position>,
    /// The identities of the files that are being read, outermost first.
    open: Vec<String>,
    seen: Vec<String>,
}

impl PolicyReader {
    fn file(
        &mut self,
        included: &Included,
        read: &mut dyn FnMut(&str, &str) -> Result<Included, String>,
    ) -> Result<(), PolicyError> {
        let name: Arc<str> = included.name.as_str().into();
        let text = std::str::from_utf8(&included.bytes).map_err(|error| {
            let good = String::from_utf8_lossy(&included.bytes[..error.valid_up_to()]).into_owned();
            let file = File::new(Arc::clone(&name), &good);
            file.error(
                &(good.len()..good.len()),
                "the file is not UTF-8 (a TOML file must be UTF-8)".to_owned(),
            )
        })?;
        let file = File::new(Arc::clone(&name), text);
        // The parser builds a tree that may need 80 times as much memory as the text. So the values are counted before
        // parsing.
        if text.bytes().filter(|byte| b",[{=".contains(byte)).count() > MOST_VALUES {
            return Err(
                file.error(&(0..0), format!("too many values for a policy (the limit is {MOST_VALUES})"))
            );
        }
        let table = DeTable::parse(text).map_err(|error| {
            let what = error.message().trim().replace('\n', ", ");
            file.error(&error.span().unwrap_or_default(), format!("not TOML: {what}"))
        })?;
        let table = table.get_ref();
        file.no_others(table, &TOP)?;
        self.policy.files.push(name);
        self.open.push(included.identity.clone());
        self.seen.push(included.identity.clone());
        file.schema(table)?;
        for rule in file.tables(table, "allow")? {
            let rule = file.allow(rule)?;
            self.note(&rule.id, &rule.at)?;
            self.policy.allow.push(rule);
        }
        for rule in file.tables(table, "rule")? {
            let rule = file.grade(rule)?;
            self.note(&rule.id, &rule.at)?;
            self.policy.rules.push(rule);
        }
        // The rules of the including file come first, then the included rules.
        let includes =
            table.get("include").map(|value| file.many(value, |value| Ok((file.text(value)?, value.span()))));
        for (path, span) in includes.transpose()?.unwrap_or_default() {
            let error = |what: String| file.error(&span, format!("include \"{path}\": {what}"));
            if self.seen.len() >= MOST_FILES {
                return Err(error(format!("too many files (the limit is {MOST_FILES})")));
            }
            let inner = read(&included.identity, &path).map_err(error)?;
            if self.open.contains(&inner.identity) {
                return Err(error("the file includes itself, directly or through another file".to_owned()));
            }
            if self.seen.contains(&inner.identity) {
                return Err(error("the file is included already".to_owned()));
            }
            self.file(&inner, read)?;
        }
        self.open.pop();
        Ok(())
    }

    /// Records the ID of a rule, which must be unique.
    fn note(&mut self, id: &str, at: &Position) -> Result<(), PolicyError> {
        let error = |what| Err(PolicyError { at: at.clone(), what });
        if self.ids.len() >= MOST_RULES {
            return error(format!("too many rules (the limit is {MOST_RULES}): use lists and ranges"));
        }
        match self.ids.insert(id.to_owned(), at.clone()) {
            None => Ok(()),
            Some(first) => error(format!("the id \"{id}\" is already used by the rule at {first}")),
        }
    }
}

struct File<'s> {
    name: Arc<str>,
    text: &'s str,
    lines: Vec<usize>,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl<'s> File<'s> {
    fn new(name: Arc<str>, text: &'s str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        File { name, text, lines: std::iter::once(0).chain(ends).collect() }
    }

    fn at(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.as_bytes().get(start..offset).unwrap_or_default();
        // Columns count characters. The offset counts bytes, and may be inside a character.
        let column = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        Position { file: Arc::clone(&self.name), line, column }
    }

    fn error(&self, span: &Range<usize>, what: String) -> PolicyError {
        PolicyError { at: self.at(span.start), what }
    }

    fn wrong<T>(&self, value: &Value<'_>, what: impl Into<String>) -> Result<T, PolicyError> {
        Err(self.error(&value.span(), what.into()))
    }

    /// Returns an error for the first unknown key of the table, and suggests the most similar known key.
    fn no_others(&self, table: &DeTable<'_>, keys: &[&str]) -> Result<(), PolicyError> {
        let others = table.keys().filter(|key| !keys.contains(&key.get_ref().as_ref()));
        // The table is sorted by name, not by the position in the file.
        let Some(other) = others.min_by_key(|key| key.span().start) else { return Ok(()) };
        let what = format!("no such key: \"{}\"; {}", other.get_ref(), nearest(other.get_ref(), keys));
        Err(self.error(&other.span(), what))
    }

    fn schema(&self, table: &DeTable<'_>) -> Result<(), PolicyError> {
        let remedy = format!("write schema = \"{POLICY_SCHEMA}\"");
        match table.get("schema") {
            None => Err(self.error(&(0..0), format!("no schema: {remedy}"))),
            Some(value) => match self.text(value)?.as_str() {
                POLICY_SCHEMA => Ok(()),
                other => self.wrong(value, format!("unknown schema \"{other}\": {remedy}")),
            },
        }
    }

    fn tables<'t, 'i>(
        &self,
        table: &'t DeTable<'i>,
        key: &str,
    ) -> Result<Vec<(&'t DeTable<'i>, Position)>, PolicyError> {
        let Some(value) = table.get(key) else { return Ok(Vec::new()) };
        let DeValue::Array(array) = value.get_ref() else {
            return self.wrong(value, format!("expected [[{key}]] tables, each with its keys below it"));
        };
        let one = |element: &'t Value<'i>| match element.get_ref() {
            DeValue::Table(table) => Ok((table, self.at(element.span().start))),
            _ => self.wrong(element, format!("expected [[{key}]] tables, each with its keys below it")),
        };
        array.iter().map(one).collect()
    }

    fn text(&self, value: &Value<'_>) -> Result<String, PolicyError> {
        match value.get_ref() {
            DeValue::String(text) if text.is_empty() => {
                self.wrong(value, "the text is empty: write a text, or leave out the key")
            }
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => self.wrong(value, format!("expected a text in quotes, not {}", kind(other))),
        }
    }

    fn many<T>(
        &self,
        value: &Value<'_>,
        one: impl Fn(&Value<'_>) -> Result<T, PolicyError>,
    ) -> Result<Vec<T>, PolicyError> {
        match value.get_ref() {
            DeValue::Array(array) if array.is_empty() => {
                self.wrong(value, "an empty list matches nothing: write a value, or leave out the key")
            }
            DeValue::Array(array) => array.iter().map(one).collect(),
            _ => Ok(vec![one(value)?]),
        }
    }

    fn globs(&self, value: &Value<'_>) -> Result<Vec<Glob>, PolicyError> {
        self.many(value, |value| self.glob(value, &self.text(value)?))
    }

    fn glob(&self, value: &Value<'_>, text: &str) -> Result<Glob, PolicyError> {
        Glob::new(text).or_else(|why| self.wrong(value, format!("bad pattern \"{text}\": {why}")))
    }

    fn id(&self, table: &DeTable<'_>, at: &Position) -> Result<String, PolicyError> {
        let Some(value) = table.get("id") else {
            let what = "a rule without an id: write id = \"some-name\"".to_owned();
            return Err(PolicyError { at: at.clone(), what });
        };
        let id = self.text(value)?;
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
        if id.len() > 128 || !id.chars().all(good) {
            return self
                .wrong(value, format!("bad id \"{id}\" (expected up to 128 letters, digits and -_.:/@+)"));
        }
        Ok(id)
    }

    fn allow(&self, (table, at): (&DeTable<'_>, Position)) -> Result<AllowRule, PolicyError> {
        self.no_others(table, &manual::ALLOW.map(|(key, _)| key))?;
        let mut rule = AllowRule { id: self.id(table, &at)?, at, ..AllowRule::default() };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "hosts" => rule.hosts = self.hosts(value)?,
                "port" => rule.ports = self.many(value, |value| self.ports(value))?,
                "protocol" => rule.protocols = self.many(value, |value| self.parsed(value, protocol))?,
                "address" => {
                    rule.addresses = self.many(value, |value| {
                        self.parsed(value, |text| {
                            FromStr::from_str(text).map_err(|e: crate::model::BadNetwork| e.to_string())
                        })
                    })?;
                }
                "exposure" => rule.exposures = self.many(value, |value| self.parsed(value, exposure))?,
                "device" => rule.devices = self.globs(value)?,
                "executable" => rule.executables = self.many(value, |value| self.program(value))?,
                "runs" => rule.runs = self.globs(value)?,
                "user" => rule.users = self.many(value, |value| self.user(value))?,
                "unit" => rule.units = self.globs(value)?,
                "container" => rule.containers = self.globs(value)?,
                "netns" => rule.namespaces = self.many(value, |value| self.namespaces(value))?,
                "reason" => rule.reason = Some(self.text(value)?),
                "owner" => rule.owner = Some(self.text(value)?),
                "expires" => rule.expires = Some(self.date(value)?),
                "accept" => rule.accept = self.many(value, |value| self.accepted(value))?,
                "required" => rule.required = self.boolean(value)?,
                _ => {}
            }
        }
        Ok(rule)
    }

    fn grade(&self, (table, at): (&DeTable<'_>, Position)) -> Result<SeverityRule, PolicyError> {
        self.no_others(table, &SEVERITY_KEYS)?;
        let id = self.id(table, &at)?;
        let needed = |key: &str, why: &str| {
            table.get(key).ok_or_else(|| PolicyError {
                at: at.clone(),
                what: format!("rule \"{id}\" has no {key}: {why}"),
            })
        };
        let codes = needed("code", "write the code of a finding, such as impostor, or a list of codes")?;
        let severity = needed("severity", "write off, info, notice, warning or critical")?;
        let reason = needed("reason", "write the reason why the severity is different on these hosts")?;
        Ok(SeverityRule {
            hosts: table.get("hosts").map(|value| self.hosts(value)).transpose()?.unwrap_or_default(),
            codes: self.many(codes, |value| self.parsed(value, flag))?,
            severity: self.parsed(severity, grade)?,
            reason: self.text(reason)?,
            owner: table.get("owner").map(|value| self.text(value)).transpose()?,
            expires: table.get("expires").map(|value| self.date(value)).transpose()?,
            id,
            at,
        })
    }

    fn parsed<T>(
        &self,
        value: &Value<'_>,
        understand: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, PolicyError> {
        let text = self.text(value)?;
        understand(&text).or_else(|why| self.wrong(value, format!("\"{text}\": {why}")))
    }

    /// Parses patterns of host names, which are case-insensitive.
    fn hosts(&self, value: &Value<'_>) -> Result<Vec<Glob>, PolicyError> {
        self.many(value, |value| self.glob(value, &self.text(value)?.to_ascii_lowercase()))
    }

    fn ports(&self, value: &Value<'_>) -> Result<Ports, PolicyError> {
        const PORTS: &str = "ports are 1 to 65535";
        let single = |port: Option<u16>| port.filter(|port| *port > 0);
        match value.get_ref() {
            DeValue::Integer(number) => {
                match single(u16::from_str_radix(number.as_str(), number.radix()).ok()) {
                    Some(port) => Ok(Ports::Range(PortRange::single(port))),
                    None => self.wrong(value, format!("no such port: {number}; {PORTS}")),
                }
            }
            DeValue::String(text) if text == "ephemeral" => Ok(Ports::Ephemeral),
            DeValue::String(text) => {
                let number = |text: &str| {
                    let digits = text.bytes().all(|b| b.is_ascii_digit());
                    single(text.parse().ok().filter(|_| digits))
                };
                let (low, high) = text.split_once('-').unwrap_or((text, text));
                match (number(low), number(high)) {
                    (Some(low), Some(high)) => PortRange::new(low, high).map(Ports::Range).map_or_else(
                        || self.wrong(value, format!("\"{text}\": the range ends before it begins")),
                        Ok,
                    ),
                    _ => self.wrong(
                        value,
                        format!(
                            "no such port: \"{text}\"; {PORTS}; write a range as \"8000-8100\"; \"ephemeral\" means the ports that the kernel gives to programs"
                        ),
                    ),
                }
            }
            other => self.wrong(
                value,
                format!("a port is a number or a text such as \"8000-8100\", not {}", kind(other)),
            ),
        }
    }

    fn program(&self, value: &Value<'_>) -> Result<ExecutablePattern, PolicyError> {
        let text = self.text(value)?;
        ExecutablePattern::named(&text).or_else(|why| self.wrong(value, why))
    }

    fn user(&self, value: &Value<'_>) -> Result<User, PolicyError> {
        match value.get_ref() {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix())
                .map(User::Number)
                .or_else(|_| self.wrong(value, format!("no such user id: {number}"))),
            _ => self.text(value).map(|text| User::named(&text)),
        }
    }

    fn namespaces(&self, value: &Value<'_>) -> Result<Namespaces, PolicyError> {
        let text = self.text(value)?;
        Ok(match text.as_str() {
            "own" => Namespaces::Own,
            "unnamed" => Namespaces::Unnamed,
            _ => Namespaces::Named(self.glob(value, &text)?),
        })
    }

    fn accepted(&self, value: &Value<'_>) -> Result<Flag, PolicyError> {
        match self.parsed(value, flag)? {
            flag if flag.family() == FindingFamily::Policy => self.wrong(
                value,
                format!("\"{}\" cannot be accepted: an allowed listener never has this finding", flag.code()),
            ),
            flag => Ok(flag),
        }
    }

    fn boolean(&self, value: &Value<'_>) -> Result<bool, PolicyError> {
        match value.get_ref() {
            DeValue::Boolean(yes) => Ok(*yes),
            other => self.wrong(value, format!("expected true or false, not {}", kind(other))),
        }
    }

    fn date(&self, value: &Value<'_>) -> Result<Date, PolicyError> {
        let date = match value.get_ref() {
            DeValue::Datetime(moment) if moment.time.is_none() && moment.offset.is_none() => {
                let small = |n: u8| i8::try_from(n).ok();
                moment.date.and_then(|date| {
                    Date::new(i16::try_from(date.year).ok()?, small(date.month)?, small(date.day)?).ok()
                })
            }
            // A quoted date is accepted too, if it has no time.
            DeValue::String(text) if text.len() == 10 => text.parse().ok(),
            _ => None,
        };
        date.map_or_else(|| self.wrong(value, "not a date (expected the last day, such as 2027-01-31)"), Ok)
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    text.parse().map_err(|_| one_of(&Protocol::WITH_PORTS.map(Protocol::name)))
}

fn exposure(text: &str) -> Result<Exposure, String> {
    let found = Exposure::named(text);
    found.ok_or_else(|| format!("no such class; {}", nearest(text, &Exposure::ALL.map(Exposure::name))))
}

fn flag(text: &str) -> Result<Flag, String> {
    let found = Flag::all().find(|flag| flag.code() == text);
    found.ok_or_else(|| {
        format!("no such code; {}", nearest(text, &Flag::all().map(Flag::code).collect::<Vec<_>>()))
    })
}

fn grade(text: &str) -> Result<Option<Severity>, String> {
    if text == "off" {
        return Ok(None);
    }
    Severity::named(text).map(Some).ok_or_else(|| "write off, info, notice, warning or critical".to_owned())
}

fn one_of(names: &[&str]) -> String {
    format!("write one of {}", names.join(", "))
}

/// Returns a question that suggests the most similar name. If no name is similar, lists all names.
fn nearest(text: &str, names: &[&str]) -> String {
    match near(text, names.to_vec(), 4).first() {
        Some(name) => format!("did you mean {name}?"),
        None => one_of(names),
    }
}
