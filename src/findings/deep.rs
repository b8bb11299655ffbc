//! Findings of a deep scan: ports in use without a visible socket, and tables that contradict each other.

use super::change::in_namespace;
use super::{FindingFamily, FindingInfo, FindingKind, OnLoopback};
use crate::model::{Disagreement, Protocol, Severity, Source, TakenPort};

impl FindingKind for TakenPort {
    const INFO: FindingInfo = FindingInfo {
        code: "hidden-port",
        family: FindingFamily::Deep,
        severity: Severity::Critical,
        on_loopback: OnLoopback::Same,
        description: "a port is taken, but no kernel table shows the socket",
        why: "Either a rootkit hides the socket, or the kernel does not list this kind of socket.",
        remedy: "do not trust the tools on this machine: scan its ports from another machine, then boot it from \
            trusted media",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Warning, Severity::Critical];

    /// Returns warning if the port may belong to a socket that is bound but does not listen. Otherwise returns
    /// critical.
    fn severity(&self) -> Severity {
        if self.protocol == Protocol::Tcp && !self.lists_bound_sockets {
            Severity::Warning
        } else {
            Self::INFO.severity
        }
    }

    fn sentence(&self) -> String {
        let mut said = format!(
            "{} port {} over {} is taken{}: all {} attempts to bind it failed, but no kernel table shows a socket on it.",
            self.protocol,
            self.port,
            self.family.name(),
            in_namespace(self.netns.as_ref()),
            self.tries,
        );
        if self.protocol == Protocol::Tcp && !self.lists_bound_sockets {
            said.push_str(
                " The scan could not list sockets that are bound but do not listen; the port may belong to such a \
                 socket.",
            );
        }
        said
    }
}

impl FindingKind for Disagreement {
    const INFO: FindingInfo = FindingInfo {
        code: "disagreement",
        family: FindingFamily::Deep,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Same,
        description: "one kernel table lists a socket that another kernel table does not list",
        why: "Tools that read only the other table do not show the socket. Some rootkits hide sockets \
            in this way.",
        remedy: "run the audit again; if the finding stays, scan the ports of this machine from another machine and compare",
    };
    const SEVERITIES: &'static [Severity] = &[Severity::Notice, Severity::Warning];

    /// Returns notice if only netstat2 does not show the socket, otherwise warning. netstat2 reads the same list of the
    /// kernel (`sock_diag`) as portolan itself, but with another parser.
    fn severity(&self) -> Severity {
        if self.missing_from == [Source::Netstat2] { Severity::Notice } else { Self::INFO.severity }
    }

    fn sentence(&self) -> String {
        let Disagreement { protocol, address, port, inode, netns, shown_by, missing_from, .. } = self;
        let end = std::net::SocketAddr::new(*address, *port);
        format!(
            "{protocol} {end} (inode {inode}){}: the socket was in {} but not in {}, in three scans in a row.",
            in_namespace(netns.as_ref()),
            names(shown_by),
            names(missing_from),
        )
    }
}

fn names(sources: &[Source]) -> String {
    sources.iter().map(|source| source.name()).collect::<Vec<_>>().join(" and ")
}

family!(Deep: TakenPort, Disagreement);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family as AddressFamily;

    #[test]
    fn ambiguous_findings_are_less_severe() {
        for (protocol, lists_bound_sockets, severity) in [
            (Protocol::Tcp, true, Severity::Critical),
            (Protocol::Tcp, false, Severity::Warning),
            (Protocol::Udp, false, Severity::Critical),
        ] {
            let taken = TakenPort {
                protocol,
                family: AddressFamily::Ipv4,
                port: 80,
                netns: None,
                tries: 81,
                lists_bound_sockets,
            };
            assert_eq!(taken.severity(), severity, "{taken:?}");
        }
        for (missing_from, severity) in [
            (vec![Source::ProcNet], Severity::Warning),
            (vec![Source::ProcNet, Source::Netstat2], Severity::Warning),
            (vec![Source::Netstat2], Severity::Notice),
        ] {
            let found = Disagreement {
                protocol: Protocol::Tcp,
                address: [127, 0, 0, 1].into(),
                port: 80,
                state: None,
                inode: 7,
                netns: None,
                shown_by: vec![Source::Netlink],
                missing_from,
            };
            assert_eq!(found.severity(), severity, "{found:?}");
        }
    }
}
