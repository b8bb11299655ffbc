//! Properties of matching, over many policies and listeners.

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
    let holders = prop_oneof![
        Just(Some(vec![NGINX])),
        Just(Some(vec![NGINX, WORKER])),
        Just(Some(vec![(11, "/usr/bin/python3", "nobody")])),
        Just(Some(vec![(11, "", "root")])),
        Just(None),
    ];
    (local, holders).prop_map(|(local, holders)| match holders {
        Some(holders) => one(local, "root", &holders),
        None => observation(vec![socket(local, "root", Owner::Hidden)], vec![]),
    })
}

fn numbered(rules: &[String], from: usize) -> String {
    rules.iter().enumerate().map(|(n, rule)| format!("[[allow]]\nid = \"r{}\"\n{rule}", n + from)).collect()
}

/// The rule that decides, by asking each in turn: slow, and right.
fn plainly<'p>(policy: &'p Policy, observation: &Snapshot) -> Result<&'p str, bool> {
    let report = judge(observation.clone(), Registry::embedded());
    let listener = &report.entries[0];
    let mut maybe = false;
    for rule in &policy.allow {
        if matching::is_over(rule.expires, "2026-11-21".parse().unwrap())
            || matching::on_host(&rule.hosts, Some("web-1")) == matching::Answer::No
        {
            continue;
        }
        match matching::holds(rule, listener, observation) {
            matching::Answer::Yes => return Ok(&rule.id),
            matching::Answer::Maybe => maybe = true,
            matching::Answer::No => {}
        }
    }
    Err(maybe)
}

/// What the index says: the rule, or whether one may hold.
fn indexed(policy: &Policy, observation: &Snapshot) -> Result<String, bool> {
    let report = judge(observation.clone(), Registry::embedded());
    let index = index::Index::new(&policy.allow, observation, "2026-11-21".parse().unwrap());
    match index.decide(&report.entries[0], observation) {
        index::Said::Allowed(rule) => Ok(rule.id.clone()),
        index::Said::Undecided(_) => Err(true),
        index::Said::Refused { .. } => Err(false),
    }
}

proptest! {
    #[test]
    fn a_rule_after_a_match_changes_nothing(
        before in proptest::collection::vec(conditions(), 0..6),
        after in proptest::collection::vec(conditions(), 0..6),
        observation in listener(),
    ) {
        let short = read(&numbered(&before, 0)).unwrap();
        let long = read(&(numbered(&before, 0) + &numbered(&after, before.len()))).unwrap();
        if let Ok(rule) = indexed(&short, &observation) {
            prop_assert_eq!(indexed(&long, &observation), Ok(rule));
            prop_assert_eq!(told(&short, &observation), told(&long, &observation));
        }
    }

    #[test]
    fn the_index_leaves_nothing_out(
        rules in proptest::collection::vec(conditions(), 0..8),
        observation in listener(),
    ) {
        let policy = read(&numbered(&rules, 0)).unwrap();
        prop_assert_eq!(indexed(&policy, &observation), plainly(&policy, &observation).map(str::to_owned));
    }

    /// What a rule shadows never decides.
    #[test]
    fn shadowed_rules_decide_nothing(
        rules in proptest::collection::vec(conditions(), 0..8),
        observation in listener(),
    ) {
        let policy = read(&numbered(&rules, 0)).unwrap();
        let remarks = check(&policy, "2026-11-21".parse().unwrap());
        if let Ok(rule) = indexed(&policy, &observation) {
            let dead = remarks.iter().find(|remark| {
                remark.rule == rule && matches!(remark.kind, RemarkKind::Shadowed { .. } | RemarkKind::Impossible { .. } | RemarkKind::Expired { .. })
            });
            prop_assert_eq!(dead, None);
        }
    }

    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,200}|([a-z\\[\\]= \"0-9.\n]{0,200})") {
        let _ = read(&text);
    }
}
