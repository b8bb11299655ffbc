use std::collections::BTreeSet;

use snapbox::str;
use unicode_width::UnicodeWidthStr;

use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, bleached, terminal};
use crate::judge::{Explained, Report};
use crate::model::*;

pub(super) fn card(snapshot: &Snapshot, ports: &[u16], style: &Style) -> String {
    let report = report(snapshot);
    written(&explained(&report, ports), &report, style)
}

fn written(ports: &[Explained<'_>], report: &Report, style: &Style) -> String {
    let depth = card::Depth { evidence: true, ..Default::default() };
    cut(ports, &BTreeSet::new(), depth, report, style)
}

/// Returns the answer of `explain` about some ports, without the protocols in `left_out`.
pub(super) fn cut(
    ports: &[Explained<'_>],
    left_out: &BTreeSet<(u16, Protocol)>,
    depth: card::Depth,
    report: &Report,
    style: &Style,
) -> String {
    text(|w| card::explain(ports, left_out, depth, report, style, w))
}

#[test]
fn orphaned() {
    assert_snapshot(
        card(&scene(), &[3416], &terminal(80)),
        str![[r#"
tcp 0.0.0.0:3416  python3
  Process     python3 (pid 812, user root), since 10:00 UTC today (2 h)
  Command     python3 -m serve
  Program     /usr/bin/python3
  Why         in the background; the process that started it has ended
  Reachable   on every address of this machine
  Flags       orphaned (warning)
  To stop     kill 812

Port 3416 (registered range, 1024 to 49151)

tcp  orphaned (presumed)
  What        Registered in 2002 for AirMobile IS, software that is no longer
              offered.
  Here now    python3 -m serve (pid 812) has this port open.
  If open     The registration does not explain a listener: check the program.
  Registered  commandport: AirMobile IS Command Port (assigned to Mike Klein;
              registered 2002-02)
  Status      commandport was registered for AirMobile IS, presumed
              discontinued. Command port of AirMobile IS, a product of about
              2002 that nobody offers today. Rarely used by: Grin nodes (stratum
              for miners).
  Evidence    commandport: registered in February 2002 with a contact at a
              misspelt domain of Motorola, which offers no AirMobile today; no
              package or maker's page knows such a product.
  Nearby      3415 bcinameservice and 3417 csvr.

udp  orphaned (presumed)
  What        Registered in 2002 for AirMobile IS, software that is no longer
              offered.
  Here now    nothing listens on this port.
  If open     The registration does not explain a listener: check the program.
  Status      commandport was registered for AirMobile IS, presumed
              discontinued. Command port of AirMobile IS, a product of about
              2002 that nobody offers today.
  Evidence    commandport: registered in February 2002 with a contact at a
              misspelt domain of Motorola, which offers no AirMobile today; no
              package or maker's page knows such a product.
  Nearby      3415 bcinameservice and 3417 csvr.

  Range       1024 to 49151, the registered range: IANA assigns these ports on
              request (RFC 6335).

"#]],
    );
}

#[test]
fn repurposed_with_several_owners() {
    assert_snapshot(
        card(&scene(), &[8000], &terminal(80)),
        str![[r#"
tcp 0.0.0.0:8000  nginx
  Process     nginx (pid 21, user root), since 10:00 UTC today (2 h)
              and nginx (pids 22, 23 and 24, user root) and pid 4000025 (could
              not be read)
  Command     nginx -m serve
  Program     /usr/bin/nginx
  Why         in the background; the process that started it has ended
  Reachable   on every address of this machine
  To stop     kill 21 22 23 24 4000025

Port 8000 (registered range, 1024 to 49151)

tcp  repurposed
  What        Second web port: Django, FastAPI, python -m http.server, php
              artisan serve; also Splunk, Portainer's tunnel, Icecast, vLLM.
  Here now    nginx (pid 21) and 4 more processes have this port open.
  If open     "python -m http.server" shows its directory to everyone, and is
              easily forgotten. Development servers should be local.
  Registered  irdmi (dormant; assigned to Gil Shafriri)
  Status      Commonly used by: Django, uvicorn and other development servers,
              Splunk, Portainer, Hikvision cameras. The registered service is
              irdmi; there is no evidence that it is used.
  Evidence    another service is listed by the SELinux reference policy and
              firewalld's services.
  Nearby      7999 irdmi2 and 8001 vcom-tunnel.

udp  dormant
  Here now    nothing listens on this port.
  Registered  irdmi (assigned to Gil Shafriri)
  Status      The port is registered for irdmi, but there is no evidence that
              this service is in use.
  Evidence    another service is listed by Wireshark's dissectors.
  Nearby      7999 irdmi2 and 8001 vcom-tunnel.

  Range       1024 to 49151, the registered range: IANA assigns these ports on
              request (RFC 6335).

"#]],
    );
}

#[test]
fn unassigned_and_hidden() {
    assert_snapshot(
        card(&scene(), &[4913], &terminal(80)),
        str![[r#"
udp [::]:4913  program hidden
  Process     not visible (run with sudo); user 65534 created the socket
  Reachable   on every address of this machine
  Flags       unexplained (info)
  To stop     sudo portolan kill 4913   (shows the process, and asks first)

Port 4913 (registered range, 1024 to 49151)

tcp  dormant
  Here now    nothing listens on this port.
  Registered  lutcp: LUTher Control Protocol (assigned to Markus Loeffler;
              registered 2007-07-03)
  Status      The port is registered for lutcp (unchanged since 2007-07-03), but
              there is no evidence that this service is in use.
  Nearby      Markus Loeffler registered the block 4912-4913: 4912 lutap and
              4913 lutcp.

udp  unassigned
  What        No service is known to use this port over UDP.
  Here now    owner hidden, so only the port and the unit were judged.
  Status      Nothing is registered for this port and protocol.
  Nearby      4900 hfcs and 4914 bones.

  Range       1024 to 49151, the registered range: IANA assigns these ports on
              request (RFC 6335).

"#]],
    );
}

#[test]
fn dynamic_and_the_kernels() {
    assert_snapshot(
        card(&scene(), &[51820], &terminal(80)),
        str![[r#"
udp 0.0.0.0:51820  kernel
  Process     owned by the kernel, not by a process
  Reachable   on every address of this machine
  To stop     kill cannot stop it: the socket belongs to the kernel, not to a
              process

Port 51820 (dynamic range, 49152 to 65535)

tcp  dynamic
  What        No service is known to use this port over TCP.
  Here now    nothing listens on this port.
  Status      IANA assigns no port above 49151, so any program may use this one.
  Ephemeral   in the range 32768-60999, which this kernel uses for outgoing
              connections (ip_local_port_range). Outgoing connections can get
              this port, but a program that requests any free port usually gets
              an odd one. A program that listens here has therefore probably
              chosen the port.
  Nearby      49150 inspider.

udp  dynamic
  What        WireGuard: encrypted tunnel. On Linux the kernel owns the socket,
              so no process is shown.
  Here now    owned by the kernel, not by a process.
  If open     Encrypted, and does not answer clients without a key. Safe to be
              reachable. A TCP listener here is unusual.
  Status      IANA assigns no port above 49151, so any program may use this one.
  Known use   Commonly used by: WireGuard
  Ephemeral   in the range 32768-60999, which this kernel uses for outgoing
              connections (ip_local_port_range). The kernel may give this port
              to a program that requests any free port.
  Evidence    another service is listed by firewalld's services and nDPI's
              protocols.
  Guarded     wireguard; known servers: [wireguard], wireguard-go,
              boringtun-cli, netbird, flanneld and 3 more. An impostor receives
              the handshakes of a VPN. The WireGuard tunnel of the kernel has no
              process; many VPN programs have their own tunnel.
  Nearby      49001 nusdp-disc.

  Range       49152 to 65535, the dynamic range: IANA assigns none of these
              ports, and any program may use one temporarily (RFC 6335).

"#]],
    );
}

#[test]
fn active_and_dead_registrations_without_a_listener() {
    assert_snapshot(
        card(&scene(), &[1701], &terminal(80)),
        str![[r#"
Port 1701 (registered range, 1024 to 49151)

tcp  dormant
  Here now    nothing listens on this port.
  Registered  l2f (confirmed orphaned; no assignee on record)
  Registered  l2tp (assigned to Andy Valencia)
  Status      l2f was registered for Cisco Layer Two Forwarding (L2F),
              discontinued. RFC 2341 (L2F) is classed Historic; L2TP replaced it
              (https://www.rfc-editor.org/info/rfc2341). l2tp is registered for
              this protocol too, but used on UDP only.
  Evidence    l2tp is listed by the SELinux reference policy.
  Nearby      1700 mps-raft and 1702 deskshare.

udp  active
  What        L2TP: Tunnel inside IPsec; alone it is not encrypted.
  Usually     served by xl2tpd [xl2tpd], SoftEther VPN server [vpnserver] and
              l2tpns [l2tpns].
  If open     Login with a password, no encryption; made to be reached from the
              internet.
  Status      l2tp is in use according to the services file of Debian's netbase,
              Wireshark's dissectors and 2 more sources. l2f was registered for
              Cisco Layer Two Forwarding (L2F), discontinued. RFC 2341 (L2F) is
              classed Historic; L2TP replaced it
              (https://www.rfc-editor.org/info/rfc2341). The services file of
              Debian's netbase still lists it, but this does not prove that the
              service is used.
  Known use   Commonly used by: L2TP (xl2tpd, strongSwan setups)
  Evidence    l2tp is listed by the services file of Debian's netbase,
              Wireshark's dissectors and the SELinux reference policy; l2f is
              listed by the services file of Debian's netbase.
  Nearby      1700 mps-raft and 1702 deskshare.

  Range       1024 to 49151, the registered range: IANA assigns these ports on
              request (RFC 6335).

"#]],
    );
}

#[test]
fn many_ports_in_blocks() {
    assert_snapshot(
        card(&scene(), &[22, 3416, 8000, 8001, 8002, 8003], &terminal(80)),
        str![[r#"
tcp [fe80::1%eth0]:22  unknown program
  Process     owner unknown: this system does not report it
  Reachable   on one link only
  Flags       not judged, because the process is not visible

tcp 0.0.0.0:3416  python3
  Process     python3 (pid 812, user root), since 10:00 UTC today (2 h)
  Command     python3 -m serve
  Program     /usr/bin/python3
  Why         in the background; the process that started it has ended
  Reachable   on every address of this machine
  Flags       orphaned (warning): commandport was registered for AirMobile IS,
              presumed discontinued. Command port of AirMobile IS, a product of
              about 2002 that nobody offers today. Rarely used by: Grin nodes
              (stratum for miners).
  To stop     kill 812

tcp 0.0.0.0:8000  nginx
  Process     nginx (pid 21, user root), since 10:00 UTC today (2 h)
              and nginx (pids 22, 23 and 24, user root) and pid 4000025 (could
              not be read)
  Command     nginx -m serve
  Program     /usr/bin/nginx
  Why         in the background; the process that started it has ended
  Reachable   on every address of this machine
  To stop     kill 21 22 23 24 4000025

and 1 more listener (see below)

22           tcp  active
              ssh: The Secure Shell (SSH) Protocol
              here now: tcp [fe80::1%eth0]:22 (unknown)
22           udp  dormant
              ssh: The Secure Shell (SSH) Protocol
3416         tcp  orphaned (presumed)
              commandport: AirMobile IS Command Port
              Rarely used by: Grin nodes (stratum for miners)
              here now: tcp 0.0.0.0:3416 python3 -m serve (pid 812)
3416         udp  orphaned (presumed)
              commandport: AirMobile IS Command Port
8000         tcp  repurposed
              irdmi, dormant
              Commonly used by: Django, uvicorn and other development servers,
              Splunk, Portainer, Hikvision cameras
              here now: tcp 0.0.0.0:8000 nginx ×4, ? (pid 21, 22, 23, 24,
              4000025)
8000         udp  dormant
              irdmi
8001         tcp  repurposed
              vcom-tunnel: VCOM Tunnel, dormant
              Commonly used by: kubectl proxy, Kong admin, development servers
8001         udp  dormant
              vcom-tunnel: VCOM Tunnel
8002         tcp  dormant
              teradataordbms: Teradata ORDBMS
8002         udp  dormant
              teradataordbms: Teradata ORDBMS
8003         tcp,udp  dormant
              mcreport: Mulberry Connect Reporting Service
              here now: tcp 127.0.0.1:8003 \x1b[2J\x0aevil\u{202e}, \x28kernel)
              (pid 1000, 1001)

"#]],
    );
}

/// A port with a listener is never merged with adjacent ports.
#[test]
fn runs_end_at_a_listener() {
    let snapshot = Snapshot { sockets: vec![socket("tcp/127.0.0.1:8812", Owner::Hidden)], ..empty() };
    let text = card(&snapshot, &[8810, 8811, 8812, 8813, 8814], &PLAIN);
    let heads: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_snapshot(
        heads.join("\n"),
        str![[r#"
tcp 127.0.0.1:8812  program hidden

8810-8811    tcp,udp  unassigned
8812         tcp,udp  unassigned
8813-8814    tcp,udp  unassigned
"#]],
    );
}

#[test]
fn no_listener() {
    let mut snapshot = empty();
    assert_snapshot(
        card(&snapshot, &[9], &PLAIN),
        str![[r#"
Port 9 (system range, 0 to 1023)

tcp  active
  What        Discard: Ignores all data that it receives; Wake-on-LAN packets
              are often sent to UDP port 9. Also Windows Simple TCP/IP Services.
  Here now    nothing listens on this port.
  Usually     served by Windows simple TCP services and DHCP [tcpsvcs.exe].
  If open     No login, no encryption; only the local network should reach it.
  Registered  discard (assigned to Jon Postel)
  Status      discard is in use according to the services file of Debian's
              netbase and Portolan's own data.
  Evidence    discard is listed by the services file of Debian's netbase;
              another service is listed by the SELinux reference policy.
  Nearby      7 echo and 11 systat.

udp  active
  What        Wake-on-LAN: Wakes a sleeping computer; nothing listens, the
              network card recognises the packet. Also Discard.
  If open     No login, no encryption; only the local network should reach it.
  Status      discard is in use according to the services file of Debian's
              netbase and Portolan's own data.
  Evidence    discard is listed by the services file of Debian's netbase;
              another service is listed by the SELinux reference policy.
  Nearby      7 echo and 11 systat.

  Range       0 to 1023, the system range: IANA assigns these ports after review
              by the IETF (RFC 6335).

"#]],
    );
    snapshot.gaps = vec![gap(Stage::Owners, "processes", Some(3))];
    assert_eq!(card(&snapshot, &[9], &PLAIN), card(&empty(), &[9], &PLAIN));
    snapshot.gaps = vec![gap(Stage::Sockets, "TCP sockets", None)];
    assert_snapshot(
        card(&snapshot, &[9], &PLAIN),
        str![[r#"
Port 9 (system range, 0 to 1023)

tcp  active
  What        Discard: Ignores all data that it receives; Wake-on-LAN packets
              are often sent to UDP port 9. Also Windows Simple TCP/IP Services.
  Here now    no listener was seen, but not everything could be seen: TCP
              sockets: permission denied (run as root).
  Usually     served by Windows simple TCP services and DHCP [tcpsvcs.exe].
  If open     No login, no encryption; only the local network should reach it.
  Registered  discard (assigned to Jon Postel)
  Status      discard is in use according to the services file of Debian's
              netbase and Portolan's own data.
  Evidence    discard is listed by the services file of Debian's netbase;
              another service is listed by the SELinux reference policy.
  Nearby      7 echo and 11 systat.

udp  active
  What        Wake-on-LAN: Wakes a sleeping computer; nothing listens, the
              network card recognises the packet. Also Discard.
  If open     No login, no encryption; only the local network should reach it.
  Status      discard is in use according to the services file of Debian's
              netbase and Portolan's own data.
  Evidence    discard is listed by the services file of Debian's netbase;
              another service is listed by the SELinux reference policy.
  Nearby      7 echo and 11 systat.

  Range       0 to 1023, the system range: IANA assigns these ports after review
              by the IETF (RFC 6335).

"#]],
    );
}

pub(super) fn heads(ports: &[Explained<'_>], report: &Report) -> String {
    let text = written(ports, report, &PLAIN);
    let heads = text.lines().filter(|line| line.starts_with("tcp") || line.starts_with("udp"));
    heads.collect::<Vec<_>>().join("\n")
}

#[test]
fn safe_and_no_wider_than_the_terminal() {
    let snapshot = scene();
    let every = [9, 22, 443, 1023, 1701, 3416, 4913, 5432, 7778, 8000, 8003, 51820, 60417];
    for width in [50, 60, 80, 120] {
        for ports in every.chunks(1).chain([&every[..]]) {
            let text = card(&snapshot, ports, &terminal(width));
            for line in text.lines() {
                // A single word, such as an address or a list of names in the registry, is never broken.
                let breakable = line.trim().contains(' ');
                assert!(!breakable || line.width() <= usize::from(width), "{width}: {line}");
                assert_eq!(line.chars().find(|c| is_unsafe(*c)), None);
            }
            let coloured = card(&snapshot, ports, &Style { color: true, ..terminal(width) });
            assert_eq!(bleached(&coloured), text);
        }
    }
    card(&snapshot, &every, &terminal(0));
    card(&snapshot, &[22], &terminal(0));
}
