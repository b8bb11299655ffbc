//! `exposed`: a dangerous service that other machines can reach.

use super::program_identity::IdentifiedProcess;
use super::service;
use super::subject::JudgedListener;
use crate::findings::Evidence;
use crate::findings::reach::{ConfiguredAccess, Exposed, ServingProcess};
use crate::join::Entry;
use crate::model::{AccessSetting, AdmittedClients, DangerBasis, Owner, Peer, Protocol, ReachKind, Severity};
use crate::registry::command_line::CommandLine;
use crate::registry::dangers::{self, Danger};

/// The programs that listen on a published port of a container and forward its traffic to the service.
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

/// Returns the evidence of `exposed`. If several processes own the socket, the most severe danger counts.
pub(super) fn exposed(subject: &JudgedListener<'_>) -> Option<Evidence> {
    let entry = subject.listener;
    if !entry.exposure.is_reachable_from_outside() || !entry.socket.state.accepts_traffic() {
        return None;
    }
    let (port, protocol) = (entry.socket.local.port, entry.socket.local.protocol);
    let forwarding = subject.forwarding;
    let (process, danger) = match &entry.socket.owner {
        _ if subject.is_reserved() || (forwarding.is_some() && subject.processes.is_empty()) => {
            (None, behind_published_port(port, forwarding.map(|one| one.to), protocol)?)
        }
        Owner::Kernel if forwarding.is_none() => (None, dangers::danger_of_kernel(port, protocol)?),
        _ => {
            // For a published port, it does not matter whether the kernel chose the number: the service has another
            // port.
            let chosen_by_kernel =
                forwarding.is_none() && subject.snapshot.ephemeral_range(&entry.socket).is_some();
            let dangers = subject.processes.iter().filter_map(|process| {
                let chosen_by_kernel = chosen_by_kernel && !names_port(process, port);
                Some((process, danger(process, entry, chosen_by_kernel)?))
            });
            // `max_by_key` returns the last of several equal elements, but the rule needs the first process. The
            // order is therefore reversed.
            let (process, danger) = dangers.rev().max_by_key(|(_, danger)| danger.severity)?;
            (Some(process), danger)
        }
    };
    let (danger, configuration) = match process {
        Some(process) => as_configured(danger, process, port),
        None => (danger, None),
    };
    let Danger { service, title, severity, authentication, encryption, outsider_gets, remedy, attack, basis } =
        danger;
    let basis = if configuration.is_some() { DangerBasis::Configuration } else { basis };
    let exposed = Exposed {
        service,
        title,
        process: process.map(serving),
        protocol,
        port,
        exposure: entry.exposure,
        reach: subject.reach.cloned().map(Box::new),
        outsider_gets,
        authentication,
        encryption,
        basis,
        configuration,
        remedy: remedy.replace("{port}", &port.to_string()),
        attack: attack.split(',').filter(|technique| !technique.is_empty()).collect(),
        severity: match subject.reach.map(|reach| reach.kind) {
            // The danger is lower but remains: only the firewall protects the service.
            Some(ReachKind::Filtered) => severity.lower(),
            Some(ReachKind::Machine) => severity.lower().lower(),
            _ => severity,
        },
    };
    Some(exposed.into())
}

/// The services whose configuration file is read, by their rows in the table of dangerous services.
const CONFIGURED: [&str; 7] =
    ["redis", "valkey", "mongodb", "nats", "kafka", "http-proxy", "docker-registry"];
/// The rows about dockerd. The configuration of dockerd shows which of the first two rows applies.
const DOCKER: [&str; 3] = ["docker-api", "docker-api-tls", "docker-api-unknown"];
/// The lowest ID of the user of a person (`UID_MIN` of login.defs). IDs from this number up to `nobody` belong to
/// people.
const FIRST_PERSON: u32 = 1000;
/// The user `nobody`.
const NOBODY: u32 = 65534;

/// Returns the danger according to the configuration file of the process, and the setting that is the evidence. The
/// configuration does not lower the danger if a user can replace the program file. The addresses in the file do not
/// lower the danger if a person started the program.
fn as_configured(
    danger: Danger,
    process: &IdentifiedProcess<'_>,
    port: u16,
) -> (Danger, Option<ConfiguredAccess>) {
    let Some(configuration) = &process.process.configuration else { return (danger, None) };
    let is_for_port = |access: &&AccessSetting| access.port.is_none_or(|only| only == port);
    let Some(access) = configuration.settings.iter().find(is_for_port) else { return (danger, None) };
    let AccessSetting { setting, clients, .. } = access;
    let is_of_service = process.process.uid.is_some_and(|uid| uid < FIRST_PERSON || uid == NOBODY)
        && !process.is_replaceable();
    let counts = match clients {
        AdmittedClients::Anyone => true,
        AdmittedClients::Authenticated => !process.is_replaceable(),
        AdmittedClients::Local | AdmittedClients::Listed => is_of_service,
    };
    let is_default = danger.basis == DangerBasis::Default;
    let configured = match clients {
        _ if !counts => None,
        AdmittedClients::Authenticated if DOCKER.contains(&danger.service) => dangers::named(DOCKER[1]),
        AdmittedClients::Anyone if DOCKER.contains(&danger.service) && is_default => {
            dangers::named(DOCKER[0])
        }
        _ if !is_default || !CONFIGURED.contains(&danger.service) => None,
        AdmittedClients::Local => Some(Danger { severity: Severity::Info, ..danger }),
        AdmittedClients::Listed => Some(Danger { severity: danger.severity.lower(), ..danger }),
        AdmittedClients::Authenticated => {
            let severity = danger.severity.min(Severity::Warning);
            Some(Danger { severity, authentication: "password", ..danger })
        }
        AdmittedClients::Anyone => {
            // The files of these services admit everyone only if protected mode is off.
            let is_unprotected = ["redis", "valkey"].contains(&danger.service);
            let severity = if is_unprotected { Severity::Critical } else { danger.severity };
            Some(Danger { severity, authentication: "none", ..danger })
        }
    };
    let decided =
        ConfiguredAccess { path: configuration.path.clone(), setting: setting.clone(), clients: *clients };
    configured.map_or((danger, None), |configured| (configured, Some(decided)))
}

/// Returns the presumed danger of the service behind a published port. It is judged by the port of the service;
/// `None` if no danger is known for this port.
fn behind_published_port(port: u16, behind: Option<Peer>, protocol: Protocol) -> Option<Danger> {
    let by_port = |port| dangers::behind_published_port(port, protocol);
    behind.and_then(|to| by_port(to.port)).or_else(|| by_port(port))
}

/// Returns whether the command line contains this port as a number. If it does, the kernel did not choose the port.
fn names_port(process: &IdentifiedProcess<'_>, port: u16) -> bool {
    let port = port.to_string();
    let arguments = process.process.cmdline.iter().skip(1);
    arguments.flat_map(|argument| argument.split(|c: char| !c.is_ascii_digit())).any(|number| number == port)
}

fn danger(process: &IdentifiedProcess<'_>, entry: &Entry, chosen_by_kernel: bool) -> Option<Danger> {
    let (local, forwarding) = (&entry.socket.local, &entry.socket.forwarding);
    let protocol = local.protocol;
    // Traffic to a published port arrives at the port of the service.
    let port = forwarding.as_ref().map_or(local.port, |one| one.to.port);
    if !process.is_replaceable() && process.program_name().is_some_and(|name| PUBLISHERS.contains(&name)) {
        let behind = service::forwards_to(std::slice::from_ref(process));
        return behind_published_port(port, behind, protocol);
    }
    let by_line = dangers::danger(process.command_line()?, port, protocol, chosen_by_kernel);
    let by_environment = danger_by_environment(process, port, protocol, chosen_by_kernel);
    by_environment.filter(|_| by_line.is_none_or(|danger| danger.severity < Severity::Critical)).or(by_line)
}

/// Returns the danger that is certain because of options for a debugger in the environment. The interpreter reads
/// these options like options on its command line.
fn danger_by_environment(
    process: &IdentifiedProcess<'_>,
    port: u16,
    protocol: Protocol,
    chosen_by_kernel: bool,
) -> Option<Danger> {
    let options = &process.process.debugger_options;
    if options.is_empty() {
        return None;
    }
    let (program, arguments) = process.process.cmdline.split_first()?;
    let line: Vec<String> = std::iter::once(program).chain(options).chain(arguments).cloned().collect();
    let command = CommandLine::new(process.program_name()?, &line);
    let danger = dangers::danger(&command, port, protocol, chosen_by_kernel)?;
    let is_certain = danger.basis == DangerBasis::CommandLine;
    is_certain.then_some(Danger { basis: DangerBasis::Environment, ..danger })
}

fn serving(process: &IdentifiedProcess<'_>) -> ServingProcess {
    let one = process.process;
    ServingProcess {
        pid: one.pid,
        program: process.program_name().unwrap_or("?").to_owned(),
        user: one.user.clone().or_else(|| one.uid.map(|uid| uid.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::super::tests::{program_process, seen, socket};
    use super::*;
    use crate::findings::FindingKind;
    use crate::model::firewall::{FilterBase, FilterChain, FilterHook, FilterTable, Interface};
    use crate::model::{Configuration, Family, Firewall, Forwarding, Process, Snapshot, State};
    use crate::registry::Registry;

    /// Returns the `exposed` finding on a listener of this process.
    fn found(local: &str, process: Process) -> Option<(Severity, Exposed)> {
        let report = judge(
            seen(vec![socket(local, Owner::Held(vec![7].into()))], vec![process]),
            Registry::embedded(),
        );
        let mut findings = report.entries[0].findings().iter();
        findings.find_map(|finding| Some((finding.severity, Exposed::of(&finding.evidence)?.clone())))
    }

    /// Only a firewall that surely lets in nobody lowers the severity.
    #[test]
    fn a_firewall_that_lets_in_nobody() {
        let base = FilterBase {
            hook: FilterHook::Input,
            priority: 0,
            translates: false,
            drops: true,
            devices: None,
            text: "policy drop of a chain".to_owned(),
        };
        let found = |drops: bool, uncertain: Option<&str>| {
            let base = FilterBase { drops, ..base.clone() };
            let chain = FilterChain { base: Some(base), ..FilterChain::default() };
            let table = FilterTable { families: vec![Family::Ipv4], chains: vec![chain], sets: Vec::new() };
            let interface = Interface {
                name: "eth0".to_owned(),
                is_up: true,
                uncertain: uncertain.map(str::to_owned),
                addresses: vec![([10, 0, 0, 1].into(), 24)],
                ..Interface::default()
            };
            let firewall =
                Firewall { interfaces: vec![interface], tables: vec![table], ..Firewall::default() };
            let sockets = vec![socket("tcp/0.0.0.0:6379", Owner::Held(vec![7].into()))];
            let snapshot = seen(sockets, vec![redis("/usr/bin/redis-server", None)]);
            let report = judge(Snapshot { firewalls: vec![firewall], ..snapshot }, Registry::embedded());
            let finding = report.entries[0].findings().iter().find(|one| one.flag() == Exposed::FLAG);
            let finding = finding.unwrap();
            (finding.severity, finding.sentence())
        };
        let (severity, text) = found(true, None);
        assert_eq!(severity, Severity::Warning);
        assert!(text.contains(" But the firewall lets in nobody (policy drop of a chain). "), "{text}");
        let (severity, text) = found(false, None);
        assert_eq!(severity, Severity::Critical);
        assert!(text.contains("The firewall lets in everyone"), "{text}");
        let (severity, text) = found(true, Some("an XDP program"));
        assert_eq!(severity, Severity::Critical);
        assert!(text.contains("It is not known which clients the firewall lets in (an XDP"), "{text}");
    }

    fn redis(exe: &str, configuration: Option<(&str, AdmittedClients)>) -> Process {
        let configuration = configuration.map(|(setting, clients)| Configuration {
            path: "/etc/redis/redis.conf".to_owned(),
            settings: vec![AccessSetting { port: None, setting: setting.to_owned(), clients }],
        });
        Process { configuration, ..program_process(7, "redis-server", exe, "redis-server *:6379") }
    }

    #[test]
    fn a_configuration_decides_between_critical_and_warning() {
        let (installed, at_home) = ("/usr/bin/redis-server", "/home/u/redis-server");
        use AdmittedClients::{Anyone, Authenticated};
        use DangerBasis::{Configuration, Default};
        use Severity::{Critical, Warning};
        for (name, exe, configuration, severity, basis) in [
            ("not read", installed, None, Critical, Default),
            ("a password", installed, Some(("requirepass", Authenticated)), Warning, Configuration),
            ("no password", installed, Some(("no requirepass", Anyone)), Critical, Configuration),
            (
                "a password, but a user's program",
                at_home,
                Some(("requirepass", Authenticated)),
                Critical,
                Default,
            ),
            (
                "no password, a user's program",
                at_home,
                Some(("no requirepass", Anyone)),
                Critical,
                Configuration,
            ),
        ] {
            let (found, exposed) = found("tcp/0.0.0.0:6379", redis(exe, configuration)).unwrap();
            assert_eq!((found, exposed.basis), (severity, basis), "{name}");
            assert_eq!(exposed.configuration.is_some(), basis == Configuration, "{name}");
            let text = format!("{} {}", exposed.summary(), exposed.closing());
            let expected = if basis == Configuration { "/etc/redis/redis.conf: " } else { "(not checked)" };
            assert!(text.contains(expected), "{name}: {text}");
        }
    }

    #[test]
    fn a_listener_of_kafka_is_decided_by_its_own_port() {
        let kafka = |port| {
            let settings = [(9092, AdmittedClients::Authenticated), (9093, AdmittedClients::Anyone)].map(
                |(port, clients)| AccessSetting { port: Some(port), setting: "listener".to_owned(), clients },
            );
            let configuration = Some(Configuration { path: "/s".to_owned(), settings: settings.to_vec() });
            let process = program_process(7, "java", "/usr/bin/java", "java kafka.Kafka /s");
            found(&format!("tcp/0.0.0.0:{port}"), Process { configuration, ..process }).unwrap().1.basis
        };
        let basis = [9092, 9093, 9094].map(kafka);
        assert_eq!(basis, [DangerBasis::Configuration, DangerBasis::Configuration, DangerBasis::Default]);
    }

    /// Returns the finding on a proxy or dockerd with this setting in its configuration, and its text.
    fn configured(
        line: &str,
        port: u16,
        uid: u32,
        one: (Option<u16>, AdmittedClients),
    ) -> (Severity, Exposed) {
        let program = line.split(' ').next().unwrap_or_default();
        let setting = AccessSetting { port: one.0, setting: "the rule".to_owned(), clients: one.1 };
        let configuration = Some(Configuration { path: "/etc/x".to_owned(), settings: vec![setting] });
        let process = program_process(7, program, &format!("/usr/sbin/{program}"), line);
        found(&format!("tcp/0.0.0.0:{port}"), Process { configuration, uid: Some(uid), ..process }).unwrap()
    }

    #[test]
    fn the_rules_of_a_proxy_decide() {
        use AdmittedClients::{Anyone, Authenticated, Listed, Local};
        use Severity::{Info, Notice, Warning};
        for (name, uid, clients, severity, text) in [
            (
                "as Debian installs it",
                13,
                Local,
                Info,
                "tcp/3128. Its configuration refuses clients from other machines (/etc/x: the rule).",
            ),
            ("the user nobody", NOBODY, Local, Info, "refuses clients from other machines"),
            ("of a person", 1000, Local, Warning, "Anyone who connects reaches the network"),
            ("private networks", 13, Listed, Notice, "A client with a listed address reaches the network"),
            (
                "private networks, of a person",
                1000,
                Listed,
                Warning,
                "Anyone who connects reaches the network",
            ),
            (
                "a password",
                13,
                Authenticated,
                Warning,
                "Its configuration requires a password (/etc/x: the rule).",
            ),
            ("open", 13, Anyone, Warning, "Its configuration requires no password (/etc/x: the rule)."),
        ] {
            let (found, exposed) = configured("squid -sYC", 3128, uid, (None, clients));
            assert_eq!(found, severity, "{name}");
            assert!(exposed.sentence().contains(text), "{name}: {}", exposed.sentence());
        }
        let refusing = configured("tinyproxy -d", 8888, NOBODY, (None, Local)).1;
        assert_eq!(refusing.summary(), "HTTP proxy: its configuration refuses clients from other machines.");
    }

    #[test]
    fn the_configuration_of_dockerd_decides() {
        use AdmittedClients::{Anyone, Authenticated};
        use Severity::{Critical, Notice, Warning};
        let on_line = "dockerd -H tcp://0.0.0.0:2375";
        for (name, line, port, setting, severity, service) in [
            ("TLS alone", "dockerd", 2376, (Some(2376), Anyone), Critical, "docker-api"),
            ("another port", "dockerd", 999, (Some(999), Anyone), Critical, "docker-api"),
            ("another listener", "dockerd", 2376, (Some(999), Anyone), Warning, "docker-api-unknown"),
            ("certificates", "dockerd", 2375, (None, Authenticated), Notice, "docker-api-tls"),
            (
                "certificates, its port on the line",
                on_line,
                2375,
                (None, Authenticated),
                Notice,
                "docker-api-tls",
            ),
            ("all on the line", on_line, 2375, (Some(2376), Anyone), Critical, "docker-api"),
        ] {
            let (found, exposed) = configured(line, port, 0, setting);
            assert_eq!((found, exposed.service), (severity, service), "{name}");
        }
        let (_, open) = configured("dockerd", 2376, 0, (Some(2376), Anyone));
        assert_eq!(open.basis, DangerBasis::Configuration);
        let (_, closed) = configured("dockerd", 2376, 0, (None, Authenticated));
        assert!(
            closed.sentence().contains("Its configuration requires a certificate"),
            "{}",
            closed.sentence()
        );
    }

    #[test]
    fn a_debugger_in_the_environment_is_certain() {
        use DangerBasis::{CommandLine, Environment, Port};
        use Severity::{Critical, Warning};
        for (name, program, line, options, port, expected) in [
            (
                "Node.js",
                "node",
                "node app.js",
                &["--inspect=0.0.0.0:9999"][..],
                9999,
                Some((Critical, Environment)),
            ),
            ("another port", "node", "node app.js", &["--inspect=0.0.0.0:9999"], 3000, None),
            ("no options", "node", "node app.js", &[], 9229, Some((Warning, Port))),
            (
                "Java",
                "java",
                "java -jar a.jar",
                &["-agentlib:jdwp=transport=dt_socket,address=*:8787"],
                8787,
                Some((Critical, Environment)),
            ),
            (
                "on the line too",
                "node",
                "node --inspect=0.0.0.0:9229 a.js",
                &["--inspect"],
                9229,
                Some((Critical, CommandLine)),
            ),
        ] {
            let debugger_options = options.iter().map(|&option| option.to_owned()).collect();
            let process = program_process(7, program, &format!("/usr/bin/{program}"), line);
            let found = found(&format!("tcp/0.0.0.0:{port}"), Process { debugger_options, ..process });
            assert_eq!(found.map(|(severity, exposed)| (severity, exposed.basis)), expected, "{name}");
        }
    }

    #[test]
    fn a_published_port_is_presumed_one_grade_lower() {
        let proxy = |exe: &str| program_process(7, "docker-proxy", exe, "docker-proxy -proto tcp");
        let (severity, exposed) = found("tcp/0.0.0.0:6379", proxy("/usr/bin/docker-proxy")).unwrap();
        assert_eq!((severity, exposed.basis), (Severity::Warning, DangerBasis::Port));
        assert!(exposed.summary().starts_with("probably Redis"), "{}", exposed.summary());
        assert!(found("tcp/0.0.0.0:6379", proxy("/home/u/docker-proxy")).is_none(), "an impostor instead");
    }

    /// Docker chooses published ports inside the kernel's range too.
    #[test]
    fn the_number_of_a_published_port_does_not_count() {
        let mut published = socket("tcp/0.0.0.0:49153", Owner::Kernel);
        published.state = State::Published;
        let to = Peer { address: [127, 0, 0, 1].into(), port: 7000 };
        let forwarding = Some(Forwarding { to, rule: "a rule".to_owned(), container: None });
        std::sync::Arc::make_mut(&mut published.attributes).forwarding = forwarding;
        let behind = socket("tcp/127.0.0.1:7000", Owner::Held(vec![7].into()));
        let process = redis("/usr/bin/redis-server", None);
        let report = judge(seen(vec![published, behind], vec![process]), Registry::embedded());
        let published = report.entries.iter().find(|entry| entry.socket.local.port == 49153).unwrap();
        let exposed = published.findings().iter().find_map(|finding| Exposed::of(&finding.evidence)).unwrap();
        assert_eq!((exposed.severity, exposed.basis), (Severity::Critical, DangerBasis::Default));
    }

    #[test]
    fn unreachable_listeners_are_not_exposed() {
        let process = || redis("/usr/bin/redis-server", None);
        assert!(found("tcp/127.0.0.1:6379", process()).is_none(), "loopback");
        let mut bound = socket("tcp/0.0.0.0:6379", Owner::Held(vec![7].into()));
        bound.state = State::Bound;
        let report = judge(seen(vec![bound], vec![process()]), Registry::embedded());
        assert!(report.entries[0].findings().iter().all(|one| Exposed::of(&one.evidence).is_none()), "bound");
    }

    /// The danger of an industrial protocol is presumed from the port alone, unless the kernel chose the port.
    #[test]
    fn a_port_that_the_kernel_chose_matches_no_row() {
        let unknown = |local: &str| found(local, program_process(7, "xyzzy", "/usr/bin/xyzzy", "xyzzy"));
        assert_eq!(unknown("tcp/0.0.0.0:502").map(|(_, exposed)| exposed.basis), Some(DangerBasis::Port));
        assert!(unknown("tcp/0.0.0.0:44818").is_none(), "EtherNet/IP, inside the kernel's range");
        let (severity, chosen) = found("tcp/0.0.0.0:40000", redis("/usr/bin/redis-server", None)).unwrap();
        assert_eq!((severity, chosen.basis), (Severity::Warning, DangerBasis::ChosenPort));
        assert!(
            chosen.sentence().contains("This is presumed, because the kernel may have chosen this port.")
        );
        assert!(chosen.summary().starts_with("probably Redis"), "{}", chosen.summary());
    }
}
