//! The schema of evidence accepts the JSON of the program's own findings, and nothing else.

use portolan::internals::findings::file::{
    DeletedExecutable, RunningScript, RunsFromMemory, WritableExecutable, WritableProgram,
};
use portolan::internals::findings::identity::{
    AdHoc, Disguise, DualUse, FittingName, HiddenProcess, Impostor, Masquerading, ShellListener, Tool,
    Unfamiliar, UnknownProcess,
};
use portolan::internals::findings::reach::{
    ConfiguredAccess, Exposed, Published, Relay, Restriction, ServingProcess,
};
use portolan::internals::findings::registry::{
    DeadRegistration, Ephemeral, Orphaned, QuietRegistration, Unexplained,
};
use portolan::internals::findings::socket::Sniffer;
use portolan::internals::findings::{Evidence, Finding, RunningProgram};
use portolan::model::{
    AdmittedClients, Confidence, DangerBasis, Exposure, Peer, Protocol, ReplaceableBy, RestrictedBy, RestsOn,
    Severity, StatusBasis,
};
use serde_json::{Value, json};

use crate::strict::objects;
use crate::{holds, schema, validator};

fn unknown_process() -> UnknownProcess {
    UnknownProcess {
        pid: 41,
        program: "xyzzy".to_owned(),
        products: vec!["Xyzzy"],
        rests_on: RestsOn::Exe,
        script: None,
    }
}

fn running() -> RunningProgram {
    RunningProgram { pid: 41, name: None, exe: "/tmp/x".to_owned() }
}

fn tool() -> Tool {
    Tool { pid: 41, program: "nc".to_owned(), command: "nc -l 1".to_owned() }
}

/// At least one finding for each code that the schema describes.
fn samples() -> Vec<Evidence> {
    let dead = DeadRegistration {
        service: "commandport",
        product: "AirMobile IS",
        ended: None,
        reason: "gone",
        confidence: Confidence::Presumed,
        source: None,
        basis: Some("age"),
    };
    let quiet = QuietRegistration {
        service: "dali",
        assignee: None,
        registered: Some("2020-11-24"),
        modified: None,
        used_on: vec![Protocol::Tcp],
    };
    let severity = Severity::Warning;
    vec![
        Orphaned { registrations: vec![dead], rarely_used_by: vec!["x"] }.into(),
        Ephemeral { kernel_range: None, iana_dynamic: true, odd: None, kernel_would_pick: Some(true) }.into(),
        Unexplained::Unassigned { remark: None }.into(),
        Unexplained::Reserved { remark: Some("x") }.into(),
        Unexplained::Dormant { basis: StatusBasis::Obscure, registrations: vec![quiet] }.into(),
        Unexplained::OtherProtocol { registered_for: Protocol::Udp, services: vec!["rpki-rtr"] }.into(),
        Impostor {
            service: "ssh",
            expected: vec!["sshd"],
            found: vec![unknown_process()],
            why: "why",
            file: ReplaceableBy::Root,
            fitting_name: FittingName::None,
            code: None,
        }
        .into(),
        Unfamiliar {
            found: vec![unknown_process()],
            service: None,
            is_replaceable: true,
            replaceable_script: None,
            own_user: None,
            is_named_like_a_server: false,
            code: None,
            is_firewall_unknown: false,
        }
        .into(),
        HiddenProcess { pids: vec![41] }.into(),
        Masquerading {
            pid: 41,
            claims: "[kworker/0:1]".to_owned(),
            exe: "/tmp/x".to_owned(),
            by: Disguise::KernelThread,
        }
        .into(),
        ShellListener { tool: tool(), is_shell: false, severity }.into(),
        AdHoc { tool: tool(), used_for: "start", severity }.into(),
        DualUse { tool: tool(), kind: "tunnel", what: "A tunnel", attack: "T1572", severity }.into(),
        Exposed {
            service: "redis",
            title: "Redis",
            process: Some(ServingProcess { pid: 41, program: "redis-server".to_owned(), user: None }),
            relay: Some(Relay {
                pid: 42,
                program: "socat".to_owned(),
                to: Peer { address: [127, 0, 0, 1].into(), port: 6379 },
                restriction: Some(Restriction {
                    pid: 42,
                    by: RestrictedBy::Addresses,
                    file: Some("/etc/rinetd.conf".to_owned()),
                }),
            }),
            protocol: Protocol::Tcp,
            port: 6379,
            reach: None,
            exposure: Exposure::Any,
            is_loopback_address: false,
            outsider_gets: "Can read everything",
            authentication: "none-by-default",
            encryption: "optional",
            basis: DangerBasis::Configuration,
            configuration: Some(ConfiguredAccess {
                path: "/etc/redis/redis.conf".to_owned(),
                setting: "no requirepass".to_owned(),
                clients: AdmittedClients::Anyone,
            }),
            changed_configuration: Some("/etc/redis/redis.conf".to_owned()),
            remedy: "bind 127.0.0.1".to_owned(),
            attack: vec!["T1190"],
            severity,
        }
        .into(),
        Published {
            local: "tcp/0.0.0.0:8080".parse().unwrap(),
            to: Peer { address: [172, 17, 0, 2].into(), port: 80 },
            rule: "-A DOCKER -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80".to_owned(),
        }
        .into(),
        RunsFromMemory { found: vec![running()] }.into(),
        WritableExecutable {
            found: vec![WritableProgram { running: running(), script: None, writable: "/tmp".to_owned() }],
            severity: Severity::Critical,
        }
        .into(),
        DeletedExecutable {
            replaced: vec![running()],
            gone: vec![running()],
            scripts: vec![RunningScript { running: running(), script: "/srv/x.py".to_owned() }],
            severity,
        }
        .into(),
        Sniffer {
            pid: 41,
            program: "xyzzy".to_owned(),
            known_as: None,
            receives: "all".to_owned(),
            device: None,
            promiscuous: vec!["eth0".into()],
            attack: Some("T1040"),
            protocol: Protocol::Packet,
            severity,
        }
        .into(),
    ]
}

fn document(evidence: Evidence) -> Value {
    let finding = Finding::new(evidence);
    json!({"code": finding.flag().code(), "evidence": finding.evidence})
}

#[test]
fn evidence_has_no_more_and_no_less_than_the_schema_says() {
    let validator = validator("portolan-2-evidence.json");
    for document in samples().into_iter().map(document) {
        let code = &document["code"];
        holds(&validator, &code.to_string(), &document);
        let mut paths = Vec::new();
        objects(&document["evidence"], "/evidence".to_owned(), &mut paths);
        for path in paths {
            let mut more = document.clone();
            more.pointer_mut(&path).unwrap()["extra"] = json!(1);
            assert!(!validator.is_valid(&more), "{code}: {path} may have more");
            for key in document.pointer(&path).unwrap().as_object().unwrap().keys() {
                let mut less = document.clone();
                less.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(key);
                assert!(!validator.is_valid(&less), "{code}: {path} may lack {key}");
            }
        }
    }
}

#[test]
fn every_code_of_the_schema_has_a_sample() {
    let described = schema("portolan-2-evidence.json");
    let described: Vec<&str> = described["allOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["if"]["properties"]["code"]["const"].as_str().unwrap())
        .collect();
    let mut sampled: Vec<&str> =
        samples().into_iter().map(|evidence| Finding::new(evidence).flag().code()).collect();
    sampled.dedup();
    assert_eq!(described, sampled);
}
