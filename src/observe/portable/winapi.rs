//! The Windows calls for which no dependency has a safe wrapper. All `unsafe` code for Windows is in this file.

#![allow(unsafe_code, reason = "these are calls of the system; a comment at each says why it is sound")]

use std::collections::BTreeMap;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, LocalFree};
use windows_sys::Win32::Security::Authorization::ConvertStringSidToSidW;
use windows_sys::Win32::Security::{
    GetTokenInformation, LookupAccountNameW, LookupAccountSidW, PSID, SID_NAME_USE, TOKEN_ELEVATION,
    TOKEN_QUERY, TokenElevation,
};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ENUM_SERVICE_STATUS_PROCESSW, EnumServicesStatusExW, OpenSCManagerW,
    SC_ENUM_PROCESS_INFO, SC_HANDLE, SC_MANAGER_ENUMERATE_SERVICE, SERVICE_ACTIVE, SERVICE_WIN32,
};
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION,
    QueryFullProcessImageNameW,
};

use crate::model::Pid;

/// The longest possible path, including its terminator ("Maximum Path Length Limitation").
const LONGEST_PATH: u32 = 32_768;
/// The maximum length of a service name in characters (`CreateServiceW`).
const LONGEST_SERVICE: usize = 256;
/// The size of a buffer for the name of an account or a domain. The longest account has 256 characters (`UNLEN`).
const LONGEST_NAME: u32 = 512;
/// The longest SID in bytes (`SECURITY_MAX_SID_SIZE`).
const LONGEST_SID: u32 = 68;

fn done(answer: i32) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns the text as UTF-16 that ends in NUL.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// Returns the text in a buffer, up to the first NUL.
fn narrow(text: &[u16]) -> String {
    String::from_utf16_lossy(text.split(|unit| *unit == 0).next().unwrap_or_default())
}

/// Opens a process with a right that every user can get.
pub(super) fn open(pid: Pid) -> io::Result<OwnedHandle> {
    // SAFETY: no pointer is passed.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is valid, was opened in the line above, and no other code closes it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Returns the full path of a process's program file.
pub(super) fn image(process: BorrowedHandle<'_>) -> io::Result<String> {
    let mut path = vec![0; LONGEST_PATH as usize];
    let mut length = LONGEST_PATH;
    // SAFETY: the handle is open while it is borrowed. `path` has space for `length` units, and the call writes no
    // more than that.
    done(unsafe {
        QueryFullProcessImageNameW(
            process.as_raw_handle(),
            PROCESS_NAME_WIN32,
            path.as_mut_ptr(),
            &raw mut length,
        )
    })?;
    Ok(narrow(&path))
}

/// An SID in memory that the system allocated.
struct Sid(PSID);

impl Drop for Sid {
    fn drop(&mut self) {
        // SAFETY: `ConvertStringSidToSidW` allocated the SID, which must be freed in this way, and no other code
        // frees it.
        unsafe { LocalFree(self.0) };
    }
}

/// Returns the account of an SID, as `DOMAIN\name`.
pub(super) fn account(sid: &str) -> io::Result<String> {
    let text = wide(sid);
    let mut sid = Sid(null_mut());
    // SAFETY: `text` ends in NUL. If the call succeeds, it writes an SID to `sid`; otherwise `sid` stays null.
    done(unsafe { ConvertStringSidToSidW(text.as_ptr(), &raw mut sid.0) })?;
    let (mut name, mut domain) = ([0; LONGEST_NAME as usize], [0; LONGEST_NAME as usize]);
    let (mut name_length, mut domain_length) = (LONGEST_NAME, LONGEST_NAME);
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: the SID is valid. Both buffers have the stated number of units, and the call writes no more than that.
    done(unsafe {
        LookupAccountSidW(
            null(),
            sid.0,
            name.as_mut_ptr(),
            &raw mut name_length,
            domain.as_mut_ptr(),
            &raw mut domain_length,
            &raw mut kind,
        )
    })?;
    Ok(match narrow(&domain) {
        domain if domain.is_empty() => narrow(&name),
        domain => format!("{domain}\\{}", narrow(&name)),
    })
}

/// Returns whether there is an account of this name. A domain may come first.
pub(super) fn is_account(name: &str) -> bool {
    let name = wide(name);
    let (mut sid, mut domain) = ([0_u8; LONGEST_SID as usize], [0; LONGEST_NAME as usize]);
    let (mut sid_length, mut domain_length) = (LONGEST_SID, LONGEST_NAME);
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: `name` ends in NUL. Both buffers have the stated length, and the call writes no more than that. The SID
    // is used only as bytes.
    done(unsafe {
        LookupAccountNameW(
            null(),
            name.as_ptr(),
            sid.as_mut_ptr().cast(),
            &raw mut sid_length,
            domain.as_mut_ptr(),
            &raw mut domain_length,
            &raw mut kind,
        )
    })
    .is_ok()
}

pub(super) fn is_elevated() -> io::Result<bool> {
    let mut token = null_mut();
    // SAFETY: the current process's handle is always valid; the call writes a handle to `token` if it succeeds.
    done(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
    // SAFETY: the handle is valid, was opened in the line above, and no other code closes it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut elevation = TOKEN_ELEVATION::default();
    let mut length = 0;
    let size = u32::try_from(size_of::<TOKEN_ELEVATION>()).map_err(io::Error::other)?;
    // SAFETY: the token is open; `elevation` is the structure that this request fills in, and has its size.
    done(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenElevation,
            (&raw mut elevation).cast(),
            size,
            &raw mut length,
        )
    })?;
    Ok(elevation.TokenIsElevated != 0)
}

pub(super) fn system_directory() -> io::Result<PathBuf> {
    let mut path = vec![0; LONGEST_PATH as usize];
    // SAFETY: `path` has the stated number of units, and the call writes no more.
    let length = unsafe { GetSystemDirectoryW(path.as_mut_ptr(), LONGEST_PATH) };
    if length == 0 || length >= LONGEST_PATH {
        return Err(io::Error::last_os_error());
    }
    Ok(narrow(&path).into())
}

struct Services(SC_HANDLE);

impl Drop for Services {
    fn drop(&mut self) {
        // SAFETY: `OpenSCManagerW` opened the handle, and no other code closes it.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// Returns the names of the running services of each process, in ascending order.
pub(super) fn services() -> io::Result<BTreeMap<Pid, Vec<String>>> {
    // SAFETY: the arguments may be null, which means this machine and its only database of services.
    let manager = unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_ENUMERATE_SERVICE) };
    if manager.is_null() {
        return Err(io::Error::last_os_error());
    }
    let manager = Services(manager);
    // The largest size that one call accepts (256 KiB), aligned for the structures that the call writes.
    let mut buffer = vec![0_u64; 32 * 1024];
    let size = u32::try_from(size_of_val(buffer.as_slice())).map_err(io::Error::other)?;
    let mut found: BTreeMap<Pid, Vec<String>> = BTreeMap::new();
    let (mut needed, mut count, mut resume) = (0, 0, 0);
    // A buffer has space for a thousand services, so 64 rounds are enough for every real list.
    for _ in 0..64 {
        // SAFETY: the manager is open. `buffer` has `size` bytes, the call writes no more than that, and the four
        // numbers outlive the call.
        let answer = done(unsafe {
            EnumServicesStatusExW(
                manager.0,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_ACTIVE,
                buffer.as_mut_ptr().cast(),
                size,
                &raw mut needed,
                &raw mut count,
                &raw mut resume,
                null(),
            )
        });
        let more = match answer {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == i32::try_from(ERROR_MORE_DATA).ok() => true,
            Err(error) => return Err(error),
        };
        // SAFETY: the call wrote this number of structures to the start of the buffer, which is aligned for them and
        // outlives them.
        let rows = unsafe {
            std::slice::from_raw_parts(buffer.as_ptr().cast::<ENUM_SERVICE_STATUS_PROCESSW>(), count as usize)
        };
        for row in rows {
            let mut name = Vec::new();
            for at in 0..LONGEST_SERVICE {
                // SAFETY: the name is in the buffer and ends in NUL, where the loop stops.
                match unsafe { row.lpServiceName.add(at).read() } {
                    0 => break,
                    unit => name.push(unit),
                }
            }
            if row.ServiceStatusProcess.dwProcessId != 0 {
                found.entry(row.ServiceStatusProcess.dwProcessId).or_default().push(narrow(&name));
            }
        }
        if !more {
            found.values_mut().for_each(|names| names.sort_unstable());
            return Ok(found);
        }
    }
    Err(io::Error::other("the list of services is too long"))
}

#[cfg(test)]
mod tests {
    use std::os::windows::io::AsHandle;

    use super::*;

    #[test]
    fn this_process_is_known() {
        let process = open(std::process::id()).unwrap();
        let path = image(process.as_handle()).unwrap();
        assert_eq!(path.to_lowercase(), std::env::current_exe().unwrap().to_str().unwrap().to_lowercase());
        is_elevated().unwrap();
    }

    #[test]
    fn no_process_of_this_id() {
        // Process IDs are multiples of four, so no process has this ID.
        assert_eq!(open(4_000_000_003).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn accounts_and_their_names() {
        // Local System exists on every machine, with a name in the language of the machine.
        let system = account("S-1-5-18").unwrap();
        assert!(!system.is_empty() && !system.starts_with("S-1-"), "{system}");
        assert!(account("S-1-5-21-1-2-3-4").is_err());
        assert!(account("nonsense").is_err());
        assert!(!is_account("no-such-user-anywhere"));
    }

    #[test]
    fn some_service_runs() {
        let services = services().unwrap();
        assert!(!services.is_empty());
        for (pid, names) in services {
            assert!(names.iter().all(|name| !name.is_empty()), "{pid}: {names:?}");
        }
    }

    #[test]
    fn the_system_has_a_directory() {
        assert!(system_directory().unwrap().is_dir());
    }
}
