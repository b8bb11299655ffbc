//! Any bytes as a policy that includes itself or the same bytes again. The result is an error in one line with the
//! position, or a policy that is printed and parsed again to the same policy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals::{Included, check, is_unsafe, parse, policy_text};

fn file(name: &str, bytes: &[u8]) -> Included {
    Included { name: name.to_owned(), identity: name.to_owned(), bytes: bytes.to_vec() }
}

fuzz_target!(|bytes: &[u8]| {
    let (top, included) = bytes.split_at(bytes.len() / 2);
    let mut read = |_: &str, name: &str| match name {
        "b" => Ok(file("b", included)),
        "p" => Ok(file("p", bytes)),
        _ => Err("no such file".to_owned()),
    };
    let policy = match parse(&file("p", bytes), &mut read).or_else(|_| parse(&file("p", top), &mut read)) {
        Ok(policy) => policy,
        Err(trouble) => {
            assert!(trouble.at.line > 0 && trouble.at.column > 0);
            return;
        }
    };
    let _ = check(&policy, "2026-11-21".parse().unwrap());
    let print = |policy: &_| {
        let mut text = Vec::new();
        policy_text::policy(policy, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let text = print(&policy);
    assert_eq!(text.chars().find(|c| is_unsafe(*c) && *c != '\n'), None);
    let again = parse(&file("p", text.as_bytes()), &mut read).unwrap();
    assert_eq!(print(&again), text);
});
