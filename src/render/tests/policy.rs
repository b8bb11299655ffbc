//! A printed policy parses to the same policy, and a draft allows only the current listeners.

use std::collections::BTreeSet;

use jiff::civil::Date;
use proptest::collection::vec;
use proptest::prelude::*;
use snapbox::str;

use super::super::{fixtures, is_unsafe, policy as policy_text};
use crate::findings::{FindingFamily, Flag};
use crate::judge::audit::Audit;
use crate::judge::judge;
use crate::model::*;
use crate::policy::Namespaces;
use crate::policy::*;
use crate::registry::Registry;

fn read(text: &str) -> Policy {
    let file = Included { name: "p".to_owned(), identity: "p".to_owned(), bytes: text.as_bytes().to_vec() };
    parse(&file, &mut |_, _| Err("none".to_owned())).unwrap_or_else(|trouble| panic!("{trouble}\n{text}"))
}

fn policy_text(policy: &Policy) -> String {
    fixtures::text(|w| policy_text::policy(policy, w))
}

fn placeless(mut policy: Policy) -> Policy {
    policy.files.clear();
    policy.allow.iter_mut().for_each(|rule| rule.at = Position::default());
    policy.rules.iter_mut().for_each(|rule| rule.at = Position::default());
    policy
}

fn word() -> impl Strategy<Value = String> {
    "[a-z]{1,4}|\\PC{1,6}|[\u{0}-\u{ff}\u{202e}\u{e0001}\"\\\\]{1,6}"
}

fn globs() -> impl Strategy<Value = Vec<Glob>> {
    vec(word().prop_filter_map("a pattern", |text| Glob::new(&text).ok()), 0..3)
}

fn dates() -> impl Strategy<Value = Option<Date>> {
    proptest::option::of(
        (1..=9999_i16, 1..=12_i8, 1..=28_i8).prop_filter_map("a date", |(y, m, d)| Date::new(y, m, d).ok()),
    )
}

fn some<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = Vec<T>> + use<T> {
    proptest::sample::subsequence(all.to_vec(), 0..=all.len().min(3))
}

fn rules() -> impl Strategy<Value = AllowRule> {
    let port = prop_oneof![
        (1..=u16::MAX, 0..9_u16)
            .prop_map(|(low, more)| Ports::Range(PortRange { low, high: low.saturating_add(more) })),
        Just(Ports::Ephemeral),
    ];
    let address = prop_oneof![
        any::<u32>().prop_map(|bits| Network::single(std::net::Ipv4Addr::from(bits).into())),
        any::<u128>().prop_map(|bits| Network::single(std::net::Ipv6Addr::from(bits).into())),
        (any::<u32>(), 0..=32_u8)
            .prop_map(|(bits, n)| format!("{}/{n}", std::net::Ipv4Addr::from(bits)).parse().unwrap()),
    ];
    let program = prop_oneof![
        Just(ExecutablePattern::Kernel),
        word().prop_filter_map("a path", |text| ExecutablePattern::named(&format!("/{text}")).ok()),
    ];
    let user = prop_oneof![any::<u32>().prop_map(User::Number), word().prop_map(|text| User::named(&text))];
    let netns = prop_oneof![
        Just(Namespaces::Own),
        Just(Namespaces::Unnamed),
        word().prop_filter_map("a name", |text| {
            Glob::new(&text)
                .ok()
                .filter(|_| !["own", "unnamed"].contains(&text.as_str()))
                .map(Namespaces::Named)
        }),
    ];
    let accepted: Vec<Flag> = Flag::all().filter(|flag| flag.family() != FindingFamily::Policy).collect();
    let hosts = globs().prop_map(|globs| {
        globs
            .iter()
            .filter_map(|glob| Glob::new(&glob.as_str().to_ascii_lowercase()).ok())
            .collect::<Vec<_>>()
    });
    let first = (
        vec(port, 0..3),
        some(&Protocol::WITH_PORTS),
        vec(address, 0..3),
        some(&Exposure::ALL),
        vec(program, 0..3),
    );
    let second = (vec(user, 0..3), hosts, globs(), globs(), globs(), vec(netns, 0..3));
    let third =
        (proptest::option::of(word()), proptest::option::of(word()), dates(), some(&accepted), any::<bool>());
    (first, second, third).prop_map(|(first, second, third)| AllowRule {
        id: String::new(),
        at: Position::default(),
        ports: first.0,
        protocols: first.1,
        addresses: first.2,
        exposures: first.3,
        executables: first.4,
        runs: Vec::new(),
        users: second.0,
        hosts: second.1,
        devices: second.2,
        units: second.3,
        containers: second.4,
        namespaces: second.5,
        reason: third.0,
        owner: third.1,
        expires: third.2,
        accept: third.3,
        required: third.4,
    })
}

fn grades() -> impl Strategy<Value = SeverityRule> {
    let severity = proptest::option::of(proptest::sample::select(Severity::ALL.to_vec()));
    let codes = proptest::sample::subsequence(Flag::all().collect::<Vec<_>>(), 1..4);
    (severity, codes, word(), proptest::option::of(word()), dates()).prop_map(
        |(severity, codes, reason, owner, expires)| {
            let (id, at, hosts) = (String::new(), Position::default(), Vec::new());
            SeverityRule { id, at, hosts, codes, severity, reason, owner, expires }
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    (vec(rules(), 0..5), vec(grades(), 0..3)).prop_map(|(mut allow, mut rules)| {
        allow.iter_mut().enumerate().for_each(|(n, rule)| rule.id = format!("a{n}"));
        rules.iter_mut().enumerate().for_each(|(n, rule)| rule.id = format!("r{n}"));
        Policy { allow, rules, files: Vec::new() }
    })
}

proptest! {
    #[test]
    fn a_printed_policy_parses_to_the_same_rules(policy in policies()) {
        let text = policy_text(&policy);
        prop_assert_eq!(text.chars().find(|c| is_unsafe(*c) && *c != '\n'), None);
        let again = read(&text);
        prop_assert_eq!(placeless(again.clone()), policy);
        prop_assert_eq!(policy_text(&again), text);
    }
}

const EXECUTABLES: [&str; 4] = ["/usr/sbin/a", "/usr/sbin/[b]*", "/opt/x y/\"c\\", "/opt/\u{202e}d\u{fffd}"];

/// A listener: its port, whether it is TCP, and the numbers of its address, program and user.
type Spot = (u16, bool, usize, usize, u32);

fn spots(most: usize) -> impl Strategy<Value = BTreeSet<Spot>> {
    let spot = (80_u16..84, any::<bool>(), 0..3_usize, 0..EXECUTABLES.len(), 0..2_u32);
    proptest::collection::btree_set(spot, 1..most)
}

fn observed(spots: impl IntoIterator<Item = Spot>) -> Snapshot {
    let mut snapshot = fixtures::empty();
    for (pid, (port, tcp, address, exe, uid)) in (100..).zip(spots) {
        let address = ["127.0.0.1", "0.0.0.0", "[::]"][address];
        let local = format!("{}/{address}:{port}", if tcp { "tcp" } else { "udp" });
        let mut socket = fixtures::socket(&local, Owner::Held(vec![pid].into()));
        socket.attributes = SocketAttributes { uid: Some(uid), ..SocketAttributes::default() }.into();
        snapshot.sockets.push(socket);
        snapshot.processes.push(Process {
            name: Some("x".to_owned()),
            exe: Some(Exe {
                path: EXECUTABLES[exe].to_owned(),
                state: ExeState::Present,
                open_directories: None,
            }),
            uid: Some(uid),
            ..Process::unknown(pid)
        });
    }
    snapshot
}

fn drafted(snapshot: &Snapshot) -> String {
    let report = judge(snapshot.clone(), Registry::embedded());
    fixtures::text(|w| policy_text::draft(&draft(&report), snapshot, w))
}

fn codes(policy: &Policy, snapshot: &Snapshot) -> Vec<&'static str> {
    let report = judge(snapshot.clone(), Registry::embedded());
    let mut audit = Audit::of(&report);
    apply(policy, &mut audit);
    let severe = audit.findings.iter().filter(|found| found.finding.severity >= Severity::Warning);
    severe.map(|found| found.finding.flag().code()).collect()
}

proptest! {
    /// Least privilege: a draft allows the current sockets, in any order, and no other socket.
    #[test]
    fn a_draft_allows_what_is_there_and_nothing_else(there in spots(9), probe in spots(6)) {
        let text = drafted(&observed(there.clone()));
        prop_assert_eq!(in_force(&drafted(&observed(there.iter().rev().copied()))), in_force(&text));
        prop_assert_eq!(text.chars().find(|c| is_unsafe(*c) && *c != '\n'), None);
        let policy = read(&text);
        // A flagged listener has no active rule in the draft, so the audit reports it as unexpected.
        let flagged = flagged(&observed(there.clone()));
        let unexpected = codes(&policy, &observed(there.clone())).into_iter().filter(|code| *code == "unexpected");
        prop_assert_eq!(unexpected.count(), flagged.len(), "{}", text);
        for spot in probe {
            let refused = codes(&policy, &observed([spot])).contains(&"unexpected");
            let allowed = there.contains(&spot) && !flagged.contains(&place(spot));
            prop_assert_eq!(refused, !allowed, "{:?}\n{}", spot, text);
        }
    }
}

/// Returns the draft without its comments, which contain pids.
fn in_force(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// The protocol, address, port, program and user of a spot, as its listener shows them.
type SpotPlace = (bool, String, u16, String, Option<u32>);

fn place((port, tcp, address, exe, uid): Spot) -> SpotPlace {
    (tcp, ["127.0.0.1", "0.0.0.0", "::"][address].to_owned(), port, EXECUTABLES[exe].to_owned(), Some(uid))
}

fn flagged(snapshot: &Snapshot) -> BTreeSet<SpotPlace> {
    let report = judge(snapshot.clone(), Registry::embedded());
    let flagged = draft(&report).flagged.into_iter().map(|judged| {
        let (local, process) = (&judged.socket.local, &judged.processes[0]);
        let exe = process.exe.as_ref().unwrap().path.clone();
        (local.protocol == Protocol::Tcp, local.address.to_string(), local.port, exe, process.uid)
    });
    flagged.collect()
}

fn is_rule_line(text: &str) -> bool {
    let key = text.split_once(" = ").map(|(key, _)| key);
    text == "[[allow]]" || key.is_some_and(|key| key.bytes().all(|b| b.is_ascii_lowercase()))
}

/// A listener with a finding at or above warning gets a rule that allows nothing until the user uncomments the rule.
#[test]
fn drafted_rules_for_flagged_listeners_are_commented_out() {
    let mut snapshot = observed([(80, true, 1, 0, 0)]);
    snapshot.processes.push(Process {
        name: Some("x".to_owned()),
        exe: Some(Exe { path: "/tmp/evil".to_owned(), state: ExeState::Deleted, open_directories: None }),
        uid: Some(7),
        ..Process::unknown(7)
    });
    snapshot.sockets.push(fixtures::socket("tcp/0.0.0.0:22", Owner::Held(vec![7].into())));
    let report = judge(snapshot.clone(), Registry::embedded());
    let draft = draft(&report);
    let summary = policy_text::summary(&draft);
    assert!(
        summary.starts_with("1 rule written; 1 listener needs your decision: tcp 0.0.0.0:22 x (impostor"),
        "{summary}"
    );
    let text = drafted(&snapshot);
    assert!(text.contains("# DECIDE: ") && text.contains("# [[allow]]"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("accept")), "{text}");
    assert!(codes(&read(&text), &snapshot).contains(&"unexpected"), "{text}");

    // After the user uncomments the rule, it accepts the findings. The check then requires a reason, and the audit
    // lists the accepted findings.
    let decided: String = text
        .lines()
        .map(|line| {
            format!("{}\n", line.strip_prefix("# ").filter(|rest| is_rule_line(rest)).unwrap_or(line))
        })
        .collect();
    let policy = read(&decided);
    let remarks = check(&policy, "2026-11-21".parse().unwrap());
    assert!(
        remarks
            .iter()
            .any(|r| r.rule == "evil-22" && matches!(r.kind, RemarkKind::AcceptsWithoutReason { .. })),
        "{remarks:?}"
    );
    let mut audit = Audit::of(&report);
    apply(&policy, &mut audit);
    let accepted = audit.accepted_by_rule();
    assert_eq!(
        (accepted[0].severity, accepted[0].rule, accepted[0].reason),
        (Severity::Critical, "evil-22", None)
    );
    assert!(accepted[0].codes.contains("impostor"), "{accepted:?}");
    let style = super::super::Style::default();
    let table =
        fixtures::text(|w| super::super::audit::table::document(&audit, Severity::Warning, &style, w));
    assert!(
        table.contains("Accepted by policy: ") && table.contains(", rule evil-22, reason: none given"),
        "{table}"
    );
    let json = fixtures::text(|w| super::super::audit::json::document(&audit, Severity::Warning, w));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["accepted"][0]["rule"], "evil-22", "{json:#}");
}

#[test]
fn a_draft_is_written_for_its_reader() {
    let mut snapshot =
        observed([(80, true, 1, 0, 0), (80, true, 2, 0, 0), (81, true, 1, 0, 0), (81, true, 2, 0, 0)]);
    let mut add = |local: &str, owner: Owner, exe: &str, cmdline: &[&str]| {
        for pid in owner.pids() {
            snapshot.processes.push(Process {
                name: Some("x".to_owned()),
                exe: Some(Exe { path: exe.to_owned(), state: ExeState::Present, open_directories: None }),
                user: Some("web".to_owned()),
                uid: Some(33),
                unit: Some("x.service".to_owned()),
                cmdline: cmdline.iter().map(ToString::to_string).collect(),
                ..Process::unknown(*pid)
            });
        }
        let socket = fixtures::socket(local, owner);
        let attributes =
            SocketAttributes { uid: Some(33), user: Some("web".to_owned()), ..SocketAttributes::default() };
        snapshot.sockets.push(Socket { attributes: attributes.into(), ..socket });
    };
    add("tcp/127.0.0.1:22", Owner::Held(vec![7].into()), "/usr/bin/python3.11", &["python3", "x.py"]);
    add("tcp/127.0.0.1:40001", Owner::Held(vec![8].into()), "/usr/bin/d", &[]);
    add("tcp/127.0.0.1:40003", Owner::Held(vec![8].into()), "/usr/bin/d", &[]);
    // The kernel does not hand out even ports here, so the program chose this port.
    add("tcp/127.0.0.1:40002", Owner::Held(vec![8].into()), "/usr/bin/d", &[]);
    add("udp/0.0.0.0:51820", Owner::Kernel, "", &[]);
    add("tcp/0.0.0.0:25", Owner::Hidden, "", &[]);
    add("tcp/0.0.0.0:26", Owner::Held(vec![9].into()), "", &[]);
    snapshot.processes.dedup_by_key(|process| process.pid);
    let text = drafted(&snapshot);
    fixtures::assert_snapshot(
        &text,
        str![[r##"
# Policy for box, drafted from its listeners (portolan policy init).
# The first rule that matches decides. A listener that no rule allows is a finding: `unexpected`.
# Delete the rules that you do not want. Delete `required = true` if a service need not always run.
# Add to each remaining rule:   reason = "..."   owner = "..."   expires = 2027-12-31
#
# INCOMPLETE: not everything could be seen. A listener that could not be read has no rule.
#   no rule for tcp 0.0.0.0:25, owner (hidden)
#   no rule for tcp 0.0.0.0:26: a process was not read completely, the path of its program or script is not reliable (in a chroot or mount namespace, or under a mount), or a path or name cannot be written as a pattern
#   Run as root to include these listeners.

schema = "portolan.policy/1"

# NOTICE impostor: python3.11 [Python application] (pid 7) listens on the port of ssh, but is not a known server of that service (sshd, dropbear, tinysshd, sslh, sslh-select, systemd and 14 more). An impostor collects passwords or gives a shell. If ssh.socket is used, systemd owns the socket.
# DECIDE: stop this listener, or uncomment the rule and add a reason. Until then, the rule allows nothing.
# registered services: ssh
# [[allow]]
# id = "python3.11-22"
# port = 22
# protocol = "tcp"
# address = "127.0.0.1"
# executable = "/usr/bin/python3.11"
# runs = "x.py"
# user = "web"
# unit = "x.service"
# accept = "impostor"
# required = true

# registered services: http, www and www-http
[[allow]]
id = "a-80"
port = [80, 81]
protocol = "tcp"
address = ["0.0.0.0", "::"]
executable = "/usr/sbin/a"
user = 0
required = true

[[allow]]
id = "d-40002"
port = 40002
protocol = "tcp"
address = "127.0.0.1"
executable = "/usr/bin/d"
user = "web"
unit = "x.service"
required = true

[[allow]]
id = "kernel-51820"
port = 51820
protocol = "udp"
address = "0.0.0.0"
executable = "kernel"
user = "web"
required = true

# Listens on 40001 and 40003 now. The kernel probably picks these ports at each start, so the rule allows this program
# and user any ephemeral port. If a port is fixed, write its number instead.
[[allow]]
id = "d-ephemeral"
port = "ephemeral"
protocol = "tcp"
address = "127.0.0.1"
executable = "/usr/bin/d"
user = "web"
unit = "x.service"
required = true

"##]],
    );
}
