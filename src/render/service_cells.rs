//! The cells about the service of an entry. They show the running service. If it is not known, they show the usual or
//! registered service of the port.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use super::cells::{CellFormat, Field, to_container};
use super::wrap::clip;
use super::{Emphasis, sanitize};
use crate::findings::FindingFamily;
use crate::join::Entry;
use crate::model::{ListenerService, ServiceBy, Severity};

/// The width of SERVICE, in columns, if a table is too wide for its terminal. Most products fit.
pub(super) const WIDEST_SERVICE: u16 = 24;
/// The word before the container to which a published port leads.
const TO: &str = "to ";

pub(super) fn service(entry: &Entry, form: CellFormat) -> Field {
    if form == CellFormat::Data {
        return service_name(entry, form);
    }
    let short = |text: &str| {
        let text = text.split(" (").next().unwrap_or(text);
        sanitize(if form.is_short() { without_kind(text) } else { text }).into_owned()
    };
    // A published port is only a way to the service in the container.
    if let Some(container) = to_container(entry) {
        return Field::text(Some(&container));
    }
    let text = match entry.service() {
        Some(ListenerService { name, product, by: ServiceBy::Process | ServiceBy::Unit }) => {
            short(product.or(name).unwrap_or_default())
        }
        // The program is a temporary tool or an impostor. It does not provide the usual service of the port, so SERVICE
        // is empty.
        Some(ListenerService { by: ServiceBy::Port, .. }) if is_flagged(entry) => String::new(),
        Some(ListenerService { name, product, by: ServiceBy::Port }) => {
            format!("({})", short(product.or(name).unwrap_or_default()))
        }
        None => match entry.verdict.assignments.first() {
            Some(first) if entry.socket.state.holds_port() => {
                return Field::new(format!("IANA: {}", sanitize(first.service)), Emphasis::Quiet);
            }
            _ => String::new(),
        },
    };
    let tone = match entry.service() {
        Some(ListenerService { by: ServiceBy::Process | ServiceBy::Unit, .. }) => Emphasis::Plain,
        _ => Emphasis::Quiet,
    };
    Field::new(text, tone)
}

/// Words that only say what kind of program a product is. They are often the end of its name.
const KINDS: [&str; 12] = [
    "server", "daemon", "service", "proxy", "relay", "agent", "userland", "HTTP", "mDNS", "DNS", "DHCP",
    "SSH",
];

/// Returns the name of a product without the words of `KINDS` at its end: `OpenSSH` for `OpenSSH server`.
fn without_kind(product: &str) -> &str {
    let mut name = product;
    while let Some((before, last)) = name.rsplit_once(' ') {
        if !KINDS.contains(&last) {
            break;
        }
        name = before;
    }
    name
}

/// Returns the text of SERVICE, cut to `width` columns. A product is cut between two words, and any other text at any
/// character. Parentheses are not cut off. If the text of a published port is too long, only the name of the container
/// is kept.
pub(super) fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return text.into();
    }
    if let Some(container) = text.strip_prefix(TO) {
        return clip(container, width);
    }
    if let Some(usual) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'))
        && width > 2
    {
        return format!("({})", shortened(usual, width - 2)).into();
    }
    let ends = text.match_indices(' ').map(|(at, _)| text[..at].trim_end_matches(','));
    match ends.take_while(|words| words.width() < width).last() {
        Some(words) if !words.ends_with(':') => format!("{words}…").into(),
        _ => clip(text, width),
    }
}

/// Returns whether a warning or a critical finding says that the program is not the usual program of the port.
fn is_flagged(entry: &Entry) -> bool {
    entry.findings().iter().any(|finding| {
        finding.flag().family() == FindingFamily::Identity && finding.severity >= Severity::Warning
    })
}

pub(super) fn service_name(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.service().and_then(|service| service.name))
}

pub(super) fn service_product(entry: &Entry, _: CellFormat) -> Field {
    Field::text(entry.service().and_then(|service| service.product))
}

pub(super) fn service_by(entry: &Entry, _: CellFormat) -> Field {
    Field::plain(entry.service().map_or("", |service| service.by.name()))
}
