//! Loads the embedded registry, or a newer CSV file from IANA.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use anyhow::{Error, Result};

use super::from::read_limited;
use crate::cli::CommonArgs;
use crate::registry::Registry;

/// The maximum size of the file. IANA's own file has about 1 MiB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Returns the registry from the file that the option names, or else from the file that the environment variable names.
/// If neither is set, returns the embedded registry.
pub(super) fn registry(common: &CommonArgs) -> Result<Registry> {
    named(common.registry.clone(), std::env::var_os("PORTOLAN_REGISTRY"))
}

fn named(option: Option<PathBuf>, variable: Option<OsString>) -> Result<Registry> {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(path) = option.or(variable) else { return Ok(Registry::embedded()) };
    let name = path.display().to_string();
    let said = |why: String| Error::msg(format!("{name}: {why}"));
    let read =
        |file| read_limited(file, LARGEST, "too large for IANA's registry of ports (the limit is 4 MiB)");
    let bytes = File::open(&path).and_then(read).map_err(|error| said(error.to_string()))?;
    Registry::newer(&name, &bytes)
        .map_err(|error| said(format!("{error}; use IANA's file service-names-port-numbers.csv")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_say_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let huge = vec![b'x'; usize::try_from(LARGEST).unwrap() + 1];
        for (path, why) in [
            (directory.path().join("missing"), "(os error 2)"),
            // Windows reports a directory that is opened as a file as "access denied" (os error 5).
            (directory.path().to_owned(), if cfg!(windows) { "(os error 5)" } else { "irectory" }),
            (file("empty", b""), "empty"),
            (file("json", b"{\"schema\": 1}"), "not IANA's registry"),
            (file("other.csv", b"a,b\n1,2\n"), "not IANA's registry"),
            (file("binary", b"\x7fELF\0\0"), "not text"),
            (file("huge", &huge), "too large"),
        ] {
            let error = named(Some(path.clone()), None).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains('\n'), "{path:?}: {error}");
            assert!(named(None, Some(path.into())).is_err());
        }
    }

    #[test]
    fn the_option_comes_before_the_variable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv");
        let csv = "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration Date,\
            Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n\
            brand-new,4,tcp,Something,[X],[X],2031-01-02,,,,,\ncommandport,3416,tcp,,,,,,,,,\n";
        std::fs::write(&path, csv).unwrap();
        let registry = named(Some(path.clone()), Some("nowhere".into())).unwrap();
        assert_eq!((registry.date(), registry.file()), ("2031-01-02", path.to_str()));
        let verdict = |port| registry.verdict(port, crate::model::Protocol::Tcp);
        assert_eq!(verdict(4).assignments[0].service, "brand-new");
        // The curated lists still apply. A port that is not in the file is unassigned.
        assert_eq!(verdict(3416).status, crate::model::Status::Orphaned);
        assert_eq!(verdict(22).status, crate::model::Status::Unassigned);
        assert_eq!(named(None, Some("".into())).unwrap().file(), None);
        assert_eq!(named(None, None).unwrap().file(), None);
    }
}
