//! Finds two kinds of BPF programs. An `sk_lookup` program chooses the socket of a connection. A tcx program sees
//! packets before the firewall does.
//!
//! The programs are found through the descriptors of the processes that attached them. In addition, the kernel counts
//! the `sk_lookup` programs, including those that no process has open.

use std::fs::File;

use rustix::io::Errno;

use super::files::slurp;
use super::owners::ThreadDescriptor;
use super::task_iterator::attached_programs;
use crate::model::{Gap, Note, Pid, Stage};

/// `BPF_SK_LOOKUP` (linux/bpf.h).
const SK_LOOKUP: u32 = 36;

/// The type of a BPF link to the traffic control of a device (tcx, since Linux 6.6).
const TCX: &str = "tcx";
/// `BPF_TCX_INGRESS` (linux/bpf.h).
const TCX_INGRESS: &str = "46";

#[derive(Debug, Default)]
pub(super) struct AttachedPrograms {
    /// The processes that have an `sk_lookup` program open. An `sk_lookup` program redirects the connections of a
    /// network namespace.
    pub(super) steering: Vec<Pid>,
    pub(super) tcx: Option<Note>,
}

pub(super) fn attached(links: &[ThreadDescriptor]) -> AttachedPrograms {
    let (mut steering, mut tcx) = (Vec::new(), Vec::new());
    for link in links {
        let text = slurp(link.fdinfo(), 1024, 4096).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        if is_steering(&text) {
            steering.push(link.pid);
        }
        tcx.extend(tcx_program(&text).map(|program| (program, link.pid)));
    }
    AttachedPrograms { steering, tcx: tcx_note(tcx) }
}

/// Returns the number of programs that redirect connections in the network namespace of the calling thread. `None` if
/// the kernel refuses to answer. A program counts even if no process has it open.
pub(super) fn steering_programs() -> Option<u32> {
    let netns = File::open("/proc/thread-self/ns/net").ok()?;
    match attached_programs(&netns, SK_LOOKUP) {
        Ok(count) => Some(count),
        Err(Errno::PERM | Errno::ACCESS) => None,
        Err(_) => Some(0), // a kernel before Linux 5.9, or without BPF
    }
}

/// Returns the gap of an audit that does not know which programs redirect connections. Either the user forbade bpf(2)
/// (`bpf` is false), or the kernel refused it.
pub(super) fn unasked(bpf: bool) -> Gap {
    let (why, remedy) = match bpf {
        false => ("--no-bpf was given", "run without --no-bpf"),
        true => ("the kernel refused", "run as root, with CAP_NET_ADMIN, on a system that allows bpf(2)"),
    };
    let why = format!(
        "the BPF programs (sk_lookup) that redirect connections to listeners are visible only by bpf(2): {why}"
    );
    without_socket(why).with_remedy(remedy)
}

fn without_socket(why: impl Into<String>) -> Gap {
    Gap::new(Stage::Sockets, "ports that answer without a socket", why)
}

/// Returns a gap if programs redirect connections, because connections to other ports may then reach a listener.
pub(super) fn steering_gap(count: u32, mut pids: Vec<Pid>) -> Option<Gap> {
    pids.sort_unstable();
    pids.dedup();
    let why = if count == 1 {
        "a BPF program (sk_lookup) redirects connections for other ports and addresses to listeners"
    } else {
        "BPF programs (sk_lookup) redirect connections for other ports and addresses to listeners"
    };
    (count > 0 || !pids.is_empty())
        .then(|| without_socket(why).with_pids(pids).with_remedy("bpftool net; bpftool link"))
}

fn tcx_note(mut programs: Vec<(String, Pid)>) -> Option<Note> {
    programs.sort_unstable();
    programs.dedup_by(|one, other| one.0 == other.0);
    let (first, pid) = programs.first()?;
    let (nouns, see) = if programs.len() == 1 { ("program", "sees") } else { ("programs", "see") };
    let what = format!(
        "BPF {nouns} (tcx) {see} incoming packets before the firewall and the sockets, and can answer, drop or \
            redirect these packets ({first}, attached by pid {pid})"
    );
    Some(Note::new(what).counted(programs.len()).with_remedy("bpftool net").marked_important())
}

fn value<'t>(fdinfo: &'t str, key: &str) -> Option<&'t str> {
    fdinfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

fn is_steering(fdinfo: &str) -> bool {
    value(fdinfo, "link_type") == Some("netns")
        && value(fdinfo, "attach_type") == Some(&SK_LOOKUP.to_string())
}

/// Returns the name of the BPF program of a link, such as `program 12`. `None` if the link does not attach the program
/// to the incoming packets of a device. The line `attach_type` has a number, which a name may follow: `46
/// (tcx_ingress)`.
fn tcx_program(fdinfo: &str) -> Option<String> {
    let attach_type = value(fdinfo, "attach_type")?.split(' ').next();
    let is_incoming = value(fdinfo, "link_type") == Some(TCX) && attach_type == Some(TCX_INGRESS);
    is_incoming.then(|| format!("program {}", value(fdinfo, "prog_id").unwrap_or("?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_steer() {
        for (name, text, steers) in [
            ("sk_lookup", "link_type:\tnetns\nlink_id:\t7\nnetns_ino:\t4026531833\nattach_type:\t36\n", true),
            ("flow dissector", "link_type:\tnetns\nattach_type:\t17\n", false),
            ("another link", "link_type:\tcgroup\nattach_type:\t36\n", false),
            ("no link", "pos:\t0\n", false),
        ] {
            assert_eq!(is_steering(text), steers, "{name}");
        }
    }

    #[test]
    fn links_that_see_packets_first() {
        for (name, text, program) in [
            (
                "incoming",
                "link_type:\ttcx\nlink_id:\t7\nprog_id:\t12\nifindex:\t2\nattach_type:\t46 (tcx_ingress)\n",
                Some("program 12"),
            ),
            ("outgoing", "link_type:\ttcx\nprog_id:\t12\nattach_type:\t47 (tcx_egress)\n", None),
            ("another link", "link_type:\tcgroup\nprog_id:\t12\nattach_type:\t46\n", None),
            ("no link", "pos:\t0\n", None),
        ] {
            assert_eq!(tcx_program(text).as_deref(), program, "{name}");
        }
        let note = tcx_note(vec![("program 12".to_owned(), 7), ("program 12".to_owned(), 9)]).unwrap();
        assert_eq!(note.count, Some(1));
    }
}
