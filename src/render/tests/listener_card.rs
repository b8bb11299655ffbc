use std::sync::Arc;

use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::*;
use super::{bleached, terminal};
use crate::judge::{HowToStop, Listener, StartedBy};
use crate::model::*;

pub(super) fn card(snapshot: &Snapshot, style: &Style) -> String {
    let report = report(snapshot);
    let listener = Listener::only(&report.entries).expect("one listener");
    text(|w| listener_card::listing(&listener, 20, &report, style, w))
}

/// Returns a snapshot of listeners of one process.
pub(super) fn of(sockets: Vec<Socket>, processes: Vec<Process>) -> Snapshot {
    let mut snapshot = Snapshot { sockets, processes, ..empty() };
    snapshot.host.privileged = true;
    snapshot
}

pub(super) fn held(pids: &[Pid]) -> Owner {
    Owner::Held(pids.to_vec().into())
}

/// Returns ancestors with these names, nearest first, of the user ann; the last one is process 1.
pub(super) fn parents(names: &[&str]) -> Vec<Parent> {
    let pid = |at: usize| if at + 1 == names.len() { 1 } else { u32::try_from(800 - at).unwrap() };
    let user = |at: usize| if at + 1 == names.len() { "root" } else { "ann" };
    let parent = |(at, name): (usize, &&str)| Parent {
        user: Some(user(at).to_owned()),
        ..Parent::new(pid(at), (*name).to_owned())
    };
    names.iter().enumerate().map(parent).collect()
}

/// Returns a development server that ann started in tmux.
pub(super) fn node() -> Process {
    let mut origin = Origin::of(OriginKind::Package);
    (origin.package, origin.version) = (Some("nodejs".into()), Some("18.19.0".into()));
    Process {
        cmdline: ["node", "server.js", "--name", "my shop"].map(str::to_owned).to_vec(),
        origin: Some(origin),
        script: Some(Script {
            path: "/home/ann/shop/api/server.js".into(),
            origin: Some(Origin { uid: Some(1000), ..Origin::of(OriginKind::User) }),
            is_program: false,
        }),
        cwd: Some("/home/ann/shop/api".into()),
        project: Some("shop".into()),
        uid: Some(1000),
        user: Some("ann".into()),
        parents: parents(&["sh", "npm run dev", "bash", "tmux: server", "systemd"]),
        ..process(35, "node")
    }
}

#[test]
fn a_development_server() {
    let mut snapshot =
        of(vec![socket("tcp/0.0.0.0:3000", held(&[35])), socket("tcp/[::]:3000", held(&[35]))], vec![node()]);
    snapshot.scope.states = State::ALL.to_vec();
    assert_snapshot(
        card(&snapshot, &terminal(80)),
        str![[r#"
tcp *:3000  node server.js
  Process     node (pid 35, user ann), since 10:00 UTC today (2 h)
  Command     node server.js --name 'my shop'
  Program     /usr/bin/node, package nodejs 18.19.0
  Directory   /home/ann/shop/api (project shop)
  Why         started from bash in tmux by ann, through npm run dev and sh
  Reachable   on every address of this machine; no connections now
  Flags       unfamiliar (notice): node server.js (pid 35) is not a known
              program, and other machines can reach it. Its own user, ann, can
              change its script: /home/ann/shop/api/server.js.
  To stop     kill 35
  Registry    registered for hbci; remoteware-cl: RemoteWare Client. Commonly
              used by: Node.js, React and Rails development servers, Grafana,
              Gitea.

"#]],
    );
}

#[test]
fn a_server_with_workers() {
    let mut master = process(21, "nginx");
    (master.unit, master.cwd) = (Some("nginx.service".into()), Some("/".into()));
    master.started = Some("2026-11-01T08:30:00Z".parse().unwrap());
    let worker = |pid| Process {
        user: Some("www-data".into()),
        parents: vec![Parent::new(21, "nginx".into()), Parent::new(1, "systemd".into())],
        unit: Some("nginx.service".into()),
        ..process(pid, "nginx")
    };
    let snapshot =
        of(vec![socket("tcp/0.0.0.0:80", held(&[20, 21, 22, 23]))], vec![worker(20), master, worker(22)]);
    assert_snapshot(
        card(&snapshot, &terminal(80)),
        str![[r#"
tcp 0.0.0.0:80  nginx
  Process     nginx (pid 21, user root), since 2026-11-01 08:30 UTC (20 days)
              and nginx (pids 20 and 22, user www-data) and pid 23 (could not be
              read)
  Command     nginx -m serve
  Program     /usr/bin/nginx
  Why         systemd unit nginx.service
  Reachable   on every address of this machine
  To stop     systemctl stop nginx
  Registry    registered for http: World Wide Web HTTP; www: World Wide Web
              HTTP; www-http: World Wide Web HTTP.

"#]],
    );
}

#[test]
fn owners_that_are_not_known() {
    let mut cards = String::new();
    for (owner, privileged, os, unit) in [
        (Owner::Hidden, false, "linux", Some("ssh.service")),
        (Owner::Hidden, false, "windows", None),
        (Owner::Hidden, true, "linux", None),
        (held(&[77]), false, "linux", None),
        (Owner::Kernel, true, "linux", None),
        (Owner::Unaccounted, true, "linux", None),
    ] {
        let mut one = socket("tcp/127.0.0.1:22", owner);
        one.attributes =
            Arc::new(SocketAttributes { unit: unit.map(str::to_owned), ..(*one.attributes).clone() });
        let mut snapshot = of(vec![one], vec![]);
        (snapshot.host.privileged, snapshot.host.os) = (privileged, os.to_owned());
        cards += &card(&snapshot, &terminal(80));
        cards.push('\n');
    }
    assert_snapshot(
        cards,
        str![[r#"
tcp 127.0.0.1:22  OpenSSH server (program hidden)
  Process     not visible (run with sudo); user root created the socket
  Why         systemd unit ssh.service
  Reachable   on this machine only
  Flags       not judged, because the process is not visible
  To stop     sudo systemctl stop ssh
  Registry    registered for ssh: The Secure Shell (SSH) Protocol.

tcp 127.0.0.1:22  program hidden
  Process     not visible (run as administrator); user root created the socket
  Reachable   on this machine only
  Flags       not judged, because the process is not visible
  Registry    registered for ssh: The Secure Shell (SSH) Protocol.

tcp 127.0.0.1:22  program hidden
  Process     not visible: not every process could be read; user root created
              the socket
  Reachable   on this machine only
  Flags       not judged, because the process is not visible
  Registry    registered for ssh: The Secure Shell (SSH) Protocol.

tcp 127.0.0.1:22  unknown program
  Process     pid 77, not visible (run with sudo)
  Reachable   on this machine only
  Flags       not judged, because the process is not visible
  To stop     kill 77
  Registry    registered for ssh: The Secure Shell (SSH) Protocol.

tcp 127.0.0.1:22  kernel
  Process     owned by the kernel, not by a process
  Reachable   on this machine only
  To stop     kill cannot stop it: the socket belongs to the kernel, not to a
              process
  Registry    registered for ssh: The Secure Shell (SSH) Protocol.

tcp 127.0.0.1:22  unknown program
  Process     no process owns the socket, and no kernel service explains it;
              user root created the socket
  Reachable   on this machine only
  Registry    registered for ssh: The Secure Shell (SSH) Protocol.


"#]],
    );
}

/// The card says who started a listener and how to stop it. Both depend on its unit, container and ancestors.
#[test]
fn why_it_runs_and_how_to_stop_it() {
    const ID: &str = "4f1c0b7d9e6a5b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c";
    let docker = format!("/system.slice/docker-{ID}.scope");
    let podman = format!("/machine.slice/libpod-{ID}.scope");
    let pod = format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope");
    let systemd: &[&str] = &["systemd"];
    let mut texts = String::new();
    for (name, ancestors, unit, container, cgroup) in [
        ("a unit", systemd, "nginx.service", "", ""),
        ("a unit whose name has a dot", systemd, "a.socket.service", "", ""),
        ("a unit that a script starts", &["node", "bash", "systemd"], "shop.service", "", ""),
        ("a group in a unit", systemd, "app.service/ssh.service", "", ""),
        ("a unit of a user", &["systemd", "systemd"], "user@1000.service/shop.service", "", ""),
        ("cron", &["sh", "cron", "cron", "systemd"], "cron.service", "", ""),
        ("a supervisor", &["supervisord", "systemd"], "supervisor.service", "", ""),
        ("Docker", &["containerd-shim", "systemd"], "docker-x.scope", ID, &docker),
        ("Podman", &["conmon", "systemd"], "", ID, &podman),
        ("Kubernetes", &["containerd-shim", "systemd"], "", ID, &pod),
        ("a container of an unknown manager", systemd, "", "web", ""),
        ("a container of a user's manager", systemd, "", "user@1000.service/web", ""),
        ("a shell in tmux", &["bash", "tmux: server", "systemd"], "session-4.scope", "", ""),
        (
            "a shell over SSH, as root",
            &["sudo", "bash", "sshd", "sshd", "systemd"],
            "session-4.scope",
            "",
            "",
        ),
        ("a program over SSH", &["sshd", "sshd", "systemd"], "session-4.scope", "", ""),
        ("a server over SSH", &["npm", "sshd-session", "sshd", "systemd"], "", "", ""),
        (
            "a script in a shell",
            &["sh", "npm", "zsh", "kitty", "systemd"],
            "user@1000.service/kitty.scope",
            "",
            "",
        ),
        ("a shell on a console", &["-bash", "login", "systemd"], "", "", ""),
        ("a shell alone", &["sh", "init"], "", "", ""),
        ("cron without a unit", &["sh", "crond", "init"], "", "", ""),
        ("another program", &["pm2", "systemd"], "session-4.scope", "", ""),
        ("many programs", &["a", "b", "c", "d", "e", "fish", "systemd"], "", "", ""),
        ("the background", systemd, "session-4.scope", "", ""),
        ("the background of a container", &["tini"], "", "", ""),
        ("unknown ancestors", &[], "", "", ""),
        ("hostile names", &[HOSTILE, "bash", "\u{202e}tmux", "systemd"], "", "", ""),
        ("a hostile unit", systemd, "$(x)\n.service", "", ""),
    ] {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut one = socket("tcp/0.0.0.0:80", held(&[35]));
        one.attributes = Arc::new(SocketAttributes { cgroup: known(cgroup), ..(*one.attributes).clone() });
        let (unit, container) = (known(unit), known(container));
        let server = Process { parents: parents(ancestors), unit, container, ..process(35, "server") };
        let report = report(&of(vec![one], vec![server]));
        let listener = Listener::only(&report.entries).unwrap();
        let why = StartedBy::of(&listener, "linux").map(|why| start_text::started_by(&why));
        let stop = HowToStop::of(&listener, "linux").map(|how| start_text::how_to_stop(&how, "linux"));
        texts +=
            &format!("{name}\n  {}\n  {}\n", why.as_deref().unwrap_or("-"), stop.as_deref().unwrap_or("-"));
    }
    assert_snapshot(
        texts,
        str![[r#"
a unit
  systemd unit nginx.service
  systemctl stop nginx
a unit whose name has a dot
  systemd unit a.socket.service
  systemctl stop a.socket.service
a unit that a script starts
  systemd unit shop.service, through bash and node
  systemctl stop shop
a group in a unit
  systemd unit app.service
  systemctl stop app
a unit of a user
  systemd user unit shop.service of root
  systemctl --user stop shop   (as user root)
cron
  systemd unit cron.service, through cron and sh
  kill 35
a supervisor
  systemd unit supervisor.service, through supervisord
  kill 35   (supervisord may start it again)
Docker
  docker container 4f1c0b7d9e6a
  docker stop 4f1c0b7d9e6a
Podman
  podman container 4f1c0b7d9e6a
  podman stop 4f1c0b7d9e6a
Kubernetes
  Kubernetes container 4f1c0b7d9e6a
  kill 35   (Kubernetes may start it again)
a container of an unknown manager
  container web
  kill 35
a container of a user's manager
  container user@1000.service/web
  kill 35
a shell in tmux
  started from bash in tmux by ann
  kill 35
a shell over SSH, as root
  started from bash in an SSH session by ann, through sudo
  kill 35
a program over SSH
  started in an SSH session by ann
  kill 35
a server over SSH
  started in an SSH session by ann, through npm
  kill 35
a script in a shell
  started from zsh in kitty by ann, through npm and sh
  kill 35
a shell on a console
  started from bash on a console by ann
  kill 35
a shell alone
  started from sh by ann
  kill 35
cron without a unit
  started by crond (pid 799, user ann), through sh
  kill 35
another program
  started by pm2 (pid 800, user ann)
  kill 35
many programs
  started from fish by ann, through e, d, c and 2 more
  kill 35
the background
  in the background in login session 4; the process that started it has ended
  kill 35
the background of a container
  in the background; its parent is tini (pid 1)
  kill 35
unknown ancestors
  started by a process that is not visible, for example a process outside the container
  kill 35
hostile names
  started from bash (a child of \u{202e}tmux, pid 798) by ann, through \x1b[2J\x0aevil\u{202e}
  kill 35
a hostile unit
  systemd unit $(x)\x0a.service
  systemctl stop '$(x)\x0a'

"#]],
    );
}

/// systemd opens a socket before it starts the server, and keeps the socket.
#[test]
fn a_socket_of_systemd() {
    let systemd = process(1, "systemd");
    let sshd = Process { unit: Some("ssh.service".into()), ..process(41, "sshd") };
    let mut texts = String::new();
    for (unit, pids) in [("ssh.socket", &[1_u32][..]), ("ssh.socket", &[1, 41]), ("", &[1])] {
        let mut one = socket("tcp/0.0.0.0:22", held(pids));
        one.attributes = Arc::new(SocketAttributes {
            unit: Some(unit.to_owned()).filter(|unit| !unit.is_empty()),
            ..(*one.attributes).clone()
        });
        let report = report(&of(vec![one], vec![systemd.clone(), sshd.clone()]));
        let listener = Listener::only(&report.entries).unwrap();
        let why = StartedBy::of(&listener, "linux").map(|why| start_text::started_by(&why));
        let stop = HowToStop::of(&listener, "linux").map(|how| start_text::how_to_stop(&how, "linux"));
        texts += &format!("{}\n{}\n", why.as_deref().unwrap_or("-"), stop.as_deref().unwrap_or("-"));
    }
    assert_snapshot(
        texts,
        str![[r#"
systemd unit ssh.socket
systemctl stop ssh.socket
systemd unit ssh.service
systemctl stop ssh.socket ssh
the first process: it starts all others
do not kill pid 1: it runs the whole system

"#]],
    );
}

#[test]
fn a_published_port() {
    let line = "docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2 -container-port 8080";
    let proxy = Process {
        exe: Some(Exe {
            path: "/usr/bin/docker-proxy".into(),
            state: ExeState::Present,
            open_directories: None,
        }),
        cmdline: line.split(' ').map(str::to_owned).collect(),
        unit: Some("docker.service".into()),
        parents: parents(&["dockerd", "systemd"]),
        ..process(90, "docker-proxy")
    };
    let named = Container {
        id: "4f1c".into(),
        manager: "docker".into(),
        name: Some("shop-web".into()),
        image: Some("nginx:1.27".into()),
        ..Container::default()
    };
    let known = Process { forwards_to_container: Some(Arc::new(named)), ..proxy.clone() };
    let other = Process { pid: 95, ..known.clone() };
    let sockets = vec![socket("tcp/0.0.0.0:80", held(&[90])), socket("tcp/[::]:80", held(&[95]))];
    let text = card(&of(sockets, vec![known, other]), &terminal(80));
    for line in [
        "  Process     docker-proxy (pid 90, user root)",
        "and docker-proxy (pid 95, user root) on [::]\n",
        "  Forwards to 172.17.0.2:8080 in docker container shop-web (image nginx:1.27)\n",
        "  To stop     docker stop shop-web\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = card(&of(vec![socket("tcp/0.0.0.0:80", held(&[90]))], vec![proxy]), &terminal(80));
    for line in [
        "  Forwards to 172.17.0.2:8080",
        "  Why         systemd unit docker.service, through dockerd",
        "  To stop     docker stop $(docker ps -q --filter publish=80)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn a_port_that_the_kernel_forwards() {
    let mut port = socket("tcp/0.0.0.0:8080", Owner::Kernel);
    port.state = State::Published;
    let to = Peer { address: "172.17.0.2".parse().unwrap(), port: 80 };
    let forwarding = Some(Forwarding { to, rule: "-j DNAT --to 172.17.0.2:80".into(), container: None });
    port.attributes = Arc::new(SocketAttributes { forwarding, ..SocketAttributes::default() });
    let text = card(&of(vec![port], vec![]), &terminal(80));
    for line in ["  Forwards to 172.17.0.2:80\n", "forwards this port: -j"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn times() {
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    for (started, shown) in [
        ("2026-11-21T11:59:30Z", "since 11:59 UTC today (30 s)"),
        ("2026-11-21T11:01:00Z", "since 11:01 UTC today (59 min)"),
        ("2026-11-21T11:58:01Z", "since 11:58 UTC today (1 min 59 s)"),
        ("2026-11-21T10:00:00Z", "since 10:00 UTC today (2 h)"),
        ("2026-11-21T10:07:00Z", "since 10:07 UTC today (1 h 53 min)"),
        ("2026-11-21T07:36:00Z", "since 07:36 UTC today (4 h 24 min)"),
        ("2026-11-20T12:00:01Z", "since 2026-11-20 12:00 UTC (23 h)"),
        ("2026-11-19T12:00:01Z", "since 2026-11-19 12:00 UTC (47 h)"),
        ("2026-11-19T12:00:00Z", "since 2026-11-19 12:00 UTC (2 days)"),
        ("2026-11-18T21:00:00Z", "since 2026-11-18 21:00 UTC (2 days 15 h)"),
        ("2025-11-21T12:00:00Z", "since 2025-11-21 12:00 UTC (365 days)"),
        // The clock was set back.
        ("2026-11-21T12:00:01Z", "since 12:00 UTC today"),
    ] {
        assert_eq!(start_text::since(started.parse().unwrap(), now, Zone::UTC), shown);
    }
}

/// The card has at most as many lines as the 20 free rows. It names the parts that it leaves out, and shows no unsafe
/// character.
#[test]
fn it_fits() {
    let hostile = Process { name: Some(HOSTILE.into()), cwd: Some(HOSTILE.repeat(9)), ..node() };
    let open = Process {
        exe: Some(Exe {
            path: "/tmp/x/node".into(),
            state: ExeState::Deleted,
            open_directories: Some(vec!["/tmp".into()]),
        }),
        origin: Some(Origin { writable: Some("/tmp".into()), ..Origin::of(OriginKind::Open) }),
        ..node()
    };
    for (name, port, process) in [
        ("a server", 3000, node()),
        ("a server with many flags", 3416, open.clone()),
        ("an impostor", 22, open),
        ("hostile", 8080, hostile),
    ] {
        let snapshot = of(
            vec![
                socket(&format!("tcp/0.0.0.0:{port}"), held(&[35])),
                socket(&format!("udp/0.0.0.0:{port}"), held(&[35])),
            ],
            vec![process],
        );
        for width in [60, 80, 120, 200] {
            let text = card(&snapshot, &terminal(width));
            assert!(width < 80 || text.lines().count() <= 20, "{name}, {width}: {text}");
            let is_cut = text.contains(" …\n");
            assert!(!is_cut || text.contains("  More        portolan explain "), "{name}, {width}: {text}");
            for line in text.lines() {
                let breakable = line.trim().contains(' ');
                assert!(!breakable || line.width() <= usize::from(width), "{name}, {width}: {line}");
                assert_eq!(line.chars().find(|c| is_unsafe(*c)), None, "{name}");
            }
            let coloured = card(&snapshot, &Style { color: true, ..terminal(width) });
            assert_eq!(bleached(&coloured), text, "{name}, {width}");
        }
    }
}
