//! Parses `sshd_config`, to find out whether an account without a password can log in.

use super::super::packages::root::Root;
use super::{LONGEST, include};
use crate::model::{AccessSetting, AdmittedClients};

/// The `Include` lines of `sshd_config`. A relative path is below `/etc/ssh` (sshd_config(5)).
pub(super) const INCLUDE: include::Syntax = include::Syntax {
    lines: |text| Some(text.lines().map(str::to_owned).collect()),
    words: |line| words(line).map(|words| words.map(str::to_owned).collect()),
    base: |_, _| Some("/etc/ssh".to_owned()),
};

/// Returns the words of a line. Returns `None` for a comment, and for a line with quotes, because its words are not
/// known.
fn words(line: &str) -> Option<impl Iterator<Item = &str>> {
    let line = line.trim();
    (!line.starts_with('#') && !line.contains(['"', '\''])).then(|| {
        // One `=` may separate a keyword from its value.
        let words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
        words.take_while(|word| !word.starts_with('#'))
    })
}

/// Returns a setting only if accounts without a password may log in. The first value of a keyword counts. In a `Match`
/// block, the value `no` does not count, because it applies only to some clients.
pub(super) fn sshd(bytes: &[u8]) -> Vec<AccessSetting> {
    let text = String::from_utf8_lossy(bytes);
    let (mut empty, mut password, mut keyboard) = (None, None, None);
    let mut is_in_match = false;
    for line in text.lines() {
        let Some(mut words) = words(line) else { continue };
        let (Some(keyword), value) = (words.next(), words.next().unwrap_or_default()) else { continue };
        let is_on = !value.eq_ignore_ascii_case("no");
        let kept = match keyword.to_ascii_lowercase().as_str() {
            "match" => {
                is_in_match = true;
                continue;
            }
            // A file that was not inserted may contain any setting.
            "include" => return Vec::new(),
            "permitemptypasswords" => &mut empty,
            "passwordauthentication" => &mut password,
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => &mut keyboard,
            _ => continue,
        };
        if is_in_match && is_on {
            *kept = Some(true);
        } else if !is_in_match {
            kept.get_or_insert(is_on);
        }
    }
    let accepts_passwords = password.unwrap_or(true) || keyboard.unwrap_or(true);
    if empty != Some(true) || !accepts_passwords {
        return Vec::new();
    }
    let setting = "PermitEmptyPasswords yes".to_owned();
    vec![AccessSetting { port: None, setting, clients: AdmittedClients::Anyone }]
}

/// Returns the name of the first account without a password, from `etc/shadow` below `root`. Returns `None` if every
/// account has a password, or if the file cannot be read.
pub(super) fn account_without_password(root: &Root) -> Option<String> {
    let bytes = root.read("etc/shadow", LONGEST).ok()??;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut accounts = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        (!name.is_empty() && rest.starts_with(':')).then(|| name.to_owned())
    });
    accounts.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_passwords() {
        for (text, is) in [
            ("PermitEmptyPasswords yes\n", true),
            ("  permitemptypasswords=yes # x\n", true),
            ("PermitEmptyPasswords no\nPermitEmptyPasswords yes\n", false),
            ("PermitEmptyPasswords yes\nPermitEmptyPasswords no\n", true),
            ("PermitEmptyPasswords no\nMatch User guest\n  PermitEmptyPasswords yes\n", true),
            ("#PermitEmptyPasswords yes\n", false),
            ("", false),
            ("PermitEmptyPasswords yes\nInclude x.conf\n", false),
            ("PermitEmptyPasswords yes\nPasswordAuthentication no\n", true),
            ("PermitEmptyPasswords yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n", false),
        ] {
            assert_eq!(!sshd(text.as_bytes()).is_empty(), is, "{text}");
        }
        let paths = (INCLUDE.words)("Include sshd_config.d/*.conf /x").unwrap();
        assert_eq!(paths, ["Include", "sshd_config.d/*.conf", "/x"]);
    }

    #[test]
    fn an_account_without_a_password() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let root = || Root::new(std::fs::File::open(directory.path()).unwrap().into(), false);
        assert_eq!(account_without_password(&root()), None, "no file");
        for (text, is) in [
            ("root:*:1:0:::::\nann:$y$x:1::::::\n", None),
            ("root:!:1::::::\nguest::1::::::\n", Some("guest")),
            ("::1\nx\n", None),
        ] {
            std::fs::write(directory.path().join("etc/shadow"), text).unwrap();
            assert_eq!(account_without_password(&root()).as_deref(), is, "{text}");
        }
    }
}
