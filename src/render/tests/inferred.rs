use std::sync::Arc;

use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::listener_card::{held, of};
use super::{PLAIN, terminal};
use crate::judge::{KillRefusal, Listener, Report};
use crate::model::*;

/// Returns the report of a hidden listener in this control group, with this probable owner.
fn report_of(local: &str, group: &str, unit: Option<&str>, owner: InferredOwner, privileged: bool) -> Report {
    let mut socket = socket(local, Owner::Hidden);
    let attributes = Arc::make_mut(&mut socket.attributes);
    attributes.cgroup = Some(group.to_owned());
    attributes.unit = unit.map(str::to_owned);
    let mut snapshot = Snapshot { sockets: vec![socket], ..empty() };
    snapshot.host.privileged = privileged;
    let mut report = report(&snapshot);
    report.entries[0].set_inferred_owner(Arc::new(owner));
    report
}

fn nginx(count: usize) -> InferredOwner {
    let process = Process {
        cmdline: vec!["nginx: master process /usr/sbin/nginx".to_owned()],
        exe: None,
        ..process(812, "nginx")
    };
    InferredOwner { process, evidence: OwnerEvidence::OnlyProgram { count } }
}

const ID: &str = "035bb68007426a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b";

/// Returns the docker-proxy process for this address. `id` is the ID of the container that gets the traffic, if it is
/// known.
fn proxy_on(address: &str, pid: Pid, id: Option<&str>) -> InferredOwner {
    let line = format!(
        "docker-proxy -proto tcp -host-ip {address} -host-port 8080 -container-ip 172.17.0.2 -container-port 80"
    );
    let container =
        |id: &str| Container { id: id.to_owned(), manager: "docker".to_owned(), ..Container::default() };
    let process = Process {
        cmdline: line.split(' ').map(str::to_owned).collect(),
        exe: None,
        forwards_to_container: id.map(|id| Arc::new(container(id))),
        ..process(pid, "docker-proxy")
    };
    let evidence = OwnerEvidence::Forwards(Peer { address: [172, 17, 0, 2].into(), port: 80 });
    InferredOwner { process, evidence }
}

fn proxy(id: Option<&str>) -> Report {
    let group = "/system.slice/snap.docker.dockerd.service";
    report_of("tcp/0.0.0.0:8080", group, None, proxy_on("0.0.0.0", 398, id), false)
}

fn card_of(report: &Report) -> String {
    let listener = Listener::only(&report.entries).expect("one listener");
    text(|w| listener_card::listing(&listener, 20, report, &terminal(80), w))
}

/// Returns the card of a hidden listener on port 80. nginx is the only program in its control group.
fn card(group: &str, unit: Option<&str>, count: usize, privileged: bool) -> String {
    card_of(&report_of("tcp/0.0.0.0:80", group, unit, nginx(count), privileged))
}

/// Every text for people marks the probable owner as probable.
#[test]
fn tables_and_the_audit_name_the_probable_owner() {
    let unit = Some("nginx.service");
    let report = report_of("tcp/0.0.0.0:80", "/system.slice/nginx.service", unit, nginx(1), false);
    let audit = crate::judge::audit::Audit::of(&report);
    // If the plain value is not known, the text for people is shown.
    let names = ["port", "process", "flags", "started"];
    let columns: Vec<&columns::Column> = names.iter().filter_map(|name| columns::named(name)).collect();
    assert_snapshot(
        [
            text(|w| table::listing(&report, true, &terminal(80), w)),
            text(|w| table::listing(&report, true, &PLAIN, w)),
            text(|w| table::wide(&report, true, &terminal(200), w)),
            text(|w| table::grid(&report, &columns, true, &PLAIN, w)),
            text(|w| audit::table::document(&audit, Severity::Info, &terminal(80), w)),
        ]
        .concat(),
        str![[r#"
PROTO  ADDRESS  PORT  REACH  SERVICE  PROCESS  PID   USER  UNIT   FLAGS
───────────────────────────────────────────────────────────────────────
tcp    0.0.0.0  80    any    nginx    nginx?   812?  root  nginx  ?
1 listener, none with a flag. Not judged (?): 1, because the program is not
visible.
Owner of 1 socket hidden.
PROCESS with ?: the probable owner.
PROTO  ADDRESS  PORT  EXPOSURE  SERVICE  PROCESS  PID   USER  UNIT           FLAGS
tcp    0.0.0.0  80    any       nginx    nginx?   812?  root  nginx.service  ?
PROTO  ADDRESS  PORT  EXPOSURE  SERVICE  PROCESS  PID   USER  UNIT           FLAGS  STARTED                CMDLINE
──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
tcp    0.0.0.0  80    any       nginx    nginx?   812?  root  nginx.service  ?      2026-11-21T10:00:00Z?  -
PORT  PROCESS  FLAGS  STARTED
80    nginx?   ?      2026-11-21T10:00:00Z?
Audit of box (linux 6.18.0), 2026-11-21 12:00:00 UTC
Clear: 1 listener judged, no finding at info or above, and everything could be
seen.
Registry of DATE.

Reachable from other machines: 1 of 1 listener
  tcp 0.0.0.0:80: nginx (program hidden, probably nginx, unit nginx.service),
  user root

"#]],
    );
}

/// If an interpreter runs as another user, its program file cannot be read. Its name and command line show the script.
#[test]
fn the_script_of_a_probable_owner() {
    let cmdline = ["/usr/bin/python3", "-m", "http.server", "3000"].map(str::to_owned).to_vec();
    let process = Process { cmdline, exe: None, ..process(41, "python3") };
    let owner = InferredOwner { process, evidence: OwnerEvidence::NamesPort };
    let report = report_of("tcp/0.0.0.0:3000", "/user.slice/session-3.scope", None, owner, false);
    let table = |style: &Style| text(|w| table::listing(&report, true, style, w));
    assert!(table(&PLAIN).contains(" python3 -m http.server? "), "{}", table(&PLAIN));
    assert!(table(&terminal(80)).contains(" http.server? "), "{}", table(&terminal(80)));
    let card = card_of(&report);
    assert!(card.contains("  probably python3 -m http.server\n"), "{card}");
}

/// A process that was seen never looks like a probable owner, even if its name ends with `?`.
#[test]
fn a_process_whose_name_ends_with_the_mark() {
    let report = report(&of(vec![socket("tcp/0.0.0.0:80", held(&[35]))], vec![process(35, "nginx?")]));
    let table = text(|w| table::listing(&report, true, &PLAIN, w));
    assert!(table.contains(" nginx\\x3f "), "{table}");
}

#[test]
fn the_probable_proxy_of_a_published_port() {
    assert_snapshot(
        card_of(&proxy(Some(ID))),
        str![[r#"
tcp 0.0.0.0:8080  probably docker-proxy
  Process     probably docker-proxy (pid 398, user root), since 10:00 UTC today
              (2 h): its command line names this address and port; run with sudo
              to be sure
  Command     docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080
              -container-ip 172.17.0.2 -container-port 80
  Directory   hidden, like the project and the program file (run with sudo)
  Forwards to probably 172.17.0.2:80 in docker container 035bb6800742 (name and
              image hidden; run with sudo)
  Why         probably in the background; the process that started it has ended
  Reachable   on every address of this machine
  Flags       not judged, because the process is not visible
  To stop     sudo docker stop $(sudo docker ps -q --filter publish=8080)
  More        portolan explain 8080

"#]],
    );
}

/// The name of the container is hidden, but the card still says that the port leads to a container.
#[test]
fn the_probable_container_of_a_published_port() {
    let card = card_of(&proxy(None)).replace("\n              ", " ");
    assert!(card.contains("probably 172.17.0.2:80 in a container (hidden; run with sudo)"), "{card}");
    let services = |id| {
        let report = proxy(id);
        let columns = [columns::named("service").unwrap(), columns::named("pid").unwrap()];
        text(|w| table::grid(&report, &columns, false, &PLAIN, w))
    };
    assert_eq!(services(Some(ID)), "to 035bb6800742?  398?\n");
    assert_eq!(services(None), "to a container?  398?\n");
}

#[test]
fn the_probable_owner_of_each_address() {
    let mut report = proxy(None);
    let mut other = report.entries[0].clone();
    other.socket.local = "tcp/[::]:8080".parse().unwrap();
    other.set_inferred_owner(Arc::new(proxy_on("::", 399, None)));
    report.entries.push(other);
    for entry in &mut report.entries {
        Arc::make_mut(&mut entry.socket.attributes).unit = Some("docker.service".to_owned());
    }
    let card = card_of(&report);
    assert!(
        card.contains("\n              and probably docker-proxy (pid 399, user root) on [::]\n"),
        "{card}"
    );
}

/// Any user can read the ancestors of a process, so its starter is known.
#[test]
fn the_probable_starter() {
    let parent =
        |pid, name: &str| Parent { user: Some("ann".to_owned()), ..Parent::new(pid, name.to_owned()) };
    let parents = vec![parent(7, "bash"), parent(6, "tmux: server"), parent(1, "systemd")];
    let process = Process { parents, exe: None, ..process(9, "node") };
    let owner = InferredOwner { process, evidence: OwnerEvidence::NamesPort };
    let unit = Some("session-3.scope");
    let report = report_of("tcp/0.0.0.0:3000", "/user.slice/session-3.scope", unit, owner, false);
    let card = card_of(&report);
    assert!(card.contains("\n  Why         probably started from bash in tmux by ann\n"), "{card}");
}

#[test]
fn a_refusal_of_kill_names_the_probable_owner() {
    let report = report_of("tcp/0.0.0.0:80", "/system.slice/nginx.service", None, nginx(1), false);
    let listener = Listener::only(&report.entries).expect("one listener");
    let refusal = kill::refusal(&listener, &KillRefusal::Hidden { as_root: false }, report.rights);
    let expected = "probably nginx on tcp 0.0.0.0:80: not ended: its process is not certain (probably pid 812, user root); run with sudo";
    assert_eq!(refusal, expected);
}

#[test]
fn the_probable_owner_of_a_hidden_socket() {
    assert_snapshot(
        [
            card("/system.slice/nginx.service", Some("nginx.service"), 5, false),
            card("/system.slice/nginx.service/workers", Some("nginx.service"), 1, true),
            card("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope"), 1, false),
        ]
        .concat(),
        str![[r#"
tcp 0.0.0.0:80  probably nginx
  Process     probably nginx (pid 812, user root), since 10:00 UTC today (2 h):
              the only program of nginx.service; run with sudo to be sure
  Command     nginx: master process /usr/sbin/nginx
  Directory   hidden, like the project and the program file (run with sudo)
  Why         systemd unit nginx.service
  Reachable   on every address of this machine
  Flags       not judged, because the process is not visible
  To stop     sudo systemctl stop nginx
  Registry    registered for http: World Wide Web HTTP; www: World Wide Web
              HTTP; www-http: World Wide Web HTTP.
tcp 0.0.0.0:80  probably nginx
  Process     probably nginx (pid 812, user root), since 10:00 UTC today (2 h):
              the only process of its control group
  Command     nginx: master process /usr/sbin/nginx
  Why         systemd unit nginx.service
  Reachable   on every address of this machine
  Flags       not judged, because the process is not visible
  To stop     systemctl stop nginx
  Registry    registered for http: World Wide Web HTTP; www: World Wide Web
              HTTP; www-http: World Wide Web HTTP.
tcp 0.0.0.0:80  probably nginx
  Process     probably nginx (pid 812, user root), since 10:00 UTC today (2 h):
              the only process of session-3.scope; run with sudo to be sure
  Command     nginx: master process /usr/sbin/nginx
  Directory   hidden, like the project and the program file (run with sudo)
  Why         probably in the background in login session 3; the process that
              started it has ended
  Reachable   on every address of this machine
  Flags       not judged, because the process is not visible
  To stop     sudo portolan kill 80   (shows the process, and asks first)
  Registry    registered for http: World Wide Web HTTP; www: World Wide Web
              HTTP; www-http: World Wide Web HTTP.

"#]],
    );
}
