//! Turns finished values into bytes: a table, JSON, a card, and the lines for standard error.
//!
//! Renderers make no decisions, and do not read the terminal or the environment: the caller passes a [`Style`]. Every
//! text from outside goes through [`sanitize`](fn@sanitize) before it is written.

mod ascii;
pub mod audit;
mod base64;
pub mod brief;
pub mod card;
mod card_fit;
mod card_part;
mod caveats;
mod cells;
pub mod columns;
mod context_text;
pub mod csv;
pub mod diff;
pub mod events;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod free_ports;
mod group;
mod head;
pub mod html;
mod inferred;
pub mod json;
mod json_container;
mod json_process;
pub mod kill;
mod labelled;
pub mod legend;
pub mod listener_card;
mod merge;
pub mod policy;
mod port_map;
mod port_text;
mod process_cells;
mod published;
mod sanitize;
pub mod screen;
pub mod search_hits;
mod service_cells;
mod start_text;
pub mod stats;
pub mod stderr;
mod summary;
pub mod table;
mod table_steps;
pub mod terminal_map;
#[cfg(test)]
mod tests;
mod verdict_text;
mod visible;
mod wrap;
mod zone;

use anstyle::{AnsiColor, Effects};

use crate::model::{Host, Owner, Severity, Socket, host};

pub use ascii::ascii;
pub(crate) use base64::base64;
pub use caveats::caveats;
pub use merge::{merge, rows as merged_rows};
pub use sanitize::{is_unsafe, sanitize};
pub use summary::{registry, summary_height, write_summary};
pub(crate) use wrap::clip;
pub use zone::Zone;

/// The properties of the output: a terminal, a pipe or a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The width of the terminal in columns; `None` without a terminal. A table without a terminal is plain aligned
    /// text, and no cell is cut.
    pub width: Option<u16>,
    /// Whether to use colour.
    pub color: bool,
    /// The time zone for times that people read.
    pub zone: Zone,
}

impl Style {
    /// Returns `text` in a tone, or unchanged without colour.
    pub(crate) fn paint(&self, tone: Emphasis, text: &str) -> String {
        let ansi = tone.ansi();
        if self.color && !ansi.is_plain() { format!("{ansi}{text}{ansi:#}") } else { text.to_owned() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emphasis {
    Plain,
    Heading,
    Quiet,
    Good,
    Notice,
    Warning,
    Critical,
}

impl Emphasis {
    const fn ansi(self) -> anstyle::Style {
        let plain = anstyle::Style::new();
        match self {
            Emphasis::Plain => plain,
            Emphasis::Heading => plain.effects(Effects::BOLD),
            Emphasis::Quiet => plain.effects(Effects::DIMMED),
            Emphasis::Good => AnsiColor::Green.on_default(),
            Emphasis::Notice => AnsiColor::Cyan.on_default(),
            Emphasis::Warning => AnsiColor::Yellow.on_default(),
            Emphasis::Critical => AnsiColor::Red.on_default().effects(Effects::BOLD),
        }
    }
}

impl From<Severity> for Emphasis {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Emphasis::Plain,
            Severity::Notice => Emphasis::Notice,
            Severity::Warning => Emphasis::Warning,
            Severity::Critical => Emphasis::Critical,
        }
    }
}

/// Returns the address of a socket with its device, sanitized: `[fe80::1%eth0]`, `0.0.0.0%lo`. For a packet socket,
/// returns the device: `eth0`, or `*` for every device.
fn address(socket: &Socket) -> String {
    if socket.address().is_none() {
        return sanitize(socket.local.device.as_deref().unwrap_or("*")).into_owned();
    }
    sanitize(&host(socket.local.address, socket.local.device.as_deref())).into_owned()
}

fn host_name(host: &Host) -> std::borrow::Cow<'_, str> {
    host.name.as_deref().map_or("a machine without a name".into(), sanitize)
}

fn system(host: &Host) -> String {
    let kernel = host.kernel.as_deref().map(|kernel| format!(" {}", sanitize(kernel))).unwrap_or_default();
    format!("{}{kernel}", sanitize(&host.os))
}

/// Returns the user who created a socket, sanitized: the name, or the number if the name is not known.
fn user(name: Option<&str>, uid: Option<u32>) -> Option<String> {
    name.map(|name| sanitize(name).into_owned()).or_else(|| uid.map(|uid| uid.to_string()))
}

/// Returns the mark that replaces the process name of a socket without a process, such as `(kernel)`.
fn owner_mark(socket: &Socket) -> Option<&'static str> {
    match socket.owner {
        Owner::Kernel if socket.forwarding.is_some() => Some("(NAT rule)"),
        Owner::Held(_) => None,
        Owner::Hidden => Some("(hidden)"),
        Owner::Kernel => Some("(kernel)"),
        Owner::Unaccounted => Some("(unaccounted)"),
        Owner::Vanished => Some("(vanished)"),
        Owner::Unknown => Some("(unknown)"),
    }
}

/// Returns the name of a process, sanitized; `?` if it could not be read. A process named `(kernel)` is shown as
/// `\x28kernel)`, because `(kernel)` is the mark of a socket without a process.
fn process_name(name: Option<&str>) -> std::borrow::Cow<'_, str> {
    match name {
        None => "?".into(),
        Some("?") => "\\x3f".into(),
        Some(
            name @ ("(hidden)" | "(kernel)" | "(NAT rule)" | "(unaccounted)" | "(vanished)" | "(unknown)"),
        ) => name.replacen('(', "\\x28", 1).into(),
        Some(name) => sanitize(name),
    }
}
