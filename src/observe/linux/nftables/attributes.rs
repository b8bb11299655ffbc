//! Finds the attributes of a netlink message by number (linux/netlink.h).

pub(super) use super::super::netlink_dump::attributes as each;

/// The values of the attributes with numbers below `N`, by number.
pub(super) type Attributes<'d, const N: usize> = [Option<&'d [u8]>; N];

/// Returns the attributes with numbers below `N`; `None` if the bytes are malformed. If a number occurs twice, the last
/// attribute counts.
pub(super) fn attributes<const N: usize>(bytes: &[u8]) -> Option<Attributes<'_, N>> {
    let mut found = [None; N];
    for attribute in each(bytes) {
        let (kind, value) = attribute?;
        if let Some(place) = found.get_mut(usize::from(kind)) {
            *place = Some(value);
        }
    }
    Some(found)
}

/// Parses four bytes in network order.
pub(super) fn number(value: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_be_bytes(value?.try_into().ok()?))
}

/// Like [`number`], but returns 0 instead of `None`.
pub(super) fn number_or_zero(value: Option<&[u8]>) -> u32 {
    number(value).unwrap_or_default()
}

/// Returns the bytes of a name up to the first zero.
pub(super) fn name(value: Option<&[u8]>) -> Option<&[u8]> {
    value?.split(|byte| *byte == 0).next()
}

pub(super) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
