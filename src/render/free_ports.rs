//! The answer of `explain --free`: free ports for a new service, as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::head::DocumentHeader;
use super::json::write;
use super::labelled::{MEASURE, labelled};
use super::wrap::prose;
use super::{Emphasis, Style, sanitize};
use crate::findings::text::{first_of, list, plural};
use crate::judge::{FreePort, FreePorts, RefusedPort, Report};
use crate::model::{PortRange, Unsuitable};

/// The maximum number of examples for each reason.
const EXAMPLES: usize = 3;

pub fn table(free: &FreePorts, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    let heading = |text: &str| style.paint(Emphasis::Heading, text);
    let certainty = if free.unseen.is_empty() { "Free" } else { "Probably free" };
    match free.proposals.len() {
        0 => {
            writeln!(w, "{}", heading(&format!("No port of {} is suitable for a new service.", free.asked)))?;
        }
        _ => writeln!(
            w,
            "{}",
            heading(&format!("{certainty} in {}, for a new service on TCP or UDP:", free.asked))
        )?,
    }
    for FreePort { port, below, above } in &free.proposals {
        let near = match (below, above) {
            (Some(below), Some(above)) => format!("between {} and {}", refused(below), refused(above)),
            (Some(below), None) => format!("above {}", refused(below)),
            (None, Some(above)) => format!("below {}", refused(above)),
            (None, None) => String::new(),
        };
        writeln!(w, "{}", format!("  {port:<6} {}", sanitize(&near)).trim_end())?;
    }
    if !free.proposals.is_empty() {
        writeln!(w)?;
        paragraph(&why(free), style, w)?;
    }
    // An unseen socket may use a proposed port. Without proposals, unseen parts of the machine do not matter.
    let unseen = free.unseen.iter().filter(|_| !free.proposals.is_empty());
    for (at, unseen) in unseen.enumerate() {
        let label = if at == 0 { "Not seen" } else { "" };
        labelled(label, &sanitize(unseen), style).iter().try_for_each(|line| writeln!(w, "{line}"))?;
    }
    writeln!(w)?;
    let asked = usize::from(free.asked.high - free.asked.low) + 1;
    let others = if free.refused.is_empty() { "" } else { " Left out:" };
    paragraph(&format!("{} of {} are suitable.{others}", free.suitable, plural(asked, "port")), style, w)?;
    for reason in Unsuitable::ALL {
        let refused: Vec<&RefusedPort> = free.refused.iter().filter(|one| one.reason == reason).collect();
        if refused.is_empty() {
            continue;
        }
        // Reserved ports are counted, but not named: their registrations have a remark instead of a service name.
        let is_named = reason != Unsuitable::Reserved;
        let named = refused
            .iter()
            .filter_map(|one| Some(format!("{} {}", one.port, one.by.as_ref().filter(|_| is_named)?)));
        let mut text = format!("{} ({})", plural(refused.len(), "port"), meaning(reason));
        let examples: Vec<String> = named.collect();
        if !examples.is_empty() {
            text.push_str(": ");
            text.push_str(&first_of(&examples, EXAMPLES));
        }
        labelled(label(reason), &sanitize(&text), style).iter().try_for_each(|line| writeln!(w, "{line}"))?;
    }
    Ok(())
}

fn paragraph(text: &str, style: &Style, w: &mut dyn Write) -> io::Result<()> {
    prose("", &sanitize(text), MEASURE, style).iter().try_for_each(|line| writeln!(w, "{line}"))
}

fn why(free: &FreePorts) -> String {
    let kernel = match free.kernel_ranges.as_slice() {
        [] => String::new(),
        ranges => {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            format!(
                " The kernel gives other ports ({}) to outgoing connections, and none of the proposed ports is reserved.",
                list(&ranges)
            )
        }
    };
    let here = if free.unseen.is_empty() {
        "No socket and no forwarding rule of this machine uses these ports."
    } else {
        "None of the sockets and forwarding rules that were seen uses these ports."
    };
    format!("Nothing is registered for these ports, and no known software uses them.{kernel} {here}")
}

fn refused(refused: &RefusedPort) -> String {
    let by = refused.by.as_deref().filter(|_| refused.reason != Unsuitable::Reserved);
    format!("{} ({})", refused.port, by.unwrap_or_else(|| label(refused.reason)))
}

const fn label(reason: Unsuitable) -> &'static str {
    match reason {
        Unsuitable::Taken => "In use",
        Unsuitable::KernelReserved => "Kernel",
        Unsuitable::KernelRange => "Ephemeral",
        Unsuitable::System => "System",
        Unsuitable::Dynamic => "Dynamic",
        Unsuitable::Registered => "Registered",
        Unsuitable::Reserved => "Reserved",
        Unsuitable::Common => "Common",
    }
}

const fn meaning(reason: Unsuitable) -> &'static str {
    match reason {
        Unsuitable::Taken => "a socket or a rule here uses the port",
        Unsuitable::KernelReserved => "reserved by net.ipv4.ip_local_reserved_ports",
        Unsuitable::KernelRange => "the kernel gives the port to outgoing connections",
        Unsuitable::System => "below 1024: for system services",
        Unsuitable::Dynamic => "49152 and above: for temporary use",
        Unsuitable::Registered => "registered with IANA",
        Unsuitable::Reserved => "reserved by IANA, or listed with a remark instead of a service",
        Unsuitable::Common => "known software uses the port",
    }
}

/// Writes the answer as JSON, in the schema of `explain`. The list of ports is empty.
pub fn json(free: &FreePorts, report: &Report, w: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Free<'a> {
        asked: PortRange,
        confirmed: bool,
        proposals: &'a [FreePort],
        suitable: usize,
        refused: &'a [RefusedPort],
        kernel_ranges: &'a [PortRange],
        unseen: &'a [String],
    }
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        head: DocumentHeader<'a>,
        free: Free<'a>,
        ports: [(); 0],
    }
    let free = Free {
        asked: free.asked,
        confirmed: free.unseen.is_empty(),
        proposals: &free.proposals,
        suitable: free.suitable,
        refused: &free.refused,
        kernel_ranges: &free.kernel_ranges,
        unseen: &free.unseen,
    };
    write(&Document { head: DocumentHeader::new("portolan.explain/2", report), free, ports: [] }, w)
}
