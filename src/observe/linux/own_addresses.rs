//! The addresses for which the network namespace of the calling thread accepts packets.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::links;

#[derive(Debug, Default)]
pub(super) struct OwnAddresses {
    /// The addresses of all devices. `None` before the first request. Empty if the addresses could not be read.
    devices: Option<HashSet<IpAddr>>,
    /// The answers of the kernel about addresses that no device has.
    routes: HashMap<IpAddr, bool>,
}

impl OwnAddresses {
    /// Returns whether an address may belong to the namespace, on a device or through a local route. Also returns true
    /// if the address needs no device, or if the kernel gives no certain answer.
    pub(super) fn has(&mut self, address: IpAddr) -> bool {
        let needs_no_device = match address {
            IpAddr::V4(four) => {
                four.is_unspecified() || four.is_loopback() || four.is_multicast() || four.is_broadcast()
            }
            // The route of a link-local address depends on the link, which is not known here.
            IpAddr::V6(six) => {
                six.is_unspecified() || six.is_loopback() || six.is_multicast() || six.is_unicast_link_local()
            }
        };
        if needs_no_device {
            return true;
        }
        let devices = self.devices.get_or_insert_with(|| links::all_addresses().unwrap_or_default());
        devices.is_empty()
            || devices.contains(&address)
            || *self.routes.entry(address).or_insert_with(|| {
                links::is_local(address).unwrap_or(true) || links::has_further_rules(address)
            })
    }
}
