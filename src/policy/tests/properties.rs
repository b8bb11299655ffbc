//! Checks properties of matching, with many random policies and listeners.

use proptest::prelude::*;

use super::*;

fn conditions() -> impl Strategy<Value = String> {
    let port = prop_oneof![
        Just(String::new()),
        (79_u16..83).prop_map(|p| format!("port = {p}\n")),
        Just("port = [80, \"100-60000\"]\n".to_owned()),
        Just("port = \"ephemeral\"\n".to_owned()),
    ];
    let rest = proptest::sample::subsequence(
        vec![
            "protocol = \"tcp\"\n",
            "address = \"127.0.0.0/8\"\n",
            "exposure = \"any\"\n",
            "executable = \"/usr/sbin/nginx\"\n",
            "user = [\"root\", \"www-data\"]\n",
            "unit = \"x.service\"\n",
            "hosts = \"db-*\"\n",
            "expires = 2026-01-01\n",
            "accept = \"impostor\"\n",
        ],
        0..3,
    );
    (port, rest).prop_map(|(port, rest)| port + &rest.concat())
}

fn listener() -> impl Strategy<Value = Snapshot> {
    let local = prop_oneof![
        Just("tcp/127.0.0.1:80"),
        Just("tcp/0.0.0.0:81"),
        Just("udp/127.0.0.1:80"),
        Just("udp/0.0.0.0:50000"),
    ];
    let servers = prop_oneof![
        Just(Some(vec![NGINX])),
        Just(Some(vec![NGINX, WORKER])),
        Just(Some(vec![(11, "/usr/bin/python3", "nobody")])),
        Just(Some(vec![(11, "", "root")])),
        Just(None),
    ];
    (local, servers).prop_map(|(local, servers)| match servers {
        Some(servers) => one(local, "root", &servers),
        None => snapshot_of(vec![socket(local, "root", Owner::Hidden)], vec![]),
    })
}

fn numbered(rules: &[String], from: usize) -> String {
    rules.iter().enumerate().map(|(n, rule)| format!("[[allow]]\nid = \"r{}\"\n{rule}", n + from)).collect()
}

/// Returns the ID of the rule that allows the listener. If there is none, the error is true if a rule may allow the
/// listener.
fn decided(policy: &Policy, snapshot: &Snapshot) -> Result<String, bool> {
    let report = judge(snapshot.clone(), Registry::embedded());
    let rules = apply::rules_on_host(&policy.allow, snapshot, "2026-11-21".parse().unwrap());
    match apply::decide(&rules, &report.entries[0], snapshot) {
        apply::Decision::Allowed(rule) => Ok(rule.id.clone()),
        apply::Decision::Undecided(_) => Err(true),
        apply::Decision::Refused { .. } => Err(false),
    }
}

proptest! {
    #[test]
    fn a_rule_after_a_match_changes_nothing(
        before in proptest::collection::vec(conditions(), 0..6),
        after in proptest::collection::vec(conditions(), 0..6),
        snapshot in listener(),
    ) {
        let short = read(&numbered(&before, 0)).unwrap();
        let long = read(&(numbered(&before, 0) + &numbered(&after, before.len()))).unwrap();
        if let Ok(rule) = decided(&short, &snapshot) {
            prop_assert_eq!(decided(&long, &snapshot), Ok(rule));
            prop_assert_eq!(printed(&short, &snapshot), printed(&long, &snapshot));
        }
    }

    #[test]
    fn shadowed_rules_decide_nothing(
        rules in proptest::collection::vec(conditions(), 0..8),
        snapshot in listener(),
    ) {
        let policy = read(&numbered(&rules, 0)).unwrap();
        let remarks = check(&policy, "2026-11-21".parse().unwrap());
        if let Ok(rule) = decided(&policy, &snapshot) {
            let dead = remarks.iter().find(|remark| {
                remark.rule == rule && matches!(remark.kind, RemarkKind::Shadowed { .. } | RemarkKind::Impossible { .. } | RemarkKind::Expired { .. })
            });
            prop_assert_eq!(dead, None);
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}|([a-z\\[\\]= \"0-9.\n]{0,200})") {
        let _ = read(&text);
    }
}
