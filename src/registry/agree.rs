//! When two names of a service are the same name.
//!
//! Sources write one service differently: IANA has `sge-qmaster`, others `sge_qmaster`. Names agree when they
//! are equal ignoring case and ignoring the difference of `-` and `_`. Nothing else makes them agree: to be a
//! part of a name (`http` of `pcsync-https`) or its beginning (`mysql` of `mysqlx`) is no agreement, and a
//! look-up never guesses.

/// Whether `a` and `b` are the same name.
#[must_use]
pub(super) fn same_name(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| plain(a) == plain(b))
}

fn plain(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
}

/// Whether `text` has `name` in it as a word, ignoring case: `l2tp` is a word of `L2TP (xl2tpd)`, and
/// `http` is none of `http-alt`.
#[must_use]
pub(super) fn names(text: &str, name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let (text, name) = (text.as_bytes(), name.as_bytes());
    !name.is_empty()
        && text.windows(name.len()).enumerate().any(|(at, window)| {
            window.eq_ignore_ascii_case(name)
                && !at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|&b| inside(b))
                && !text.get(at + name.len()).is_some_and(|&b| inside(b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_names() {
        for (a, b, same) in [
            ("ssh", "ssh", true),
            ("XmlIpcRegSvc", "xmlipcregsvc", true),
            ("sge_qmaster", "sge-qmaster", true),
            ("http", "pcsync-https", false),
            ("mysqlx", "mysql", false),
            ("mysql", "mysqlx", false),
            ("x-11", "x11", false),
            ("", "", true),
        ] {
            assert_eq!(same_name(a, b), same, "{a} {b}");
        }
    }

    #[test]
    fn words() {
        for (text, name, named) in [
            ("L2TP (xl2tpd, strongSwan setups)", "l2tp", true),
            ("xl2tpd", "l2tp", false),
            ("served by http-alt", "http", false),
            ("http and others", "http", true),
            ("Grafana, Node.js", "hbci", false),
            ("an nfs", "nfs", true),
            ("nfs_4", "nfs", false),
            ("text", "", false),
            ("nfs", "longer-than-text", false),
        ] {
            assert_eq!(names(text, name), named, "{text} {name}");
        }
    }
}
