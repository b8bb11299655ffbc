//! Reads sockets from netstat2, on Windows and as the second source on Linux.
//!
//! For a UDP socket, netstat2 gives neither peer nor state, so a connected client looks like a listener. On Linux,
//! netstat2 reports a failed dump as an empty list, and panics if `/proc` is missing. On macOS, netstat2 reads
//! uninitialised memory after a failed call, so it is not used there.

use std::collections::BTreeSet;
use std::sync::Arc;

use netstat2::{AddressFamilyFlags, ProtocolFlags, ProtocolSocketInfo, SocketInfo, TcpState};

use super::socket as bare;
use crate::model::{Family, Gap, Owner, Peer, Pid, Protocol, Socket, Stage, State};
use crate::observe::Scope;

/// Returns the sockets in the scope. A table that cannot be read becomes a gap.
pub(super) fn sockets(scope: &Scope, gaps: &mut Vec<Gap>) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for (protocol, flag) in [(Protocol::Tcp, ProtocolFlags::TCP), (Protocol::Udp, ProtocolFlags::UDP)] {
        for (family, families) in
            [(Family::Ipv4, AddressFamilyFlags::IPV4), (Family::Ipv6, AddressFamilyFlags::IPV6)]
        {
            if scope.protocols.contains(&protocol) && scope.families.contains(&family) {
                list(scope, (protocol, flag), (family, families), &mut sockets, gaps);
            }
        }
    }
    sockets
}

fn list(
    scope: &Scope,
    (protocol, flag): (Protocol, ProtocolFlags),
    (family, families): (Family, AddressFamilyFlags),
    sockets: &mut Vec<Socket>,
    gaps: &mut Vec<Gap>,
) {
    let mut gap = |count: Option<u64>, why: String| {
        let sockets = if count == Some(1) { "socket" } else { "sockets" };
        let what = format!("{sockets} of {protocol} over {}", family.name());
        gaps.push(Gap { count, ..Gap::new(Stage::Sockets, what, why) });
    };
    let (mut answers, mut strange) = (0_u64, 0_u64);
    match sources(families, flag) {
        Ok(infos) => {
            for info in infos {
                answers += 1;
                match info.as_ref().map(socket) {
                    Ok(Some(socket)) if scope.includes(socket.local.port, socket.state) => {
                        sockets.push(socket);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => strange += 1,
                    Err(error) => gap(None, error.to_string()),
                }
            }
        }
        Err(error) => gap(None, error.to_string()),
    }
    if strange > 0 {
        gap(Some(strange), "the state is not known".to_owned());
    }
    if answers == 0
        && let Some(why) = unbelievable(protocol, family)
    {
        gap(None, why);
    }
}

/// Requests the sockets of a protocol and their processes. On Linux without `/proc`, only the sockets are requested,
/// because a search for processes would panic.
fn sources(
    families: AddressFamilyFlags,
    protocol: ProtocolFlags,
) -> Result<Box<dyn Iterator<Item = Result<SocketInfo, netstat2::error::Error>>>, netstat2::error::Error> {
    #[cfg(target_os = "linux")]
    if std::fs::read_dir("/proc").is_err() {
        return Ok(Box::new(netstat2::iterate_sockets_info_without_pids(families, protocol)?));
    }
    Ok(Box::new(netstat2::iterate_sockets_info(families, protocol)?))
}

/// The local address, port and inode of a socket.
#[cfg(target_os = "linux")]
type End = (std::net::IpAddr, u16, u32);

/// Returns the sockets that netstat2 lists, or the reason why it did not answer. Returns `None` for a protocol that
/// netstat2 does not support.
#[cfg(target_os = "linux")]
pub(in crate::observe) fn second_opinion(
    protocol: Protocol,
    family: Family,
) -> Option<Result<Vec<End>, String>> {
    let protocols = match protocol {
        Protocol::Tcp => ProtocolFlags::TCP,
        Protocol::Udp => ProtocolFlags::UDP,
        Protocol::Udplite | Protocol::Sctp | Protocol::Dccp | Protocol::Raw | Protocol::Packet => {
            return None;
        }
    };
    let families = match family {
        Family::Ipv4 => AddressFamilyFlags::IPV4,
        Family::Ipv6 => AddressFamilyFlags::IPV6,
    };
    let ask = || {
        let said = netstat2::iterate_sockets_info_without_pids(families, protocols)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| error.to_string())?;
        match unbelievable(protocol, family).filter(|_| said.is_empty()) {
            Some(why) => Err(why),
            None => Ok(said),
        }
    };
    // A socket can appear after an empty answer and before the answer is compared with the kernel's table. The answer
    // then seems to be wrong, so the request is repeated.
    let said = (0..4).find_map(|_| ask().ok()).map_or_else(ask, Ok);
    let end = |info: SocketInfo| match info.protocol_socket_info {
        ProtocolSocketInfo::Tcp(tcp) => (tcp.local_addr, tcp.local_port, info.inode),
        ProtocolSocketInfo::Udp(udp) => (udp.local_addr, udp.local_port, info.inode),
    };
    Some(said.map(|infos| infos.into_iter().map(end).collect()))
}

/// Returns the reason why an empty answer is not credible. On Linux, netstat2 also gives an empty answer if the kernel
/// refuses. So an empty answer is credible only if the kernel's own table is empty too.
#[cfg(target_os = "linux")]
fn unbelievable(protocol: Protocol, family: Family) -> Option<String> {
    let six = if family == Family::Ipv6 { "6" } else { "" };
    let path = format!("/proc/thread-self/net/{protocol}{six}");
    match std::fs::read_to_string(&path) {
        Ok(table) if table.lines().count() <= 1 => None,
        Ok(_) => Some(format!("netlink listed no sockets, but {path} lists sockets")),
        Err(error) => Some(format!("netlink listed no sockets, and {path} cannot confirm this: {error}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn unbelievable(_: Protocol, _: Family) -> Option<String> {
    None
}

/// Returns a socket; `None` if its state is unknown.
fn socket(info: &SocketInfo) -> Option<Socket> {
    let (local, state, peer) = match &info.protocol_socket_info {
        ProtocolSocketInfo::Tcp(tcp) => {
            let state = state(tcp.state)?;
            let peer =
                (!state.holds_port()).then_some(Peer { address: tcp.remote_addr, port: tcp.remote_port });
            ((Protocol::Tcp, tcp.local_addr, tcp.local_port), state, peer)
        }
        ProtocolSocketInfo::Udp(udp) => {
            ((Protocol::Udp, udp.local_addr, udp.local_port), State::Unconnected, None)
        }
    };
    let pids: BTreeSet<Pid> = info.associated_pids.iter().copied().collect();
    let owner =
        if pids.is_empty() { Owner::Unknown } else { Owner::Held(Arc::new(pids.into_iter().collect())) };
    #[cfg_attr(not(target_os = "linux"), expect(unused_mut, reason = "only Linux has more states"))]
    let mut socket = bare(local, state, peer, owner);
    #[cfg(target_os = "linux")]
    {
        socket.inode = u64::from(info.inode).try_into().ok();
        Arc::make_mut(&mut socket.attributes).uid = Some(info.uid);
    }
    Some(socket)
}

fn state(state: TcpState) -> Option<State> {
    Some(match state {
        TcpState::Listen => State::Listen,
        TcpState::SynSent => State::SynSent,
        TcpState::SynReceived => State::SynRecv,
        TcpState::Established => State::Established,
        TcpState::FinWait1 => State::FinWait1,
        TcpState::FinWait2 => State::FinWait2,
        TcpState::CloseWait => State::CloseWait,
        TcpState::Closing => State::Closing,
        TcpState::LastAck => State::LastAck,
        TcpState::TimeWait => State::TimeWait,
        TcpState::Closed | TcpState::DeleteTcb => State::Close,
        TcpState::Unknown => return None,
    })
}
