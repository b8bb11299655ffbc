//! Resolves what was typed against the registry: which sockets it means.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Error;
use super::select::both;
use crate::cli;
use crate::join::Entry;
use crate::model::{PortRange, Process, Protocol, Target};
use crate::registry::Registry;

/// A target and what it may mean.
#[derive(Debug)]
pub(super) struct Resolved {
    /// As typed.
    pub text: String,
    /// As parsed.
    pub target: Target,
    /// For a name: the ports of the service of that name.
    pub service: Vec<(PortRange, Protocol)>,
}

/// Parses and resolves every target.
pub(super) fn resolve(targets: &[String], registry: &Registry) -> Result<Vec<Resolved>, Error> {
    targets
        .iter()
        .map(|text| {
            let target: Target = text.parse().map_err(|error| Error::msg(format!("{text}: {error}")))?;
            let service = match &target {
                Target::Name { protocol, name } => {
                    let mut service = registry.named(name);
                    service.retain(|(_, p)| protocol.is_none_or(|wanted| wanted.registered_as() == *p));
                    service
                }
                _ => Vec::new(),
            };
            Ok(Resolved { text: text.clone(), target, service })
        })
        .collect()
}

impl Resolved {
    /// The ports it can mean; `None` where a name may be a process, which may be anywhere.
    pub(super) fn ports(&self) -> Option<Vec<PortRange>> {
        match &self.target {
            Target::Ports { ports, .. } => Some(vec![*ports]),
            Target::Address { port, .. } => port.map(|port| vec![PortRange::single(port)]),
            Target::Name { .. } => None,
        }
    }

    /// Whether it means this listener.
    pub(super) fn matches(&self, listener: &Entry) -> bool {
        let local = &listener.socket.local;
        match &self.target {
            Target::Ports { protocol, ports } => {
                protocol.is_none_or(|wanted| wanted == local.protocol) && ports.contains(local.port)
            }
            Target::Address { network, port } => {
                network.contains(local.address) && port.is_none_or(|wanted| wanted == local.port)
            }
            Target::Name { protocol, name } => {
                let protocol_fits = protocol.is_none_or(|wanted| wanted == local.protocol);
                let on_its_port = self
                    .service
                    .iter()
                    .any(|(ports, p)| *p == local.protocol.registered_as() && ports.contains(local.port));
                protocol_fits
                    && (on_its_port || listener.processes.iter().any(|process| is_named(process, name)))
            }
        }
    }

    /// Whether it means a place where nothing is seen; `None` where that cannot be told.
    pub(super) fn matches_at(
        &self,
        protocol: Option<Protocol>,
        address: Option<IpAddr>,
        port: Option<u16>,
    ) -> Option<bool> {
        let fits = |wanted: &Option<Protocol>| wanted.map_or(Some(true), |w| protocol.map(|p| p == w));
        match &self.target {
            Target::Ports { protocol, ports } => both(fits(protocol), port.map(|port| ports.contains(port))),
            Target::Address { network, port: wanted } => both(
                address.map(|address| network.contains(address)),
                wanted.map_or(Some(true), |wanted| port.map(|port| port == wanted)),
            ),
            // It may be a process, which may be anywhere.
            Target::Name { .. } if self.service.is_empty() => None,
            Target::Name { protocol, .. } => {
                let among = |port| self.service.iter().any(|(ports, _)| ports.contains(port));
                both(fits(protocol), port.map(among))
            }
        }
    }

    /// Whether it is a name of no service, so that it should be one of a process.
    pub(super) fn must_be_process(&self) -> Option<&str> {
        match &self.target {
            Target::Name { name, .. } if self.service.is_empty() => Some(name),
            _ => None,
        }
    }
}

/// Whether a process goes by `name`: by its own word, which Linux cuts at 15 bytes, or by its program file.
fn is_named(process: &Process, name: &str) -> bool {
    let own = process.name.as_deref().is_some_and(|own| {
        own == name || (own.len() == 15 && name.starts_with(own)) || own.strip_suffix(".exe") == Some(name)
    });
    let file = process.exe.as_ref().and_then(|exe| exe.path.rsplit(['/', '\\']).next());
    own || file.is_some_and(|file| file == name || file.strip_suffix(".exe") == Some(name))
}

/// Refuses a name that is neither a service, nor a process that was met, nor any process that runs.
pub(super) fn known<'r>(
    targets: impl Iterator<Item = &'r Resolved>,
    met: &HashSet<usize>,
    registry: &Registry,
    running: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    for (index, resolved) in targets.enumerate() {
        if let Some(name) = resolved.must_be_process()
            && !met.contains(&index)
            && !running(name)
        {
            let near = suggestion(name, registry);
            return Err(Error::msg(format!(
                "{}: neither a port, nor a registered service, nor a process seen running here{near}",
                resolved.text
            )));
        }
    }
    Ok(())
}

/// What comes near a name that is none: a command, a service or a program.
pub(super) fn suggestion(name: &str, registry: &Registry) -> String {
    let commands = cli::commands().into_iter().filter(|command| strsim::osa_distance(command, name) <= 2);
    let mut near: Vec<String> = commands.filter(|_| name.len() > 2).collect();
    near.extend(registry.near(name).into_iter().map(str::to_owned));
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) }
}
