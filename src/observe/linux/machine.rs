//! The identity of this machine and of its current boot.

use sha2::{Digest, Sha256};

use super::files::slurp;

/// A random application ID, with which the machine ID is hashed. It must never change, because every saved host ID
/// depends on it.
const APPLICATION: [u8; 16] =
    [0x5c, 0x1d, 0x0a, 0xb7, 0x93, 0xe4, 0x4f, 0x6e, 0x8b, 0x21, 0xd7, 0x40, 0x66, 0xf2, 0x3e, 0x9a];

/// Returns a hash of the machine ID as 32 hexadecimal digits. `None` if the machine has no ID. The machine ID itself is
/// confidential (machine-id(5)).
///
/// This command prints the same hash: `systemd-id128 --app-specific=5c1d0ab793e44f6e8b21d74066f23e9a machine-id`
pub(super) fn id() -> Option<String> {
    Some(hex(&application_specific(parse(&slurp("/etc/machine-id", 64, 64).ok()?)?)))
}

pub(super) fn boot() -> Option<String> {
    let text = String::from_utf8(slurp("/proc/sys/kernel/random/boot_id", 64, 64).ok()?).ok()?;
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// Parses 32 hexadecimal digits and a line break. `None` for zeros. Also `None` for `uninitialized`, which is the
/// content of the file during the first boot.
fn parse(text: &[u8]) -> Option<[u8; 16]> {
    let digits = text.trim_ascii_end();
    let number = u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (digits.len() == 32 && digits[0] != b'+' && number != 0).then(|| number.to_be_bytes())
}

/// Returns HMAC-SHA-256 (RFC 2104) of the application ID, with the machine ID as the key. The result is cut to 16 bytes
/// and marked as a random UUID (RFC 9562, version 4), as `sd_id128_get_machine_app_specific(3)` does.
fn application_specific(machine: [u8; 16]) -> [u8; 16] {
    /// The block size of SHA-256.
    const BLOCK: usize = 64;
    let mut key = [0; BLOCK];
    key[..machine.len()].copy_from_slice(&machine);
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(APPLICATION).finalize();
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&outer[..16]);
    id[6] = id[6] & 0x0F | 0x40;
    id[8] = id[8] & 0x3F | 0x80;
    id
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_id_is_hashed_for_this_application() {
        let machine = parse(b"0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(hex(&application_specific(machine)), "d80ab74066ac4c8da53f1e89e250eff7");
    }

    #[test]
    fn texts_that_are_not_a_machine_id() {
        for text in [
            "",
            "uninitialized\n",
            "0123456789abcdef\n",
            "00000000000000000000000000000000\n",
            "+123456789abcdef0123456789abcdef\n",
            "0123456789abcdef0123456789abcdefff\n",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
