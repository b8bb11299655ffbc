//! Findings about who can reach a listener.

use std::net::IpAddr;

use serde::Serialize;

use super::{FindingFamily, FindingKind, OnLoopback, Rule};
use crate::model::{Device, Exposure, Severity};

/// Reachable from beyond this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// The class of the address.
    pub exposure: Exposure,
    /// The address.
    pub address: IpAddr,
    /// The device it is bound to.
    pub device: Option<Device>,
}

impl FindingKind for Exposed {
    const RULE: Rule = Rule {
        code: "exposed",
        family: FindingFamily::Reach,
        severity: Severity::Info,
        on_loopback: OnLoopback::Same,
        description: "reachable from beyond this machine",
        why: "Whoever can reach the address can talk to it, unless something in between forbids it.",
        remedy: "bind it to a loopback address if only this machine should reach it",
    };

    fn sentence(&self) -> String {
        format!(
            "Reachable from beyond this machine, {}, as far as the address tells.",
            match self.exposure {
                Exposure::Any => "on every address of this machine",
                Exposure::Public => "on a public address",
                Exposure::Private => "on a private network",
                Exposure::LinkLocal => "on one link only",
                Exposure::Multicast => "by multicast",
                Exposure::Loopback => "on this machine only",
            }
        )
    }
}

family!(Reach: Exposed);
