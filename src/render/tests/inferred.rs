use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::terminal;
use crate::judge::Listener;
use crate::model::*;

/// Returns the card of a hidden listener of root on port 80 in this control group, whose only program is nginx.
fn card(group: &str, unit: Option<&str>, count: usize, privileged: bool) -> String {
    let mut socket = socket("tcp/0.0.0.0:80", Owner::Hidden);
    let attributes = std::sync::Arc::make_mut(&mut socket.attributes);
    attributes.cgroup = Some(group.to_owned());
    attributes.unit = unit.map(str::to_owned);
    let mut snapshot = Snapshot { sockets: vec![socket], ..empty() };
    snapshot.host.privileged = privileged;
    let mut report = report(&snapshot);
    let process = Process {
        cmdline: vec!["nginx: master process /usr/sbin/nginx".to_owned()],
        exe: None,
        ..process(812, "nginx")
    };
    report.inferred_owners.insert(group.to_owned(), InferredOwner { process, count });
    let listener = Listener::only(&report.entries).expect("one listener");
    text(|w| listener_card::listing(&listener, &report, &terminal(80), w))
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
  Why         systemd unit nginx.service
  Reachable   on every address of this machine
  To stop     sudo systemctl stop nginx
  Registry    registered for http: World Wide Web HTTP; www: World Wide Web
              HTTP; www-http: World Wide Web HTTP.
tcp 0.0.0.0:80  probably nginx
  Process     probably nginx (pid 812, user root), since 10:00 UTC today (2 h):
              the only process of its control group
  Command     nginx: master process /usr/sbin/nginx
  Why         systemd unit nginx.service
  Reachable   on every address of this machine
  To stop     systemctl stop nginx
  Registry    registered for http: World Wide Web HTTP; www: World Wide Web
              HTTP; www-http: World Wide Web HTTP.
tcp 0.0.0.0:80  probably nginx
  Process     probably nginx (pid 812, user root), since 10:00 UTC today (2 h):
              the only process of session-3.scope; run with sudo to be sure
  Command     nginx: master process /usr/sbin/nginx
  Why         in login session 3 of root
  Reachable   on every address of this machine
  To stop     sudo portolan kill 80   (shows the process, and asks first)
  Registry    registered for http: World Wide Web HTTP; www: World Wide Web
              HTTP; www-http: World Wide Web HTTP.

"#]],
    );
}
