//! Who holds a socket, as the evidence of a finding tells it.

use std::net::IpAddr;

use serde::Serialize;

use super::{Device, Pid};

/// Holders that differ in nothing but their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The id of the first of them.
    pub pid: Pid,
    /// How many there are.
    pub count: usize,
    /// The name they go by.
    pub name: Option<String>,
    /// Their effective user id.
    pub uid: Option<u32>,
    /// The name of their user.
    pub user: Option<String>,
    /// The path of the file they run.
    pub exe: Option<String>,
}

/// The holders of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holders {
    /// Those that could be read, of each kind one entry, the first few.
    pub known: Vec<Holder>,
    /// How many kinds there are beyond those.
    pub more: usize,
    /// How many holders could not be read.
    pub unread: usize,
}

/// One side of two that claim the same traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The address it is bound to.
    pub address: IpAddr,
    /// The device it is bound to.
    pub device: Option<Device>,
    /// Who holds it.
    pub holders: Holders,
}

/// In what the holders of one port differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// The user they run as.
    User,
    /// The file they run.
    Executable,
}

/// A process and the file it runs, as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// The process.
    pub pid: Pid,
    /// The name it goes by.
    pub name: Option<String>,
    /// The path of its file.
    pub exe: String,
}

/// What is odd about where a program runs from, the gravest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum Place {
    /// Memory: there never was a file on disk.
    Memory,
    /// Below a folder into which anybody may write.
    WorldWritable {
        /// The nearest such folder.
        folder: String,
    },
    /// Below a folder whose name begins with a dot.
    Hidden {
        /// The nearest such folder.
        folder: String,
    },
}

/// A program that runs from an odd place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OddProgram {
    /// Which.
    #[serde(flatten)]
    pub running: Running,
    /// From where.
    #[serde(flatten)]
    pub place: Place,
}
