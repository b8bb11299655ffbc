use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, assert_lines, bleached, terminal};
use crate::model::*;

fn card(observation: &Snapshot, ports: &[u16], style: &Style) -> String {
    let report = report(observation);
    text(|w| card::explain(&explained(&report, ports), &report, style, w))
}

#[test]
fn orphaned() {
    assert_lines(
        &card(&scene(), &[3416], &terminal(80)),
        &[
            "Port 3416 is in the registered range, 1024 to 49151: IANA assigns these ports to",
            "whoever asks with reason (RFC 6335).",
            "",
            "tcp, udp  orphaned (presumed)",
            "  Why         commandport was registered for AirMobile IS (apparently Motorola),",
            "              presumed dead: Command port of AirMobile IS, apparently Motorola",
            "              wireless middleware of which nothing is on offer today. Presumed:",
            "              no trace of the product in packages.",
            "  Registered  commandport: AirMobile IS Command Port",
            "              orphaned (presumed); to Mike Klein; registered 2002-02",
            "  Here now    tcp 0.0.0.0:3416, reachable on every address of this machine",
            "              python3 (pid 812, user root)",
            "                python3 -m serve",
            "              flags: orphaned (warning), exposed (info)",
            "",
            "  To check    portolan 3416",
            "              sudo portolan 3416 (as root it shows every owner)",
        ],
    );
}

#[test]
fn repurposed_with_several_holders() {
    assert_lines(
        &card(&scene(), &[8000], &terminal(80)),
        &[
            "Port 8000 is in the registered range, 1024 to 49151: IANA assigns these ports to",
            "whoever asks with reason (RFC 6335).",
            "",
            "tcp, udp  repurposed",
            "  Why         What one meets here today: development web servers (http.server,",
            "              Django, uvicorn). irdmi was registered for Intel Remote Desktop",
            "              Management Interface, presumed dead: Intel's iRDMI has no product",
            "              today. Presumed: no trace of the product in packages.",
            "  Registered  irdmi: iRDMI",
            "              orphaned (presumed); to Mike Klein; registered 2002-02",
            "  Here now    tcp 0.0.0.0:8000, reachable on every address of this machine",
            "              nginx (pids 21, 22, 23, 24, user root)",
            "                nginx -m serve",
            "              pid 4000025, of which nothing could be read",
            "              flags: exposed (info)",
            "",
            "  To check    portolan 8000",
            "              sudo portolan 8000 (as root it shows every owner)",
        ],
    );
}

#[test]
fn unassigned_and_hidden() {
    assert_lines(
        &card(&scene(), &[3415], &terminal(80)),
        &[
            "Port 3415 is in the registered range, 1024 to 49151: IANA assigns these ports to",
            "whoever asks with reason (RFC 6335).",
            "",
            "tcp, udp  unassigned",
            "  Why         Nothing is registered for this port and protocol, and nothing is",
            "              known to use it.",
            "  Here now    udp [::]:3415, reachable on every address of this machine",
            "              made by user 65534; its owner is hidden: not every process could",
            "              be read",
            "              flags: unassigned (notice), other-protocol (notice), exposed",
            "              (info)",
            "              The port is registered for tcp only: bcinameservice.",
            "",
            "  To check    portolan 3415",
            "              sudo portolan 3415 (as root it shows every owner)",
        ],
    );
}

#[test]
fn dynamic_and_the_kernels() {
    assert_lines(
        &card(&scene(), &[51820], &terminal(80)),
        &[
            "Port 51820 is in the dynamic range, 49152 to 65535: nothing is ever assigned",
            "here, any program may use it for a while (RFC 6335).",
            "",
            "tcp, udp  dynamic",
            "  Why         IANA assigns nothing from 49152 up: programs use these ports for a",
            "              while.",
            "  Here now    udp 0.0.0.0:51820, reachable on every address of this machine",
            "              made by user root; the kernel's own: no process holds it",
            "              flags: ephemeral (notice), kernel (info), exposed (info)",
            "              The port lies in 32768-60999, which this kernel hands out to",
            "              outgoing connections, and in IANA's dynamic range. A client",
            "              waiting for an answer looks no different.",
            "",
            "  To check    portolan 51820",
            "              sudo portolan 51820 (as root it shows every owner)",
        ],
    );
}

#[test]
fn active_beside_a_dead_registration_with_nobody_there() {
    assert_lines(
        &card(&scene(), &[1701], &terminal(80)),
        &[
            "Port 1701 is in the registered range, 1024 to 49151: IANA assigns these ports to",
            "whoever asks with reason (RFC 6335).",
            "",
            "tcp, udp  active",
            "  Why         l2tp is in use: the services file of Debian's netbase names it.",
            "              l2f was registered for Cisco Layer Two Forwarding, dead, ended",
            "              2002-07: L2TP replaced it. Confirmed",
            "              (https://example.org/rfc2341).",
            "  Registered  l2tp: Layer Two Tunneling Protocol",
            "              active; to Mike Klein; registered 2002-02",
            "  Registered  l2f: Layer Two Forwarding",
            "              orphaned (confirmed); to Mike Klein; registered 2002-02",
            "  Here now    nothing listens on it.",
            "",
            "  To check    portolan 1701",
            "              sudo portolan 1701 (as root it shows every owner)",
        ],
    );
}

#[test]
fn many_ports_in_blocks() {
    assert_lines(
        &card(&scene(), &[22, 3416, 8000, 8001, 8002, 8003], &terminal(80)),
        &[
            "22           tcp,udp  active",
            "              ssh: The Secure Shell (SSH) Protocol",
            "              here now: tcp [fe80::1%eth0]:22 (unknown)",
            "3416         tcp,udp  orphaned (presumed)",
            "              commandport: AirMobile IS Command Port",
            "              here now: tcp 0.0.0.0:3416 python3 (pid 812)",
            "8000         tcp,udp  repurposed",
            "              irdmi: iRDMI, orphaned (presumed)",
            "              met here: development web servers (http.server, Django, uvicorn)",
            "              here now: tcp 0.0.0.0:8000 nginx ×4, ? (pid 21, 22, 23, 24,",
            "              4000025)",
            "8001-8003    tcp,udp  unassigned",
            "              Nothing is registered for this port and protocol, and nothing is",
            "              known to use it.",
        ],
    );
}

/// A port somebody listens on is never lost in a run.
#[test]
fn runs_end_at_a_listener() {
    let text = card(&scene(), &[3412, 3413, 3414, 3415, 3417, 3418], &PLAIN);
    let heads: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    assert_eq!(heads, ["3412-3414", "3415", "3417-3418"], "{text}");
}

/// Off a terminal prose is wrapped as on one of 80 columns, and a command line is whole.
#[test]
fn in_a_pipe() {
    let text = card(&scene(), &[3416], &PLAIN);
    assert!(text.lines().all(|line| line.len() <= 80 || line.trim_start().starts_with('/')), "{text}");
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(joined.contains("Presumed: no trace of the product in packages."), "{text}");
}

/// That nothing listens is only said where every socket could be seen.
#[test]
fn nobody_there() {
    let mut observation = empty();
    let here = |observation: &Snapshot| {
        let text = card(observation, &[3416], &PLAIN);
        let (_, rest) = text.split_once("Here now").unwrap();
        let (here, _) = rest.split_once("\n\n").unwrap();
        here.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(here(&observation), "nothing listens on it.");
    observation.gaps = vec![gap(Stage::Owners, "processes", Some(3))];
    assert_eq!(here(&observation), "nothing listens on it.");
    observation.gaps = vec![gap(Stage::Sockets, "TCP sockets", None)];
    assert_eq!(
        here(&observation),
        "nothing was seen, but something may listen: TCP sockets not seen, permission denied (run as root)."
    );
}

#[test]
fn how_to_look() {
    let check = |os: &str, privileged| {
        let mut observation = empty();
        (observation.host.os, observation.host.privileged) = (os.into(), privileged);
        let text = card(&observation, &[22], &PLAIN);
        text.split_once("To check").unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(check("linux", true), "portolan 22");
    assert_eq!(check("linux", false), "portolan 22 sudo portolan 22 (as root it shows every owner)");
    assert_eq!(check("windows", false), "portolan 22 as administrator it shows every owner");
}

/// Tcp and udp are told apart where they differ.
#[test]
fn protocols_that_differ() {
    let observation = scene();
    let report = report(&observation);
    let mut ports = explained(&report, &[3416]);
    ports[1].verdict = verdict(3415);
    let told = text(|w| card::explain(&ports, &report, &PLAIN, w));
    let heads: Vec<&str> = told.lines().filter(|l| l.starts_with("tcp") || l.starts_with("udp")).collect();
    assert_eq!(heads, ["tcp  orphaned (presumed)", "udp  unassigned"]);
    // Neither has a registration, but one is reserved.
    ports[0].verdict.assignments.clear();
    (ports[0].verdict.status, ports[0].verdict.basis) = (Status::Unassigned, Basis::Reserved);
    let told = text(|w| card::explain(&ports, &report, &PLAIN, w));
    assert!(told.contains("\ntcp  unassigned (reserved)") && told.contains("\nudp  unassigned"), "{told}");
    // The same status, but of another service.
    ports[0].verdict = verdict(3416);
    ports[1].verdict = verdict(3416);
    ports[1].verdict.assignments[0].service = "otherport";
    let text = text(|w| card::explain(&ports, &report, &PLAIN, w));
    assert!(text.contains("\ntcp  orphaned") && text.contains("\nudp  orphaned"), "{text}");
}

#[test]
fn safe_and_no_wider_than_the_terminal() {
    let observation = scene();
    let every = [9, 22, 443, 1023, 1701, 3415, 3416, 5432, 7777, 7778, 8000, 51820, 60417];
    for width in [50, 60, 80, 120] {
        for ports in every.chunks(1).chain([&every[..]]) {
            let text = card(&observation, ports, &terminal(width));
            for line in text.lines().filter(|line| !line.contains("https://")) {
                assert!(line.width() <= usize::from(width), "{width}: {line}");
                assert_eq!(line.chars().find(|c| is_unsafe(*c)), None);
            }
            let coloured = card(&observation, ports, &Style { color: true, ..terminal(width) });
            assert_eq!(bleached(&coloured), text);
        }
    }
    card(&observation, &every, &terminal(0));
    card(&observation, &[22], &terminal(0));
}
