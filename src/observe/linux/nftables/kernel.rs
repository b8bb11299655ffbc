//! Reads all rules of nftables with several dumps. The dumps are consistent if none was interrupted and if the kernel's
//! count of rule changes stayed the same.

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;

use super::super::files::read_records;
use super::super::netlink_dump::{Connection, attribute};
use super::attributes::{attributes, number};
use super::{HEADER, NEWCHAIN, SUBSYSTEM, messages};

const GETTABLE: u16 = SUBSYSTEM | 1;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const GETRULE: u16 = SUBSYSTEM | 7;
const GETSET: u16 = SUBSYSTEM | 10;
const GETELEMENTS: u16 = SUBSYSTEM | 13;
const GETGENERATION: u16 = SUBSYSTEM | 16;
/// The `nfgenmsg` of a request for every family.
const ALL: [u8; 4] = [0; 4];
/// The maximum number of attempts while the rules change.
const ATTEMPTS: usize = 6;
/// The maximum size of the list in bytes. A rule has about 300 bytes, an element of a set about 50.
const MOST_BYTES: usize = 256 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Unread {
    /// Only root may read the rules.
    Refused,
    Failed(String),
}

impl From<Errno> for Unread {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Unread::Refused,
            Errno::FBIG => Unread::Failed("there are too many rules".to_owned()),
            errno => Unread::Failed(format!("the kernel answered with an error: {errno}")),
        }
    }
}

/// Returns the tables, chains, rules and sets of the calling thread's network namespace, as consecutive messages. The
/// list is empty if no base chain has rules or drops packets.
///
/// # Errors
///
/// Returns the reason why the rules are not known.
pub(in super::super) fn list() -> Result<Vec<u8>, Unread> {
    // If the kernel has no rules, a request would load kernel modules. Therefore no request is sent.
    if !has_netfilter_messages() {
        return Ok(Vec::new());
    }
    let mut connection = Connection::open(Some(NETFILTER))?;
    for _ in 0..ATTEMPTS {
        match list_once(&mut connection) {
            Ok(Some(list)) => return Ok(list),
            // A set may have vanished after it was listed.
            Ok(None) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Unread::Failed("the rules changed during every attempt".to_owned()))
}

/// Returns the list; `None` if the rules changed while it was read.
fn list_once(connection: &mut Connection) -> Result<Option<Vec<u8>>, Errno> {
    let mut list = Vec::new();
    let mut is_consistent = match add(connection, GETCHAIN, &ALL, &mut list) {
        // This kernel has no nftables.
        Err(Errno::INVAL | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::NOENT) => {
            return Ok(Some(Vec::new()));
        }
        added => added?,
    };
    if is_consistent && !has_rules(&list) {
        return Ok(Some(Vec::new()));
    }
    let before = generation(connection)?;
    list.clear();
    for kind in [GETTABLE, GETCHAIN, GETRULE] {
        is_consistent &= add(connection, kind, &ALL, &mut list)?;
    }
    let mut sets = Vec::new();
    is_consistent &= add(connection, GETSET, &ALL, &mut sets)?;
    list.extend(&sets);
    for message in messages(&sets) {
        let (_, family, attributes) = message.ok_or(Errno::BADMSG)?;
        let request = elements_request(family, attributes).ok_or(Errno::BADMSG)?;
        is_consistent &= add(connection, GETELEMENTS, &request, &mut list)?;
    }
    is_consistent &= generation(connection)? == before;
    Ok(is_consistent.then_some(list))
}

/// Adds the messages of a dump to the list. Returns false if a change of the rules interrupted the dump.
fn add(connection: &mut Connection, kind: u16, body: &[u8], list: &mut Vec<u8>) -> Result<bool, Errno> {
    connection.dump(kind, body, &mut |message| {
        if list.len() > MOST_BYTES {
            return Err(Errno::FBIG);
        }
        list.extend(message);
        list.resize(list.len().next_multiple_of(4), 0);
        Ok(())
    })
}

/// Returns the kernel's count of rule changes.
fn generation(connection: &mut Connection) -> Result<u32, Errno> {
    const ID: u16 = 1;
    let message = connection.get(GETGENERATION, &ALL)?;
    let attributes = message.get(HEADER + ALL.len()..).unwrap_or_default();
    number(attribute(attributes, ID)).ok_or(Errno::BADMSG)
}

/// Returns a request for the elements of a set; `None` if the message about the set is malformed.
fn elements_request(family: u8, set: &[u8]) -> Option<Vec<u8>> {
    let [_, table, set] = attributes::<3>(set)?;
    let mut request = vec![family, 0, 0, 0];
    for (kind, value) in [(1_u16, table?), (2, set?)] {
        let length = u16::try_from(4 + value.len()).ok()?;
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(value);
        request.resize(request.len().next_multiple_of(4), 0);
    }
    Some(request)
}

/// Returns whether any base chain in the list has rules or drops packets.
fn has_rules(list: &[u8]) -> bool {
    let decides = |message: Option<(u16, u8, &[u8])>| {
        let Some((NEWCHAIN, _, attributes)) = message else { return false };
        let Some([_, _, _, _, hook, policy, uses]) = self::attributes::<7>(attributes) else { return true };
        hook.is_some() && (number(uses) != Some(0) || number(policy) == Some(0))
    };
    messages(list).any(decides)
}

/// Returns whether the kernel answers messages about netfilter. If so, the list of netlink sockets contains the
/// kernel's socket of the protocol 12 (`NETLINK_NETFILTER` of linux/netlink.h). Also returns true if the list cannot be
/// read.
fn has_netfilter_messages() -> bool {
    const LARGEST: usize = 1 << 20;
    let Ok(text) = read_records("/proc/thread-self/net/netlink", LARGEST) else { return true };
    text.lines().any(|line| line.split_whitespace().nth(1) == Some("12"))
}
