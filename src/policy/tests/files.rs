//! Checks how policy files are read: errors with their position, includes, and remarks.

use super::*;

#[test]
fn bad_policies_say_where_and_why() {
    let allow = |more: &str| format!("[[allow]]\nid = \"a\"\n{more}\n");
    let rule = |more: &str| format!("[[rule]]\nid = \"a\"\n{more}\n");
    for (text, at, why) in [
        ("x = 1".to_owned(), "2:1", "no such key: \"x\""),
        ("allwo = 1".to_owned(), "2:1", "did you mean allow?"),
        ("x = ".to_owned(), "2:", "not TOML"),
        ("[[allow]]\n[[allow".to_owned(), "3:", "not TOML"),
        ("allow = 1".to_owned(), "2:9", "[[allow]]"),
        ("allow = [1]".to_owned(), "2:10", "[[allow]]"),
        ("[allow]\nid = \"a\"".to_owned(), "2:1", "[[allow]]"),
        ("[[allow]]\nport = 80".to_owned(), "2:1", "without an id"),
        ("[[allow]]\nid = \"\"".to_owned(), "3:6", "the text is empty"),
        ("[[allow]]\nid = \"a b\"".to_owned(), "3:6", "bad id"),
        (allow("prot = 80"), "4:1", "did you mean port?"),
        (allow("port = 0"), "4:8", "no such port: 0"),
        (allow("port = 65536"), "4:8", "no such port: 65536"),
        (allow("port = -1"), "4:8", "no such port: -1"),
        (allow("port = 99999999999999999999999"), "4:8", "no such port"),
        (allow("port = 80.5"), "4:8", "not a decimal number"),
        (allow("port = [80, \"http\"]"), "4:13", "no such port: \"http\""),
        (allow("port = \"8100-8000\""), "4:8", "ends before it begins"),
        (allow("port = \"0-10\""), "4:8", "no such port"),
        (allow("port = \"+80\""), "4:8", "no such port"),
        (allow("port = []"), "4:8", "empty list"),
        (allow("protocol = \"icmp\""), "4:12", "tcp, udp"),
        (allow("address = \"10.0.0.0/33\""), "4:11", "0 to 32"),
        (allow("address = \"localhost\""), "4:11", "not an address"),
        (allow("exposure = \"lopback\""), "4:12", "did you mean loopback?"),
        (allow("executable = \"/usr/[a\""), "4:14", "bad pattern \"/usr/[a\": unclosed"),
        (allow("executable = [\"/x\", \"nginx\"]"), "4:21", "\"**/nginx\" for any directory"),
        (allow("executable = \"é[\""), "4:14", "is not an absolute path"),
        (allow("unit = \"[z-a]\""), "4:8", "invalid range"),
        (allow("user = -1"), "4:8", "no such user id"),
        (allow("user = true"), "4:8", "a text in quotes"),
        (allow("expires = \"soon\""), "4:11", "2027-01-31"),
        (allow("expires = 2027-01-01T00:00:00Z"), "4:11", "2027-01-31"),
        (allow("expires = \"2027-02-30\""), "4:11", "2027-01-31"),
        (allow("accept = [\"impostor\", \"imposter\"]"), "4:23", "did you mean impostor?"),
        (allow("accept = \"unexpected\""), "4:10", "cannot be accepted"),
        (allow("required = \"yes\""), "4:12", "true or false"),
        (allow("reason = 1"), "4:10", "a whole number"),
        (allow("port = 80\nport = 81"), "5:1", "not TOML: duplicate key"),
        (allow("") + &allow(""), "5:1", "the id \"a\" is already used by the rule at p.toml:2:1"),
        (
            allow("") + &rule("code = \"orphaned\"\nseverity = \"off\"\nreason = \"r\""),
            "5:1",
            "is already used by the rule",
        ),
        (rule("severity = \"off\"\nreason = \"r\""), "2:1", "no code"),
        (rule("code = \"orphaned\"\nreason = \"r\""), "2:1", "no severity"),
        (rule("code = \"orphaned\"\nseverity = \"off\""), "2:1", "no reason"),
        (rule("code = \"orphaned\"\nseverity = \"none\"\nreason = \"r\""), "5:12", "write off, info"),
        (rule("code = \"orphane\"\nseverity = \"off\"\nreason = \"r\""), "4:8", "did you mean orphaned?"),
        (rule("port = 1"), "4:1", "no such key"),
        ("include = \"x.toml\"".to_owned(), "2:11", "include \"x.toml\": no file"),
        ("include = 1".to_owned(), "2:11", "a text in quotes"),
    ] {
        let error = read(&text).expect_err(&text).to_string();
        assert!(error.starts_with(&format!("p.toml:{at}")) && error.contains(why), "{text}: {error}");
        assert!(!error.contains('\n'), "{error:?}");
    }
    let bare = |text: &[u8]| {
        let file = Included { bytes: text.to_vec(), ..included("p.toml", "") };
        parse(&file, &mut |_, _| Err(String::new())).unwrap_err().to_string()
    };
    assert_eq!(bare(b""), "p.toml:1:1: no schema: write schema = \"portolan.policy/1\"");
    assert!(
        bare(b"schema = \"portolan.policy/2\"")
            .starts_with("p.toml:1:10: unknown schema \"portolan.policy/2\"")
    );
    // Values that need much more memory than the file are refused before they are parsed.
    for text in ["a = [".to_owned() + &"0,".repeat(300_000), "a = ".to_owned() + &"[".repeat(300_000)] {
        assert!(bare(text.as_bytes()).starts_with("p.toml:1:1: too many values for a policy"), "{text:.20}");
    }
    assert!(bare(b"schema = 1\n\xff").starts_with("p.toml:2:1: the file is not UTF-8"));
}

/// Parses the first of these files, with the others as included files.
fn files(files: &[(&str, &str)]) -> Result<Policy, PolicyError> {
    let files: HashMap<&str, String> =
        files.iter().map(|(name, text)| (*name, format!("schema = \"portolan.policy/1\"\n{text}"))).collect();
    let mut read =
        |_: &str, name: &str| files.get(name).map(|text| included(name, text)).ok_or("gone".to_owned());
    parse(&included("top", &files["top"]), &mut read)
}

#[test]
fn includes_come_last_and_once() {
    let rule = |id: &str| format!("[[allow]]\nid = \"{id}\"\n");
    let policy = files(&[
        ("top", &format!("include = [\"a\", \"b\"]\n{}", rule("top"))),
        ("a", &format!("include = \"c\"\n{}", rule("a"))),
        ("b", &rule("b")),
        ("c", &rule("c")),
    ])
    .unwrap();
    let ids: Vec<&str> = policy.allow.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["top", "a", "c", "b"]);
    assert_eq!(policy.allow[2].at.to_string(), "c:2:1");
    for (all, why) in [
        (vec![("top", "include = \"top\"")], "top:2:11: include \"top\": the file includes itself"),
        (
            vec![("top", "include = \"a\""), ("a", "include = \"top\"")],
            "a:2:11: include \"top\": the file includes itself",
        ),
        (
            vec![("top", "include = [\"a\", \"a\"]"), ("a", "")],
            "top:2:17: include \"a\": the file is included already",
        ),
        (vec![("top", "include = \"a\""), ("a", "x = 1")], "a:2:1: no such key"),
    ] {
        let error = files(&all).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
    let many: Vec<(String, String)> =
        (0..70).map(|n| (format!("f{n}"), format!("include = \"f{}\"", n + 1))).collect();
    let mut chain: Vec<(&str, &str)> =
        many.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    chain.push(("top", "include = \"f0\""));
    assert!(files(&chain).unwrap_err().what.contains("too many files (the limit is 64)"));
}

#[test]
fn remarks() {
    let rules = |text: &str| {
        let policy = read(text).unwrap();
        let remarks = check(&policy, "2026-11-21".parse().unwrap());
        remarks.into_iter().map(|r| format!("{} {:?}", r.rule, r.kind)).collect::<Vec<_>>()
    };
    let two = |first: &str, second: &str| {
        rules(&format!("[[allow]]\nid = \"a\"\n{first}\n[[allow]]\nid = \"b\"\n{second}\n"))
    };
    let shadowed = |first: &str, second: &str| two(first, second).iter().any(|r| r.starts_with("b Shadowed"));
    for (first, second, is) in [
        ("port = 80", "port = 80\nuser = \"root\"", true),
        ("port = 80\nuser = \"root\"", "port = 80", false),
        ("port = \"1-100\"", "port = [80, 90]", true),
        ("port = \"1-100\"", "port = [80, 190]", false),
        ("port = 80\nhosts = \"web-*\"", "port = 80", false),
        ("port = 80\nhosts = \"web-*\"", "port = 80\nhosts = \"web-1\"", true),
        ("port = 80\nexpires = 2027-01-01", "port = 80", false),
        ("port = 80\nexpires = 2027-01-01", "port = 80\nexpires = 2026-12-01", true),
        ("port = 80\nexpires = 2026-01-01", "port = 80", false),
        ("executable = \"/usr/**\"", "executable = \"/usr/bin/x\"", true),
        ("executable = \"/usr/*\"", "executable = \"/usr/bin/x\"", false),
        ("address = \"10.0.0.0/8\"", "address = \"10.1.0.0/16\"", true),
        ("port = 80", "port = 80\nnetns = \"blue\"", false),
        ("port = 80", "port = 80\nnetns = \"own\"", true),
        ("port = 80", "port = 80\nrequired = true", false),
        ("port = \"ephemeral\"", "port = 40000", false),
    ] {
        assert_eq!(shadowed(first, second), is, "{first} / {second}: {:?}", two(first, second));
    }
    for (conditions, remark) in [
        ("", "AllowsEverything"),
        ("protocol = \"tcp\"", "AllowsEverything"),
        ("port = [\"1-40000\", \"40001-65535\"]\naddress = [\"0.0.0.0/0\", \"::/0\"]", "AllowsEverything"),
        ("executable = \"**\"", "AllowsEverything"),
        ("port = \"1-65535\"\nexecutable = \"/**\"", "AllowsEverything"),
        ("address = \"127.0.0.1\"\nexposure = \"any\"", "Impossible"),
        ("executable = \"kernel\"\nunit = \"x\"", "Impossible"),
        ("port = 80\nexpires = 2026-11-20", "Expired"),
    ] {
        let found = rules(&format!("[[allow]]\nid = \"a\"\n{conditions}"));
        assert!(found.len() == 1 && found[0].contains(remark), "{conditions}: {found:?}");
    }
    for conditions in [
        "port = \"1-65534\"",
        "user = \"root\"",
        "address = \"0.0.0.0/0\"",
        "expires = 2026-11-21\nport = 1",
        "address = \"0.0.0.0\"\nexposure = \"loopback\"\ndevice = \"lo\"",
        "unit = \"**\"",
    ] {
        assert_eq!(rules(&format!("[[allow]]\nid = \"a\"\n{conditions}")), [""; 0], "{conditions}");
    }
    for (severity, is) in [("info", true), ("off", true), ("notice", true), ("warning", false)] {
        let rule = format!(
            "[[rule]]\nid = \"r\"\ncode = [\"shell-listener\", \"orphaned\"]\nseverity = \"{severity}\"\nreason = \"x\"\n"
        );
        let found = rules(&rule);
        assert_eq!(
            found.iter().any(|remark| remark.starts_with("r HidesCritical")),
            is,
            "{severity}: {found:?}"
        );
        assert!(!found.iter().any(|remark| remark.contains("orphaned")), "{found:?}");
        assert_eq!(rules(&format!("{rule}hosts = \"web-*\"\n")), [""; 0]);
    }
    let policy = read("[[allow]]\nid = \"a\"\nport = 80\n[[allow]]\nid = \"b\"\nport = [81, 82]\n[[allow]]\nid = \"c\"\nport = 81\nhosts = \"db\"").unwrap();
    let web = one("tcp/0.0.0.0:80", "root", &[NGINX]);
    let remarks = unmatched(&policy, &judge(web.clone(), Registry::embedded()));
    assert_eq!(remarks.iter().map(|r| r.rule.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn as_many_rules_as_there_may_be() {
    let mut text = String::new();
    for n in 0..=MOST_RULES {
        text += &format!("[[allow]]\nid = \"r{n}\"\nport = 80\nuser = {n}\n");
    }
    let error = read(&text).unwrap_err();
    assert!(error.what.contains("too many rules (the limit is 5000)"), "{error}");
    let fewer = &text[..text.find("id = \"r2000\"").unwrap() - "[[allow]]\n".len()];
    let policy = read(fewer).unwrap();
    assert_eq!(policy.allow.len(), 2000);
    assert!(check(&policy, "2026-11-21".parse().unwrap()).is_empty());
}
