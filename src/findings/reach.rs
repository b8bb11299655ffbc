//! Findings about the clients that can reach a service.

use std::net::SocketAddr;

use serde::Serialize;

use super::text::{FEW, capitalized, sentence, uncapitalized};
use super::{FindingFamily, FindingInfo, FindingKind, OnLoopback};
use crate::model::{
    AdmittedClients, ClientGroup, DangerBasis, Endpoint, Exposure, Peer, Pid, Protocol, Reach, ReachKind,
    RestrictedBy, Severity,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServingProcess {
    pub pid: Pid,
    /// The name of the program file. If the file is not known, the name of the process.
    pub program: String,
    /// The name of the user, or else the user ID.
    pub user: Option<String>,
}

/// A setting in a configuration file that decides which clients the service admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfiguredAccess {
    pub path: String,
    /// The setting in short, without a secret value.
    pub setting: String,
    pub clients: AdmittedClients,
}

/// A relay. It passes the connections of other machines to a service of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Relay {
    pub pid: Pid,
    /// The name of the program file. If the file is not known, the name of the process.
    pub program: String,
    pub to: Peer,
    /// The restriction of the clients; `None` if every client is admitted, or if this is not known.
    pub restriction: Option<Restriction>,
}

/// A condition that every client of a relay must meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restriction {
    /// The relay that refuses the other clients. If several relays lead to the service, it can be any of them.
    pub pid: Pid,
    pub by: RestrictedBy,
    /// The configuration file with the restriction; `None` for the command line.
    pub file: Option<String>,
}

/// A dangerous service that other machines can reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exposed {
    /// The name of the service's row in the table of dangerous services.
    pub service: &'static str,
    pub title: &'static str,
    /// The process of the service; `None` for the kernel.
    pub process: Option<ServingProcess>,
    /// The relay through which the clients reach the service, if any.
    pub relay: Option<Relay>,
    #[serde(skip)]
    pub protocol: Protocol,
    #[serde(skip)]
    pub port: u16,
    /// The clients that can reach the address of the socket, if the packet filter is ignored.
    #[serde(skip)]
    pub exposure: Exposure,
    /// The clients that the packet filter admits, if known.
    #[serde(skip)]
    pub reach: Option<Box<Reach>>,
    /// A sentence that says what a connected client can do. It begins with a verb.
    pub outsider_gets: &'static str,
    /// How the service authenticates clients: `none`, `none-by-default`, `optional`, `password`, `strong` or `n/a`.
    pub authentication: &'static str,
    /// Whether the service encrypts: `none`, `optional` or `always`.
    pub encryption: &'static str,
    /// Whether the address is a loopback address, but machines on the same link can reach it.
    #[serde(skip)]
    pub is_loopback_address: bool,
    pub basis: DangerBasis,
    /// The deciding setting, if the evidence is the configuration file.
    pub configuration: Option<ConfiguredAccess>,
    /// The configuration file, if it was changed after the process started. The process may still use older settings,
    /// so the file is not evidence.
    pub changed_configuration: Option<String>,
    /// The setting that removes the danger.
    pub remedy: String,
    pub attack: Vec<&'static str>,
    #[serde(skip)]
    pub severity: Severity,
}

impl FindingKind for Exposed {
    const INFO: FindingInfo = FindingInfo {
        code: "exposed",
        family: FindingFamily::Reach,
        severity: Severity::Warning,
        on_loopback: OnLoopback::Lower,
        description: "other machines can reach a service that is dangerous to expose",
        why: "The service trusts everyone who can reach it, or is a common way into a machine.",
        remedy: "bind the service to a loopback address, close its port in the firewall, or make it ask for a password",
    };
    const SEVERITIES: &'static [Severity] =
        &[Severity::Info, Severity::Notice, Severity::Warning, Severity::Critical];

    fn severity(&self) -> Severity {
        self.severity
    }

    fn sentence(&self) -> String {
        let firewall = self.reach.as_deref().and_then(firewall);
        let is_closed = self.reach.as_deref().is_some_and(|reach| !reach.kind.lets_in_other_machines());
        let firewall = firewall.map(|text| match is_closed {
            true => format!(" But {}", sentence(&text)),
            false => format!(" {}", sentence(&capitalized(&text))),
        });
        let firewall = firewall.unwrap_or_default();
        let accepts = format!("{}{firewall}", self.accepts());
        match self.admitted() {
            Some(AdmittedClients::Local) => format!("{accepts} {}", self.closing()),
            _ => format!("{accepts} {} {}", self.consequence(), self.closing()),
        }
    }

    /// Leaves out the process, address and firewall, because the card shows these on separate lines.
    fn card_sentence(&self) -> String {
        match self.admitted() {
            Some(AdmittedClients::Local) => format!("{} {}", sentence(self.title), self.closing()),
            _ => format!("{} {}", capitalized(&self.summary()), self.closing()),
        }
    }
}

impl Exposed {
    /// Returns the service and what any client can do: `Redis: anyone who connects reads and changes every key.`
    pub fn summary(&self) -> String {
        if self.admitted() == Some(AdmittedClients::Local) {
            return format!(
                "{}: its configuration file says that it refuses clients from other machines.",
                self.title
            );
        }
        let is_presumed = matches!(self.basis, DangerBasis::Port | DangerBasis::ChosenPort);
        let probably = if is_presumed { "probably " } else { "" };
        let relayed = self.relay.as_ref().map(|relay| {
            let program = self.process.as_ref().map(|one| format!("{}, pid {}, ", one.program, one.pid));
            format!(
                "relay to {probably}{} ({}on {}): ",
                self.title,
                program.unwrap_or_default(),
                relay.place()
            )
        });
        let subject = relayed.unwrap_or_else(|| format!("{probably}{}: ", self.title));
        format!("{subject}{}", uncapitalized(&self.consequence()))
    }

    /// Returns the fix. If a configuration file is the evidence, the text first says what the file sets. If the file
    /// was ignored because it was changed, the text first says so.
    pub fn closing(&self) -> String {
        let fix = format!("Fix: {}", sentence(&self.remedy));
        if let Some(path) = &self.changed_configuration {
            return format!(
                "{path} was changed after the process started. The process may still use the old settings, so portolan ignored the file. {fix}"
            );
        }
        let Some(ConfiguredAccess { path, setting, clients }) = &self.configuration else { return fix };
        let says = match clients {
            AdmittedClients::Local => "refuses clients from other machines",
            AdmittedClients::Listed => "accepts only listed addresses",
            AdmittedClients::Authenticated if self.service == "kubelet-file" => "refuses anonymous requests",
            AdmittedClients::Authenticated if self.authentication == "strong" => "requires a certificate",
            AdmittedClients::Authenticated => "requires a password",
            AdmittedClients::Anyone => "requires no password",
        };
        let at_run_time = match clients {
            AdmittedClients::Local if self.severity > Severity::Info => {
                " A command can change this setting while the server runs, without a change of the file."
            }
            _ => "",
        };
        format!("Its configuration file says that it {says} ({path}: {setting}).{at_run_time} {fix}")
    }

    /// Returns the clients that the configuration admits; `None` if no configuration is the evidence.
    fn admitted(&self) -> Option<AdmittedClients> {
        self.configuration.as_ref().map(|configuration| configuration.clients)
    }

    fn accepts(&self) -> String {
        let Exposed { title, protocol, port, .. } = self;
        let process = match &self.process {
            None if self.relay.is_some() => String::new(),
            None => " (the kernel)".to_owned(),
            Some(ServingProcess { pid, program, user: Some(user) }) => {
                format!(" ({program}, pid {pid}, user {user})")
            }
            Some(ServingProcess { pid, program, user: None }) => format!(" ({program}, pid {pid})"),
        };
        let may_be_another = match self.basis {
            DangerBasis::ChosenPort => {
                " The service is presumed: the program is not on its usual port, so this port may have another purpose."
            }
            _ => "",
        };
        let presumed = if self.basis == DangerBasis::Port { "Presumed from the port alone: " } else { "" };
        let sources = match self.exposure {
            Exposure::LinkLocal if self.is_loopback_address => {
                "machines on the same link that send packets for 127.0.0.1 to this machine,"
            }
            Exposure::Any => "any address",
            Exposure::Public => "the internet",
            Exposure::Private => "its private network",
            _ => "other machines on its network",
        };
        let traffic = if protocol.is_datagram() { "data" } else { "connections" };
        let relay = self.relay.as_ref().map(Relay::sentence).unwrap_or_default();
        format!(
            "{presumed}{title}{process} accepts {traffic} from {sources} on {protocol}/{port}.{relay}{may_be_another}"
        )
    }

    fn consequence(&self) -> String {
        let who = match self.admitted() {
            _ if self.relay.as_ref().is_some_and(|relay| relay.restriction.is_some()) => {
                "A client that the relay admits"
            }
            Some(AdmittedClients::Listed) => "A client with a listed address",
            _ => "Anyone who connects",
        };
        format!("{who} {}", uncapitalized(&self.outcome()))
    }

    /// Returns what a client can do, and how certain this is.
    fn outcome(&self) -> String {
        let certainty = match (self.basis, self.authentication) {
            (DangerBasis::CommandLine, _) => ". The command line of the process shows this.",
            (DangerBasis::Environment, _) => ". The environment of the process shows this.",
            (DangerBasis::Password, _) => ". Its command line requires a password or a certificate.",
            (DangerBasis::Configuration, _) => ".",
            (_, "none-by-default" | "optional") if has_condition(self.outsider_gets) => " (not checked).",
            (_, "none-by-default" | "optional") => ", unless a password is set (not checked).",
            (_, "password") => ". The service asks for a password.",
            _ => ".",
        };
        format!("{}{certainty}", self.outsider_gets.trim_end_matches('.'))
    }
}

impl Relay {
    fn place(&self) -> SocketAddr {
        SocketAddr::new(self.to.address, self.to.port)
    }

    fn sentence(&self) -> String {
        format!(
            " The relay {} passes these connections to {}. The service sees them as connections from this machine.{}",
            self.program,
            self.place(),
            self.restriction.as_ref().map(|one| self.admits(one)).unwrap_or_default()
        )
    }

    /// Returns where a restriction was found, and which clients it admits.
    fn admits(&self, Restriction { pid, by, file }: &Restriction) -> String {
        let place = match file {
            Some(file) => format!("configuration file {file}"),
            None => "command line".to_owned(),
        };
        let subject = match *pid == self.pid {
            true => format!("Its {place}"),
            false => format!("The {place} of a later relay (pid {pid})"),
        };
        let clients = match by {
            RestrictedBy::Addresses => "listed addresses",
            RestrictedBy::Credentials => "clients with a password, a key or a certificate",
        };
        format!(" {subject} admits only {clients}.")
    }
}

/// The maximum number of interfaces, and of addresses, in one group of clients.
const FEW_PLACES: usize = 4;

/// Returns the clients that the firewall lets in: `the firewall lets in only 10.0.0.0/8 (nft rule …)`. `None` if
/// there are no rules, or if only root may read the rules.
pub fn firewall(reach: &Reach) -> Option<String> {
    if reach.kind == ReachKind::Machine {
        let from: Vec<String> = reach.from.iter().map(shortened).collect();
        return Some(format!("only {} can connect", from.join(", ")));
    }
    let rule = reach.rule.as_deref()?;
    Some(match reach.kind {
        ReachKind::Open => format!("the firewall lets in everyone ({rule})"),
        ReachKind::Limited => format!("the firewall lets in {} ({rule})", clients(reach)),
        ReachKind::Filtered | ReachKind::Machine => format!("the firewall lets in nobody ({rule})"),
        ReachKind::Unknown => format!("it is not known which clients the firewall lets in ({rule})"),
    })
}

/// Returns the first clients that the firewall lets in: `only 10.0.0.0/8 and 192.0.2.7`, or `anyone on eth1`.
pub fn clients(reach: &Reach) -> String {
    let named: Vec<String> = reach.from.iter().take(FEW).map(shortened).collect();
    let only = if reach.from.iter().any(|group| group.who.is_everyone()) { "" } else { "only " };
    match reach.from.len() - named.len() + reach.more {
        0 => format!("{only}{}", named.join(", ")),
        more => format!("{only}{} and {more} more", named.join(", ")),
    }
}

/// Returns a group of clients with only the first interfaces and addresses: `anyone on docker0 and 9 more`.
fn shortened(group: &ClientGroup) -> String {
    let few = |names: &[String]| {
        let (few, more) = names.split_at(names.len().min(FEW_PLACES));
        let mut few = few.to_vec();
        if let (Some(last), 1..) = (few.last_mut(), more.len()) {
            *last += &format!(" and {} more", more.len());
        }
        few
    };
    ClientGroup { on: few(&group.on), to: few(&group.to), ..group.clone() }.to_string()
}

/// Returns whether a sentence already contains a condition. If so, no second condition is added.
fn has_condition(outsider_gets: &str) -> bool {
    ["unless ", ", if ", "without the cookie if "]
        .iter()
        .any(|begin| outsider_gets.to_lowercase().contains(begin))
}

/// A published port. It has no socket, because a rule of the kernel forwards its traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    #[serde(skip)]
    pub local: Endpoint,
    /// The address and port of the service behind the published port.
    pub to: Peer,
    /// The rule, as its own tool (such as iptables or ipvsadm) prints it.
    pub rule: String,
}

impl FindingKind for Published {
    const INFO: FindingInfo = FindingInfo {
        code: "published",
        family: FindingFamily::Reach,
        severity: Severity::Info,
        on_loopback: OnLoopback::Lower,
        description: "a kernel rule forwards the port; the port has no socket",
        why: "Tools that list sockets do not show this port, but clients can reach a service through this port.",
        remedy: "if the port should not be published, stop publishing it, or delete the rule",
    };

    fn sentence(&self) -> String {
        let Published { local: Endpoint { protocol, port, .. }, to, rule } = self;
        let place = match to.address.is_unspecified() {
            true => format!("port {} of this machine", to.port),
            false => SocketAddr::new(to.address, to.port).to_string(),
        };
        format!("The kernel forwards {protocol}/{port} to {place}; the port has no socket. Rule: {rule}")
    }
}

family!(Reach: Exposed, Published);
