use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use super::{PLAIN, bleached};
use crate::model::*;

/// Checks one port for each basis of a status, and for each optional part of a reason.
#[test]
fn reasons() {
    let mut text = String::new();
    for port in [0, 1, 2, 4, 22, 33, 42, 67, 168, 169, 269, 750, 1528, 1701, 3416, 5432, 60000] {
        let verdict = verdict(port);
        text +=
            &format!("{port}: {}\n{}\n\n", verdict_text::status(&verdict), verdict_text::reason(&verdict));
    }
    assert_snapshot(
        text,
        str![[r#"
0: unassigned (reserved)
IANA reserves this port and assigns it to no service.

1: orphaned (confirmed)
tcpmux was registered for TCP Port Service Multiplexer, obsolete since 2016 but still in use. RFC 7805 moved TCPMUX (RFC 1078) to Historic in 2016 (https://www.rfc-editor.org/info/rfc7805). The services file of Debian's netbase still lists it, but this does not prove that the service is used.

2: unassigned (reserved)
IANA reserves this port and assigns it to no service. IANA remarks: registered as compressnet until after 2024-06-12.

4: unassigned
Nothing is registered for this port and protocol.

22: active
ssh is in use according to the services file of Debian's netbase, Wireshark's dissectors and 5 more sources.

33: dormant
The port is registered for dsp, but there is no evidence that this service is in use.

42: repurposed
Commonly used by: Windows WINS replication. name was registered for Host Name Server (IEN 116 Internet name server), presumed discontinued. The DNS took the place of the IEN 116 name service. nameserver was registered for Host Name Server (IEN 116 Internet name server), presumed discontinued. The DNS took the place of the IEN 116 name service.

67: dormant
bootps is registered for this protocol too, but used on UDP only.

168: dormant
The port is registered for rsvd (unchanged since 2008-05-01), but there is no evidence that this service is in use.

169: dormant
The port is registered for send (last changed 2019-04-22), but there is no evidence that this service is in use.

269: active
manet is defined by RFC 5498, and no source calls it obsolete.

750: repurposed
The services file of Debian's netbase and the SELinux reference policy agree that another service uses this port, not the registered service. The registered service is rfile; there is no evidence that it is used.

1528: dormant
The port is registered for norp (since 2021-04-07), but there is no evidence that this service is in use.

1701: dormant
l2f was registered for Cisco Layer Two Forwarding (L2F), discontinued. RFC 2341 (L2F) is classed Historic; L2TP replaced it (https://www.rfc-editor.org/info/rfc2341). l2tp is registered for this protocol too, but used on UDP only.

3416: orphaned (presumed)
commandport was registered for AirMobile IS, presumed discontinued. Command port of AirMobile IS, a product of about 2002 that nobody offers today. Rarely used by: Grin nodes (stratum for miners).

5432: active
postgresql is in use according to the services file of Debian's netbase, Wireshark's dissectors and 4 more sources.

60000: dynamic
IANA assigns no port above 49151, so any program may use this one.


"#]],
    );
}

/// If one row is confirmed and another row is presumed, the verdict is presumed.
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

/// Each gap appears once, with its remedy; text from outside is escaped.
#[test]
fn stderr() {
    let mut snapshot = scene();
    snapshot.gaps.push(snapshot.gaps[0].clone());
    snapshot.gaps.push(Gap { remedy: None, ..gap(Stage::Sockets, "TCP\nsockets", None) });
    assert_snapshot(
        text(|w| stderr::gaps(&snapshot.gaps, &snapshot.notes, &PLAIN, w)),
        str![[r#"
portolan: not seen: TCP\x0asockets: permission denied
portolan: not seen: 12 processes (pid 4000025): permission denied (run as root)
portolan: note: 2 other network namespaces

"#]],
    );
    let coloured =
        text(|w| stderr::gaps(&snapshot.gaps, &snapshot.notes, &Style { color: true, ..PLAIN }, w));
    assert_eq!(bleached(&coloured), text(|w| stderr::gaps(&snapshot.gaps, &snapshot.notes, &PLAIN, w)));
    assert!(coloured.contains("\x1b[33mnot seen:"));
}

#[test]
fn summaries() {
    let mut snapshot = empty();
    snapshot.sockets = vec![socket("tcp/127.0.0.1:22", Owner::Held(vec![900].into()))];
    let report = report(&snapshot);
    assert_snapshot(
        text(|w| write_summary(&report, "SERVICE in parentheses: what usually uses the port.", &PLAIN, w)),
        str![[r#"
1 listener, none with a flag. Not judged (?): 1, because the program is not visible.
Not seen: 1 process whose data could not be read (pid 900): the process ended during the scan, or reading it is not permitted (ps -fp 900).
SERVICE in parentheses: what usually uses the port.

"#]],
    );
}
