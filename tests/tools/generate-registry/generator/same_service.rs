//! Decides whether two names mean the same service.
//!
//! Sources write the name of one service in different ways: IANA has `sge-qmaster`, others `sge_qmaster`; IANA has
//! `domain`, others `dns`. The comparison ignores case and the difference between `-`, `_` and blanks. Two names
//! agree if
//!
//! - they are equal, or
//! - one name is the other name with a suffix: a number (`snmp2`, `imap4`), or a dash and any text (`sip-tls`,
//!   `http-alt`), or
//! - `aliases.tsv` has both names in one line.
//!
//! No other names agree. A part of another name (`http` in `pcsync-https`) or the beginning of a word (`mysql` in
//! `mysqlx`) does not agree with that name.

/// Returns whether `a` and `b` are the same name.
fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| plain(a) == plain(b))
}

/// Returns whether `a` and `b` mean the same service.
pub(super) fn same_service(a: &str, b: &str) -> bool {
    is_or_extends(a, b) || is_or_extends(b, a) || are_aliases(a, b)
}

fn plain(byte: u8) -> u8 {
    if matches!(byte, b'_' | b' ') { b'-' } else { byte.to_ascii_lowercase() }
}

/// Returns whether `long` is `short`, or `short` with a suffix.
fn is_or_extends(short: &str, long: &str) -> bool {
    let (short, long) = (short.as_bytes(), long.as_bytes());
    let begins = long.len() >= short.len() && short.iter().zip(long).all(|(a, b)| plain(*a) == plain(*b));
    let suffix = long.get(short.len()..).unwrap_or_default();
    begins
        && !short.is_empty()
        && match suffix.first() {
            None => true,
            Some(b) if plain(*b) == b'-' => suffix.len() > 1,
            // A number counts as a suffix at the end of the name or before a dash, so `afs3-callback` belongs to `afs`.
            Some(b) if b.is_ascii_digit() => {
                let rest = suffix.iter().find(|b| !b.is_ascii_digit());
                rest.is_none_or(|b| plain(*b) == b'-') && !short.last().is_some_and(u8::is_ascii_digit)
            }
            Some(_) => false,
        }
}

fn are_aliases(a: &str, b: &str) -> bool {
    include_str!("../aliases.tsv").lines().filter(|line| !line.starts_with('#')).any(|line| {
        let has = |name: &str| {
            line.split('\t').take(2).flat_map(|f| f.split(',')).any(|known| same_name(known, name))
        };
        has(a) && has(b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_agree() {
        for (a, b, same) in [
            ("ssh", "SSH", true),
            ("sge_qmaster", "sge-qmaster", true),
            ("Remote Desktop", "remote-desktop", true),
            // Suffixes agree.
            ("http", "http-alt", true),
            ("http_cache", "http", true),
            ("imap", "imap4", true),
            ("afs", "afs3-callback", true),
            ("sip", "sip-tls", true),
            ("radius", "radius2", true),
            // Parts and beginnings of names do not agree.
            ("http", "pcsync-https", false),
            ("http", "https", false),
            ("mysqlx", "mysql", false),
            ("mysql", "mysqlx", false),
            ("l2f", "l2tp", false),
            ("x11", "x1", false),
            ("x-11", "x11", false),
            ("http", "http-", false),
            ("alt", "http-alt", false),
            ("", "http", false),
            ("", "", false),
            // Aliases agree.
            ("domain", "dns", true),
            ("DNS", "domain", true),
            ("rfb", "vnc", true),
            ("domain", "vnc", false),
        ] {
            assert_eq!(same_service(a, b), same, "{a} {b}");
            assert_eq!(same_service(b, a), same, "{b} {a}");
        }
    }

    #[test]
    fn aliases_have_their_shape() {
        for line in include_str!("../aliases.tsv").lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = line.split('\t').collect();
            assert_eq!(fields.len(), 3, "{line}");
            assert!(fields.iter().all(|field| !field.is_empty() && field.trim() == *field), "{line}");
            let (name, others) = (fields[0], fields[1]);
            assert!(others.split(',').all(|other| !is_or_extends(name, other)), "needless: {line}");
        }
    }
}
