use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, bleached};
use crate::model::*;

#[test]
fn reasons() {
    let mut text = String::new();
    for port in [0, 9, 22, 443, 514, 1023, 1701, 3416, 4045, 5432, 7777, 7778, 8000, 8080, 11211, 60000] {
        let verdict = verdict(port);
        text +=
            &format!("{port}: {}\n{}\n\n", verdict_text::status(&verdict), verdict_text::reason(&verdict));
    }
    assert_snapshot(
        text,
        str![[r#"
0: unassigned (reserved)
IANA reserves this port: it is assigned to no service.

9: active
discard is in use: the curated list of living services and the services file of Debian's netbase name it.

22: active
ssh is in use: the curated list of living services, the services file of Debian's netbase, Wireshark's dissectors, the SELinux reference policy, firewalld's services, nDPI's protocols and ufw's application profiles name it.

443: active
https is in use: the curated list of living services, the services file of Debian's netbase and firewalld's services name it.

514: repurposed
What one meets here today: Syslog over TCP (rsyslog, syslog-ng). shell was registered for Berkeley r-commands: cmd like exec, but automatic authentication is performed as for lo..., presumed withdrawn but still met: SSH entirely supplanted the r-commands; they survive on isolated old Unix hosts. Presumed: OpenSSH replaced the r-commands; servers for them are still packaged, and isolated old Unix hosts run them. The services file of Debian's netbase, Wireshark's dissectors, the SELinux reference policy and firewalld's services still name it, which shows no life.

1023: unassigned (reserved)
IANA reserves this port: it is assigned to no service.

1701: dormant
l2f was registered for Cisco Layer Two Forwarding (L2F), dead: RFC 2341 (L2F) is classed Historic; L2TP replaced it. Confirmed (https://www.rfc-editor.org/info/rfc2341). l2tp is registered for this protocol too, but is used on UDP only.

3416: orphaned (presumed)
commandport was registered for AirMobile IS (apparently Motorola), presumed dead: Command port of AirMobile IS, apparently Motorola middleware for wireless data, of which nothing is on offer today. Presumed: registered February 2002 with a contact at a misspelt Motorola domain; Motorola offers no AirMobile today, and no package or maker's page knows such a product.

4045: dormant
npp is in the registry (no assignee on record), but no evidence shows it in use. That does not prove it dead.

5432: active
postgresql is in use: the curated list of living services, the services file of Debian's netbase, Wireshark's dissectors, the SELinux reference policy, firewalld's services and nDPI's protocols name it.

7777: repurposed
What one meets here today: Terraria, Oracle HTTP Server, game servers. cbt was registered for Core Based Trees multicast routing, dead, ended 2008: RFC 5110 moved Core Based Trees to Historic in 2008, fallen into disuse. Confirmed (https://www.rfc-editor.org/info/rfc5110).

7778: orphaned (presumed)
interwise was registered for Interwise conferencing, presumed dead: Interwise became AT&T Connect, which AT&T closed in the 2010s. Presumed: AT&T bought Interwise in 2007 and later closed AT&T Connect. The SELinux reference policy still names it, which shows no life.

8000: repurposed
What one meets here today: Django, uvicorn and other development servers, Splunk, Portainer, Hikvision cameras. Registered is irdmi: iRDMI.

8080: active
http-alt is in use: the curated list of living services, the curated list of known uses, the services file of Debian's netbase and Wireshark's dissectors name it.

11211: active
memcache is in use: the curated list of living services, the curated list of known uses, Wireshark's dissectors, the SELinux reference policy and firewalld's services name it.

60000: dynamic
IANA assigns nothing from 49152 up: programs use these ports for a while. The SELinux reference policy names this port as something else.


"#]],
    );
}

/// A confirmed row next to a presumed one leaves the verdict presumed.
#[test]
fn a_presumption_stays_one() {
    let mut mixed = verdict(3416);
    let mut confirmed = mixed.assignments[0].clone();
    confirmed.curated.as_mut().unwrap().confidence = Confidence::Confirmed;
    mixed.assignments.insert(0, confirmed);
    assert_eq!(verdict_text::status(&mixed), "orphaned (presumed)");
    mixed.assignments.pop();
    assert_eq!(verdict_text::status(&mixed), "orphaned (confirmed)");
    assert!(!verdict_text::reason(&mixed).contains("resumed"));
}

/// Each gap once, with its remedy; what is not ours is escaped.
#[test]
fn talk() {
    let mut observation = scene();
    observation.gaps.push(observation.gaps[0].clone());
    observation.gaps.push(Gap { remedy: None, ..gap(Stage::Sockets, "TCP\nsockets", None) });
    assert_snapshot(
        text(|w| talk::gaps(&observation.gaps, &observation.notes, &PLAIN, w)),
        str![[r#"
portolan: not seen: TCP\x0asockets: permission denied
portolan: not seen: 12 processes: permission denied (run as root)
portolan: note: 2 other network namespaces

"#]],
    );
    let coloured =
        text(|w| talk::gaps(&observation.gaps, &observation.notes, &Style { color: true, ..PLAIN }, w));
    assert_eq!(bleached(&coloured), text(|w| talk::gaps(&observation.gaps, &observation.notes, &PLAIN, w)));
    assert!(coloured.contains("\x1b[33mnot seen:"));
}

#[test]
fn summaries() {
    let mut observation = empty();
    observation.sockets = vec![socket("tcp/127.0.0.1:22", Owner::Held(vec![900].into()))];
    let report = report(&observation);
    assert_snapshot(summary(&report), str!["1 listener, none flagged. Registry of DATE."]);
}
