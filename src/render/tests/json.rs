use serde_json::{Value, json};
use snapbox::str;

use super::super::fixtures::*;
use super::super::*;
use crate::judge::Query;
use crate::model::*;

fn listing(snapshot: &Snapshot) -> (String, Value) {
    let report = report(snapshot);
    let text = text(|w| json::listing(&report, w));
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

fn of_port(listing: &Value, port: u16) -> &Value {
    listing["listeners"].as_array().unwrap().iter().find(|l| l["port"] == port).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_listing() {
    let mut snapshot = scene();
    snapshot.sockets.truncate(1);
    assert_snapshot(
        listing(&snapshot).0,
        str![[r#"
{
  "schema": "portolan/2",
  "taken": "2026-11-21T12:00:00Z",
  "host": {
    "name": "box",
    "id": "5bd68a4e1c3f4a7a9a0d6a5ce1f0b7c2",
    "boot": "6c9a4f7e-1b0d-4f7c-8d3a-2f1e5b7a9c10",
    "labels": {
      "site": "berlin"
    },
    "os": "linux",
    "kernel": "6.18.0",
    "privileged": false,
    "scope": null,
    "ephemeral": [
      {
        "low": 32768,
        "high": 60999
      }
    ],
    "reserved": [],
    "ephemeral_source": "ip_local_port_range"
  },
  "tool": {
    "version": "0.1.0"
  },
  "registry": {
    "date": "DATE",
    "file": null
  },
  "policy": null,
  "complete": false,
  "gaps": [
    {
      "stage": "owners",
      "what": "processes",
      "count": 12,
      "pids": [
        4000025
      ],
      "why": "permission denied",
      "remedy": "run as root"
    }
  ],
  "notes": [
    {
      "what": "other network namespaces",
      "count": 2,
      "remedy": null,
      "important": false
    }
  ],
  "namespaces": [],
  "listeners": [
    {
      "protocol": "tcp",
      "family": "ipv4",
      "address": "0.0.0.0",
      "port": 3416,
      "receives": null,
      "device": null,
      "v6only": null,
      "state": "listen",
      "peer": null,
      "direction": null,
      "connections": null,
      "netns": null,
      "service": null,
      "forwards_to": null,
      "reach": null,
      "reach_from": null,
      "reach_more": null,
      "reach_rule": null,
      "inode": 4711,
      "cookie": null,
      "mptcp": false,
      "queues": null,
      "uid": 0,
      "user": "root",
      "cgroup": null,
      "unit": null,
      "container": null,
      "exposure": "any",
      "owner": "held",
      "processes": [
        {
          "pid": 812,
          "name": "python3",
          "exe": "/usr/bin/python3",
          "exe_state": "present",
          "exe_deleted": false,
          "loader": null,
          "origin": null,
          "script": null,
          "cmdline": [
            "python3",
            "-m",
            "serve"
          ],
          "cwd": null,
          "project": null,
          "state": null,
          "uid": 0,
          "user": "root",
          "started": "2026-11-21T10:00:00Z",
          "parents": [
            {
              "pid": 1,
              "name": "systemd",
              "uid": null,
              "user": null
            }
          ],
          "unit": null,
          "container": null,
          "container_details": null
        }
      ],
      "registry": {
        "range": "registered",
        "status": "orphaned",
        "basis": "ended",
        "reason": "commandport was registered for AirMobile IS, presumed discontinued. Command port of AirMobile IS, a product of about 2002 that nobody offers today. Rarely used by: Grin nodes (stratum for miners).",
        "assignments": [
          {
            "service": "commandport",
            "ports": {
              "low": 3416,
              "high": 3416
            },
            "description": "AirMobile IS Command Port",
            "assignee": "Mike Klein",
            "registered": "2002-02",
            "modified": null,
            "reference": null,
            "notes": null,
            "status": "orphaned",
            "basis": "ended",
            "used_on": [],
            "curated": {
              "standing": "orphaned",
              "product": "AirMobile IS",
              "ended": null,
              "reason": "Command port of AirMobile IS, a product of about 2002 that nobody offers today.",
              "source": null,
              "confidence": "presumed",
              "now_used_by": null,
              "basis": "registered in February 2002 with a contact at a misspelt domain of Motorola, which offers no AirMobile today; no package or maker's page knows such a product"
            },
            "life": []
          }
        ],
        "known_use": [
          "Grin nodes (stratum for miners)"
        ],
        "remark": null
      },
      "usual": null,
      "flags": [
        {
          "code": "orphaned",
          "severity": "warning",
          "evidence": {
            "registrations": [
              {
                "service": "commandport",
                "product": "AirMobile IS",
                "ended": null,
                "reason": "Command port of AirMobile IS, a product of about 2002 that nobody offers today.",
                "confidence": "presumed",
                "source": null,
                "basis": "registered in February 2002 with a contact at a misspelt domain of Motorola, which offers no AirMobile today; no package or maker's page knows such a product"
              }
            ],
            "rarely_used_by": [
              "Grin nodes (stratum for miners)"
            ]
          },
          "text": "commandport was registered for AirMobile IS, presumed discontinued. Command port of AirMobile IS, a product of about 2002 that nobody offers today. Rarely used by: Grin nodes (stratum for miners)."
        }
      ]
    }
  ]
}

"#]],
    );
}

#[test]
fn owners_and_nulls() {
    let (_, listing) = listing(&scene());
    for (port, owner) in
        [(4913, "hidden"), (51820, "kernel"), (60417, "vanished"), (22, "unknown"), (5432, "held")]
    {
        let listener = of_port(&listing, port);
        assert_eq!(listener["owner"], owner);
        assert_eq!(listener["processes"].as_array().unwrap().is_empty(), owner != "held", "{port}");
    }
    let hidden = of_port(&listing, 4913);
    assert_eq!((&hidden["uid"], &hidden["user"]), (&json!(65534), &Value::Null));
    assert_eq!(of_port(&listing, 22)["device"], "eth0");
    // There are five processes; one of them could not be read, and is listed by its pid.
    let servers = of_port(&listing, 8000)["processes"].as_array().unwrap();
    let pids: Vec<_> = servers.iter().map(|p| p["pid"].as_u64().unwrap()).collect();
    assert_eq!(pids, [21, 22, 23, 24, 4_000_025]);
    assert_eq!(
        servers[4],
        json!({"pid": 4_000_025, "name": null, "exe": null, "exe_state": null, "exe_deleted": null, "loader": null,
               "origin": null, "script": null, "cmdline": null, "cwd": null, "project": null, "state": null,
               "uid": null, "user": null, "started": null, "parents": null, "unit": null, "container": null,
               "container_details": null})
    );
}

#[test]
fn fields_of_linux() {
    let mut snapshot = scene();
    snapshot.sockets.truncate(1);
    let socket = &mut snapshot.sockets[0];
    std::sync::Arc::make_mut(&mut socket.attributes).netns =
        Some(Netns { inode: 4_026_532_000, name: Some("blue".into()) });
    socket.queues = Some(Queues { receive: 1, send: 128 });
    socket.peer = Some(Peer { address: "192.0.2.7".parse().unwrap(), port: 40000 });
    socket.cookie = std::num::NonZeroU64::new(u64::MAX);
    let process = snapshot.processes.iter_mut().find(|p| p.pid == 812).unwrap();
    process.exe =
        Some(Exe { path: "/usr/bin/python3".into(), state: ExeState::Replaced, open_directories: None });
    let (_, listing) = listing(&snapshot);
    let listener = &listing["listeners"][0];
    assert_eq!(listener["netns"], json!({"inode": 4_026_532_000_u64, "name": "blue"}));
    assert_eq!(listener["queues"], json!({"receive": 1, "send": 128}));
    assert_eq!(listener["peer"], json!({"address": "192.0.2.7", "port": 40000}));
    assert_eq!(listener["cookie"], u64::MAX);
    let process = &listener["processes"][0];
    assert_eq!((&process["exe_state"], &process["exe_deleted"]), (&json!("replaced"), &json!(true)));
}

/// Every character is preserved, and every dangerous character is escaped.
#[test]
fn safe_to_look_at() {
    let hostile = "\x1b[2J\u{7f}\u{9b}\u{202e}\u{2028}\u{feff}\u{e0041}\\\"é数";
    let mut snapshot = scene();
    let process = snapshot.processes.iter_mut().find(|p| p.pid == 812).unwrap();
    process.cmdline = vec![hostile.into()];
    let (text, listing) = listing(&snapshot);
    assert_eq!(text.chars().find(|c| *c != '\n' && is_unsafe(*c)), None);
    assert!(text.contains(r#""\u001b[2J\u007f\u009b\u202e\u2028\ufeff\udb40\udc41\\\"é数""#));
    assert_eq!(of_port(&listing, 3416)["processes"][0]["cmdline"], json!([hostile]));
}

#[test]
fn explanations() {
    let snapshot = scene();
    let report = report(&snapshot);
    let ports = explained(&report, &[22, 3416]);
    let explained: Value = serde_json::from_str(&text(|w| {
        json::explain(
            &ports,
            &[Query { text: "22", matched: Matched::Port, added: 2, hits: Vec::new() }],
            &report,
            w,
        )
    }))
    .unwrap();
    assert_eq!(explained["schema"], "portolan.explain/2");
    assert_eq!(explained["complete"], false);
    let ports = explained["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 4);
    assert_eq!(
        keys(&ports[0]),
        [
            "answer",
            "assignments",
            "basis",
            "connections",
            "ephemeral",
            "evidence",
            "guarded",
            "history",
            "known_use",
            "listeners",
            "neighbours",
            "otherwise",
            "port",
            "programs",
            "protocol",
            "range",
            "reason",
            "remark",
            "services",
            "status",
            "together"
        ]
    );
    assert_eq!((&ports[0]["port"], &ports[0]["protocol"]), (&json!(22), &json!("tcp")));
    assert_eq!((&ports[0]["range"], &ports[0]["status"]), (&json!("system"), &json!("active")));
    assert_eq!(ports[0]["evidence"][0]["service"], "ssh");
    assert_eq!(ports[2]["listeners"][0]["processes"][0]["pid"], 812);
    assert_eq!((&ports[3]["protocol"], &ports[3]["listeners"]), (&json!("udp"), &json!([])));
}

#[test]
fn an_empty_listing_is_valid() {
    let (_, listing) = listing(&empty());
    assert_eq!((&listing["listeners"], &listing["complete"]), (&json!([]), &json!(true)));
}
