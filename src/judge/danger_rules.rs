//! `exposed`: a service that is dangerous if other machines can reach it, and that they can reach.

use super::program_identity::IdentifiedProcess;
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::reach::{DangerBasis, Exposed, ServingProcess};
use crate::model::{Owner, Socket};
use crate::registry::dangers::{self, Basis, Danger};

/// Programs that listen on a container's published port; the service itself is behind them.
const PUBLISHERS: [&str; 11] = [
    "docker-proxy",
    "conmon",
    "rootlessport",
    "rootlessport-child",
    "rootlesskit",
    "com.docker.backend",
    "kube-proxy",
    "slirp4netns",
    "pasta",
    "pasta.avx2",
    "gvproxy",
];

/// Decides `exposed`. If several processes own the socket, the one with the most severe danger counts.
pub(super) fn exposed(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let entry = subject.listener;
    if !entry.exposure.beyond() || !entry.socket.state.accepts_traffic() {
        return None;
    }
    let (port, protocol) = (entry.socket.local.port, entry.socket.local.protocol);
    let (process, danger) = match &entry.socket.owner {
        Owner::Kernel => (None, dangers::danger_of_kernel(port, protocol)?),
        _ => {
            let chosen_by_kernel = subject.snapshot.ephemeral_range(&entry.socket).is_some();
            let dangers = subject
                .processes
                .iter()
                .filter_map(|process| Some((process, danger(process, &entry.socket, chosen_by_kernel)?)));
            // `max_by_key` returns the last of equal elements, but the first process is to count.
            let (process, danger) = dangers.rev().max_by_key(|(_, danger)| danger.severity)?;
            (Some(serving(process)), danger)
        }
    };
    let Danger { service, title, severity, authentication, encryption, outsider_gets, remedy, attack, basis } =
        danger;
    let basis = match basis {
        Basis::CommandLine => DangerBasis::CommandLine,
        Basis::Default => DangerBasis::Default,
        Basis::Password => DangerBasis::Password,
        Basis::Port => DangerBasis::Port,
    };
    let exposed = Exposed {
        service,
        title,
        process,
        protocol,
        port,
        exposure: entry.exposure,
        outsider_gets,
        authentication,
        encryption,
        basis,
        remedy,
        attack: attack.split(',').filter(|technique| !technique.is_empty()).collect(),
        severity,
    };
    Some(exposed.into())
}

fn danger(process: &IdentifiedProcess<'_>, socket: &Socket, chosen_by_kernel: bool) -> Option<Danger> {
    let (port, protocol) = (socket.local.port, socket.local.protocol);
    if !process.is_replaceable() && process.program_name().is_some_and(|name| PUBLISHERS.contains(&name)) {
        return dangers::behind_published_port(port, protocol);
    }
    dangers::danger(&process.command_line()?, port, protocol, chosen_by_kernel)
}

fn serving(process: &IdentifiedProcess<'_>) -> ServingProcess {
    let one = process.process;
    ServingProcess {
        pid: one.pid,
        program: process.program_name().unwrap_or("?").to_owned(),
        user: one.user.clone().or_else(|| one.uid.map(|uid| uid.to_string())),
    }
}
