//! Random rule sets of packet filters, in the syntax of nft and of iptables-restore.

use crate::binding::Random;

/// A rule set.
pub struct RuleSet {
    /// For `nft -f`; empty if it has none.
    pub nft: String,
    /// The tools that restore rules of iptables, each with its input.
    pub restored: Vec<(&'static str, String)>,
    /// Whether every rule has only features that are evaluated.
    pub is_understood: bool,
}

/// The values with which rules of one family compare.
struct Words {
    /// `ip` or `ip6`.
    name: &'static str,
    left: [&'static str; 3],
    networks: [&'static str; 4],
    ranges: [&'static str; 2],
    own: &'static str,
}

const FOUR: Words = Words {
    name: "ip",
    left: ["10.31.0.2", "10.32.0.77", "10.31.0.200"],
    networks: ["10.31.0.0/24", "10.32.0.0/25", "10.31.0.64/26", "10.0.0.0/8"],
    ranges: ["10.31.0.64-10.31.0.128", "10.32.0.1-10.32.0.99"],
    own: "10.31.0.1",
};
const SIX: Words = Words {
    name: "ip6",
    left: ["fd31::2", "fd32::77", "fd31::200"],
    networks: ["fd31::/64", "fd32::/121", "fd31::200/120", "fd00::/8"],
    ranges: ["fd31::2-fd31::99", "fd32::1-fd32::78"],
    own: "fd31::1",
};

/// Returns a random rule set; every tenth has a feature that is not evaluated.
pub fn rule_set(random: &mut Random) -> RuleSet {
    let is_understood = random.below(10) > 0;
    let mut made = RuleSet { nft: String::new(), restored: Vec::new(), is_understood };
    let kind = random.below(10);
    if kind < 5 || kind == 9 {
        made.nft = nft(random, is_understood);
    }
    if kind >= 5 {
        let on_nftables = random.below(2) == 0;
        for (words, tools) in [
            (&FOUR, ["iptables-nft-restore", "iptables-legacy-restore"]),
            (&SIX, ["ip6tables-nft-restore", "ip6tables-legacy-restore"]),
        ] {
            let tool = tools[usize::from(!on_nftables)];
            made.restored.push((tool, iptables(random, words, is_understood)));
        }
    }
    if random.below(2) == 0 {
        made.nft += "table ip translation {\n chain prerouting {\n  type nat hook prerouting priority dstnat\n  \
            tcp dport 9000 dnat to 172.31.0.2:80\n  tcp dport 9001 redirect to :7000\n }\n}\n";
    }
    made
}

fn nft(random: &mut Random, is_understood: bool) -> String {
    let tables: &[&str] = if random.below(3) == 0 { &["ip", "ip6"] } else { &["inet"] };
    let mut text = String::new();
    for family in tables {
        text += &nft_table(random, family, is_understood);
    }
    if random.below(4) == 0 {
        text += &nft_table(random, "inet", is_understood).replace("inet rules", "inet others");
    }
    text
}

fn nft_table(random: &mut Random, family: &str, is_understood: bool) -> String {
    let mut text = format!("table {family} rules {{\n");
    for words in [FOUR, SIX].iter().filter(|words| family == "inet" || words.name == family) {
        let (name, kind) = (words.name, if words.name == "ip" { "ipv4_addr" } else { "ipv6_addr" });
        text += &format!(
            " set nets_{name} {{\n  type {kind}\n  flags interval\n  auto-merge\n  elements = {{ {}, {} }}\n }}\n",
            words.networks[random.below(3)],
            words.left[1]
        );
        text += &format!(
            " set pairs_{name} {{\n  type {kind} . inet_service\n  flags interval\n  auto-merge\n  elements = {{ {} . 80-443, {} . 22 }}\n }}\n",
            words.networks[random.below(3)],
            words.left[1]
        );
    }
    text += " set ports {\n  type inet_service\n  flags interval\n  auto-merge\n  elements = { 22, 443-5432 }\n }\n";
    text += " set interfaces {\n  type ifname\n  elements = { \"left\", \"elsewhere\" }\n }\n";
    for name in ["two", "one"] {
        text += &format!(" chain {name} {{\n");
        for _ in 0..random.below(3) {
            text += &format!("  {}\n", nft_rule(random, family, Place::Called(name), is_understood));
        }
        text += " }\n";
    }
    text += " map verdicts {\n  type inet_service : verdict\n  elements = { 22 : accept, 80 : jump one, 5432 : drop }\n }\n";
    let policy = |random: &mut Random| random.one_of(&["accept", "drop"]);
    let mut bases = vec![
        ("input", "input", random.one_of(&["-10", "0", "10"]), policy(random)),
        ("forward", "forward", "0", policy(random)),
    ];
    if random.below(3) == 0 {
        bases.push(("input2", "input", random.one_of(&["-20", "20"]), policy(random)));
    }
    if random.below(3) == 0 {
        bases.push(("early", "prerouting", random.one_of(&["-300", "-150", "-50"]), "accept"));
    }
    let answers = match random.below(6) {
        0 => "ct state established accept",
        1 if !is_understood => "tcp sport 22 accept",
        _ => "",
    };
    if !answers.is_empty() {
        text += " chain output {\n  type filter hook output priority 0; policy drop\n";
        text += &format!("  meta l4proto ipv6-icmp accept\n  {answers}\n }}\n");
    }
    for (name, hook, priority, policy) in bases {
        text +=
            &format!(" chain {name} {{\n  type filter hook {hook} priority {priority}; policy {policy}\n");
        text += "  meta l4proto ipv6-icmp accept\n";
        if random.below(2) == 0 && hook != "prerouting" {
            text += random.one_of(&[
                "  ct state established,related accept\n",
                "  ct state vmap { established : accept, related : accept, invalid : drop }\n",
            ]);
        }
        let place = match (hook, priority) {
            ("prerouting", "-300") => Place::BeforeTracking,
            ("prerouting", _) => Place::Early,
            _ => Place::Filter,
        };
        for _ in 0..=random.below(4) {
            text += &format!("  {}\n", nft_rule(random, family, place, is_understood));
        }
        text += " }\n";
    }
    text + "}\n"
}

/// The place of a rule, on which its possible content depends.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Filter,
    Early,
    BeforeTracking,
    /// In a chain of this name.
    Called(&'static str),
}

fn nft_rule(random: &mut Random, family: &str, place: Place, is_understood: bool) -> String {
    let words = match family {
        "ip" => FOUR,
        "ip6" => SIX,
        _ if random.below(2) == 0 => FOUR,
        _ => SIX,
    };
    let name = words.name;
    let calls = !matches!(place, Place::Called("two")) && place != Place::BeforeTracking;
    let chain = if place == Place::Called("one") { "two" } else { random.one_of(&["one", "two"]) };
    if random.below(8) == 0 && calls {
        return match random.below(4) {
            0 => format!("tcp dport vmap {{ 22 : accept, 80-443 : drop, 5432 : jump {chain} }}"),
            1 => format!("iifname vmap {{ \"left\" : accept, \"right\" : jump {chain} }}"),
            2 if chain == "one" => "tcp dport vmap @verdicts".to_owned(),
            _ => format!(
                "{name} saddr . tcp dport vmap {{ {} . 80-443 : accept, {} . 22 : drop }}",
                words.networks[0], words.left[1]
            ),
        };
    }
    let mut rule = Vec::new();
    if random.below(3) == 0 {
        rule.push(
            random
                .one_of(&[
                    "iifname \"left\"",
                    "iifname != \"right\"",
                    "iifname \"le*\"",
                    "iifname { \"left\", \"r*\" }",
                    "iifname @interfaces",
                    "iif \"right\"",
                ])
                .to_owned(),
        );
    }
    if random.below(2) == 0 {
        rule.push(match random.below(7) {
            0 => format!("{name} saddr {}", random.one_of(&words.networks)),
            1 => format!("{name} saddr {}", random.one_of(&words.left)),
            2 => format!("{name} saddr {{ {}, {} }}", words.left[0], words.ranges[1]),
            3 => format!("{name} saddr != {}", random.one_of(&words.networks)),
            4 => format!("{name} saddr {}@nets_{name}", random.one_of(&["", "!= "])),
            5 => format!("{name} saddr {}", random.one_of(&words.ranges)),
            _ => format!("{name} saddr . tcp dport @pairs_{name}"),
        });
    }
    if random.below(3) > 0 {
        rule.push(
            random
                .one_of(&[
                    "tcp dport 80",
                    "tcp dport { 22, 443 }",
                    "tcp dport != 22",
                    "tcp dport 80-443",
                    "tcp dport @ports",
                    "udp dport { 53, 5000-5001 }",
                    "meta l4proto { tcp, udp } th dport { 22, 53 }",
                    "meta l4proto tcp",
                    "meta l4proto udp",
                    "tcp dport >= 443",
                ])
                .to_owned(),
        );
    }
    if random.below(3) == 0 && place != Place::BeforeTracking {
        rule.push(
            random
                .one_of(&[
                    "ct state new",
                    "ct state { new, untracked }",
                    "ct state established,related",
                    "ct state != new",
                    "ct state invalid",
                    "ct direction original",
                ])
                .to_owned(),
        );
    }
    if random.below(5) == 0 {
        rule.push(match random.below(6) {
            0 => "fib daddr type local".to_owned(),
            1 => format!("{name} daddr {}", words.own),
            2 => "meta mark 0".to_owned(),
            3 => "tcp flags syn / fin,syn,rst,ack".to_owned(),
            4 => "meta pkttype host".to_owned(),
            _ => "meta nfproto ipv4".to_owned(),
        });
    }
    if !is_understood && random.below(2) == 0 {
        rule.push(
            random
                .one_of(&[
                    "meta length > 20",
                    "tcp sport 1024-65535",
                    "udp sport 1-9",
                    "meta cpu 0-99",
                    "th sport != 1",
                ])
                .to_owned(),
        );
    }
    if random.below(8) == 0 {
        rule.push("counter".to_owned());
    }
    rule.push(match random.below(12) {
        0..=3 => "accept".to_owned(),
        4..=6 => "drop".to_owned(),
        7 if matches!(place, Place::Filter) => random
            .one_of(&[
                "reject",
                "meta nfproto ipv4 reject",
                "meta nfproto ipv6 reject",
                "reject with tcp reset",
            ])
            .to_owned(),
        8 | 9 if calls => format!("{} {chain}", random.one_of(&["jump", "jump", "goto"])),
        10 => "return".to_owned(),
        11 => "counter".to_owned(),
        _ => "limit rate 50000/second accept".to_owned(),
    });
    rule.join(" ")
}

fn iptables(random: &mut Random, words: &Words, is_understood: bool) -> String {
    let policy = |random: &mut Random| random.one_of(&["ACCEPT", "DROP"]);
    let mut text = format!(
        "*filter\n:INPUT {}\n:FORWARD {}\n:OUTPUT ACCEPT\n:ONE -\n:TWO -\n",
        policy(random),
        policy(random)
    );
    let icmp = |chain: &str| format!("-A {chain} -p ipv6-icmp -j ACCEPT\n");
    for chain in ["INPUT", "FORWARD"] {
        if words.name == "ip6" {
            text += &icmp(chain);
        }
        if random.below(2) == 0 {
            text += &format!("-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
        }
        for _ in 0..=random.below(4) {
            text += &iptables_rule(random, words, chain, is_understood);
        }
    }
    for chain in ["ONE", "TWO"] {
        for _ in 0..random.below(3) {
            text += &iptables_rule(random, words, chain, is_understood);
        }
    }
    text += "COMMIT\n";
    if random.below(3) == 0 {
        text += "*mangle\n:PREROUTING ACCEPT\n";
        if words.name == "ip6" {
            text += &icmp("PREROUTING");
        }
        text += &iptables_rule(random, words, "PREROUTING", is_understood);
        text += "COMMIT\n";
    }
    text
}

fn iptables_rule(random: &mut Random, words: &Words, chain: &str, is_understood: bool) -> String {
    let mut rule = vec![format!("-A {chain}")];
    if random.below(3) == 0 {
        rule.push(random.one_of(&["-i left", "! -i right", "-i le+", "-i elsewhere", "! -i r+"]).to_owned());
    }
    if random.below(2) == 0 {
        rule.push(match random.below(5) {
            0 => format!("-s {}", random.one_of(&words.networks)),
            1 => format!("-s {}", random.one_of(&words.left)),
            2 => format!("! -s {}", random.one_of(&words.networks)),
            3 => format!("-m iprange --src-range {}", random.one_of(&words.ranges)),
            _ => format!("-m iprange ! --src-range {}", random.one_of(&words.ranges)),
        });
    }
    if random.below(3) > 0 {
        rule.push(
            random
                .one_of(&[
                    "-p tcp --dport 80",
                    "-p tcp -m multiport --dports 22,443,5000:6000",
                    "-p tcp -m multiport ! --dports 22,80",
                    "-p tcp ! --dport 22",
                    "-p udp --dport 53",
                    "-p udp -m multiport --dports 53,5000",
                    "-p tcp --dport 80:443",
                    "-p tcp --syn",
                    "! -p udp",
                    "-p tcp ! --syn",
                ])
                .to_owned(),
        );
    }
    if random.below(3) == 0 {
        rule.push(
            random
                .one_of(&[
                    "-m conntrack --ctstate NEW",
                    "-m conntrack ! --ctstate NEW",
                    "-m state --state INVALID",
                    "-m conntrack --ctstate ESTABLISHED",
                ])
                .to_owned(),
        );
    }
    if random.below(5) == 0 {
        rule.push(match random.below(4) {
            0 => "-m addrtype --dst-type LOCAL".to_owned(),
            1 => "-m pkttype --pkt-type unicast".to_owned(),
            2 => "-m mark --mark 0x0/0xff".to_owned(),
            _ => format!("-d {}", words.own),
        });
    }
    if !is_understood && random.below(2) == 0 {
        rule.push(
            random
                .one_of(&[
                    "-m length --length 20:2000",
                    "-m statistic --mode nth --every 1 --packet 0",
                    "-m cpu --cpu 0",
                ])
                .to_owned(),
        );
    }
    let calls = chain != "TWO" && chain != "PREROUTING";
    rule.push(match random.below(11) {
        0..=3 => "-j ACCEPT".to_owned(),
        4..=5 => "-j DROP".to_owned(),
        6 if chain != "PREROUTING" => "-j REJECT".to_owned(),
        7 | 8 if calls => {
            format!("{} {}", random.one_of(&["-j", "-j", "-g"]), if chain == "ONE" { "TWO" } else { "ONE" })
        }
        9 => "-j RETURN".to_owned(),
        10 => String::new(),
        _ => "-m limit --limit 10000/s --limit-burst 10000 -j ACCEPT".to_owned(),
    });
    rule.join(" ") + "\n"
}
