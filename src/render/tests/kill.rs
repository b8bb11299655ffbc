//! What `kill` shows and refuses.

use std::collections::BTreeSet;
use std::sync::Arc;

use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::listener_card::{held, of};
use crate::judge::{KillCaller, kill_plan};
use crate::model::*;

/// Returns the output of `kill` for all of these sockets, or the reason why `kill` refuses.
fn shown(snapshot: &Snapshot, caller: &KillCaller) -> String {
    let report = report(snapshot);
    let plan = kill_plan(&report.entries, |_| true, &report.snapshot, caller);
    match plan {
        Ok(steps) => text(|w| {
            let around =
                kill::Around { children: vec![(900, "sleep".to_owned())], ..kill::Around::default() };
            steps.iter().try_for_each(|step| {
                kill::step(step, &around, "y will run", Some(80), &report, &Style::default(), w)
            })
        }),
        Err(refused) => {
            let text = |(listener, why): &(_, _)| kill::refusal(listener, why, Rights::default()) + "\n";
            refused.iter().map(text).collect()
        }
    }
}

fn root() -> KillCaller {
    KillCaller { pids: BTreeSet::from([7000, 7001]), ..KillCaller::default() }
}

fn in_unit(pid: Pid, unit: &str) -> Process {
    Process {
        unit: Some(unit.to_owned()),
        uid: Some(1000),
        user: Some("ann".into()),
        ..process(pid, "server")
    }
}

#[test]
fn what_is_ended() {
    let id = "3f".repeat(32);
    let mut by_socket = socket("tcp/0.0.0.0:22", held(&[1, 41]));
    let attributes = SocketAttributes { unit: Some("ssh.socket".into()), ..(*by_socket.attributes).clone() };
    by_socket.attributes = Arc::new(attributes);
    let snapshot = of(
        vec![
            socket("tcp/0.0.0.0:80", held(&[35])),
            by_socket,
            socket("tcp/0.0.0.0:6000", held(&[36])),
            socket("tcp/0.0.0.0:8080", held(&[37])),
        ],
        vec![
            process(1, "systemd"),
            in_unit(35, "nginx.service"),
            process(36, "node"),
            Process { container: Some(id), ..process(37, "web") },
            Process { unit: Some("ssh.service".into()), ..process(41, "sshd") },
        ],
    );
    assert_snapshot(
        shown(&snapshot, &root()),
        str![[r#"
tcp 0.0.0.0:22  OpenSSH server (sshd)
  Process     sshd (pid 41, user root), since 10:00 UTC today (2 h)
              and systemd (pid 1, user root)
  Command     sshd -m serve
  Program     /usr/bin/sshd
  Why         systemd unit ssh.service
  Reachable   on every address of this machine
  y will run  systemctl stop ssh.socket ssh
              ssh.socket is stopped too, because systemd would start the service
              again
  Children    sleep (pid 900): these processes get no signal
  Warning     users log in through this SSH server; after the server has ended,
              nobody can log in through this port
tcp 0.0.0.0:80  server
  Process     server (pid 35, user ann), since 10:00 UTC today (2 h)
  Command     server -m serve
  Program     /usr/bin/server
  Why         systemd unit nginx.service
  Reachable   on every address of this machine
  y will run  systemctl stop nginx
  Children    sleep (pid 900): these processes get no signal
  Warning     you are logged in through this port; you may not be able to log in
              again after it is closed
tcp 0.0.0.0:6000  node
  Process     node (pid 36, user root), since 10:00 UTC today (2 h)
  Command     node -m serve
  Program     /usr/bin/node
  Why         in the background; the process that started it has ended
  Reachable   on every address of this machine
  y will run  kill 36
  Children    sleep (pid 900): these processes get no signal
tcp 0.0.0.0:8080  web
  Process     web (pid 37, user root), since 10:00 UTC today (2 h)
  Command     web -m serve
  Program     /usr/bin/web
  Why         container 3f3f3f3f3f3f
  Reachable   on every address of this machine
  y will run  kill 37
  Children    sleep (pid 900): these processes get no signal

"#]],
    );
}

/// `kill` shows the ID that it passes to docker, because another container can get the name.
#[test]
fn a_container_is_stopped_by_its_id() {
    let id = "4f1c0b7d9e6a".to_owned() + &"0".repeat(52);
    let details = Container {
        id: id.clone(),
        name: Some("shop-web".to_owned()),
        manager: "docker".to_owned(),
        ..Container::default()
    };
    let server =
        Process { container: Some(id), container_details: Some(Arc::new(details)), ..process(35, "server") };
    let shown = shown(&of(vec![socket("tcp/0.0.0.0:80", held(&[35]))], vec![server]), &root());
    assert!(
        shown.contains("\n  y will run  docker stop 4f1c0b7d9e6a   (container shop-web, by its full ID)\n"),
        "{shown}"
    );
}

/// No client has connected yet, so only systemd owns the socket.
#[test]
fn a_socket_unit_alone() {
    let mut waiting = socket("tcp/127.0.0.1:631", held(&[1]));
    let attributes = SocketAttributes { unit: Some("cups.socket".into()), ..(*waiting.attributes).clone() };
    waiting.attributes = Arc::new(attributes);
    let shown = shown(&of(vec![waiting], vec![process(1, "systemd")]), &root());
    let (_, shown) = shown.split_once("  y will run  ").unwrap();
    assert_snapshot(
        shown,
        str![[r#"
systemctl stop cups.socket
              systemd holds the port for cups.socket, and starts the service of
              this unit when a client connects
  Children    sleep (pid 900): these processes get no signal

"#]],
    );
}

/// A plan that needs root is refused before `kill` asks the user for confirmation.
#[test]
fn what_needs_root_is_refused_to_others() {
    let mut texts = String::new();
    let caller = KillCaller { uid: 1000, protected: BTreeSet::from([36]), ..root() };
    for (port, process) in
        [(80, in_unit(35, "nginx.service")), (81, process(36, "node")), (82, process(37, "own"))]
    {
        let socket = socket(&format!("tcp/0.0.0.0:{port}"), held(&[process.pid]));
        texts += &shown(&of(vec![socket], vec![process]), &caller);
    }
    assert_snapshot(
        texts,
        str![[r#"
server on tcp 0.0.0.0:80: not ended: needs sudo (systemctl stop nginx)
node on tcp 0.0.0.0:81: not ended: needs sudo (kill 36)
tcp 0.0.0.0:82  own
  Process     own (pid 37, user root), since 10:00 UTC today (2 h)
  Command     own -m serve
  Program     /usr/bin/own
  Why         in the background; the process that started it has ended
  Reachable   on every address of this machine
  y will run  kill 37
  Children    sleep (pid 900): these processes get no signal

"#]],
    );
}

#[test]
fn what_is_refused() {
    let mut texts = String::new();
    for (socket, process) in [
        (socket("tcp/0.0.0.0:1", Owner::Hidden), None),
        (socket("tcp/0.0.0.0:2", Owner::Kernel), None),
        (socket("tcp/0.0.0.0:3", Owner::Unaccounted), None),
        (socket("tcp/0.0.0.0:4", held(&[1])), Some(process(1, "init"))),
        (socket("tcp/0.0.0.0:5", held(&[7001])), Some(process(7001, "bash"))),
        (socket("tcp/0.0.0.0:6", held(&[34])), Some(in_unit(34, "user@1000.service/app.service"))),
    ] {
        texts += &shown(&of(vec![socket], process.into_iter().collect()), &root());
    }
    assert_snapshot(
        texts,
        str![[r#"
program hidden on tcp 0.0.0.0:1: not ended: its process is not visible, even to root; portolan -v shows why
kernel on tcp 0.0.0.0:2: not ended: its socket belongs to the kernel
unknown program on tcp 0.0.0.0:3: not ended: the process of its socket was not found; see portolan audit
init on tcp 0.0.0.0:4: not ended: pid 1 runs the whole system
bash on tcp 0.0.0.0:5: not ended: its process (pid 7001) is portolan, or started portolan; end the process by hand
server on tcp 0.0.0.0:6: not ended: only its user can stop it: systemctl --user stop app (as user ann)

"#]],
    );
}
