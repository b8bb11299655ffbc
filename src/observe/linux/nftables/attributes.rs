//! Finds the attributes of a netlink message by number (linux/netlink.h).

/// Clears the flags for nested attributes and byte order.
const TYPE_MASK: u16 = 0x3fff;

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

/// Returns each attribute with its number. If the rest of the bytes is malformed, the last item is `None`.
pub(super) fn each(bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let attribute = first(rest);
        rest = match attribute {
            Some((_, value)) => rest.get((value.len() + 4).next_multiple_of(4)..).unwrap_or_default(),
            None => &[],
        };
        Some(attribute)
    })
}

fn first(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (length, kind) = (bytes.first_chunk::<2>()?, bytes.get(2..4)?.first_chunk::<2>()?);
    let value = bytes.get(4..usize::from(u16::from_ne_bytes(*length)))?;
    Some((u16::from_ne_bytes(*kind) & TYPE_MASK, value))
}

/// Parses four bytes in network order.
pub(super) fn number(value: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_be_bytes(value?.try_into().ok()?))
}

/// Returns 0 if [`number`] returns `None`.
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
