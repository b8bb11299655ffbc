//! The atomic write on systems other than Linux.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::{DANGLING, DIRECTORY, Existing, NOT_REGULAR, Readers, already_exists, refuse};

pub(super) fn write(path: &Path, bytes: &[u8], existing: Existing, readers: Readers) -> io::Result<()> {
    let (target, permissions) = match fs::metadata(path) {
        Ok(_) if existing == Existing::Keep => return Err(already_exists()),
        Ok(there) if there.is_file() => (fs::canonicalize(path)?, Some(there.permissions())),
        Ok(there) if there.is_dir() => return refuse(DIRECTORY),
        Ok(_) => return refuse(NOT_REGULAR),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return refuse(DANGLING);
            }
            (path.to_owned(), None)
        }
        Err(error) => return Err(error),
    };
    if path.file_name().is_none() {
        return refuse(DIRECTORY);
    }
    let directory = match target.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".portolan-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(match readers {
        Readers::All => 0o644,
        Readers::Owner => 0o600,
    }));
    #[cfg(not(unix))]
    let _ = readers;
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(bytes)?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions)?;
    }
    file.as_file().sync_all()?;
    match existing {
        Existing::Replace => file.persist(&target).map_err(|error| error.error)?,
        Existing::Keep => file.persist_noclobber(&target).map_err(|error| error.error)?,
    };
    // Syncing the directory makes the new name survive a crash.
    #[cfg(unix)]
    fs::File::open(directory)?.sync_all()?;
    Ok(())
}
