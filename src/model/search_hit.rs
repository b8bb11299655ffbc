//! A port that a search for words found.

use serde::Serialize;

use super::{PortRange, Protocol, named};

named! {
    /// The kind of text in which the words of a search occur, the most important first.
    pub enum SearchField {
        /// The name of a common service or product.
        Name = "name",
        /// The name of malware that uses the port.
        Malware = "malware",
        /// The name of the registered service.
        Service = "service",
        /// The product that a curated list names for the registration.
        Product = "product",
        /// The product of a program that usually serves the port.
        Program = "program",
        /// A known use of the port.
        KnownUse = "known-use",
        /// The description of the registration.
        Description = "description",
        /// The sentence about a common service.
        Sentence = "sentence",
        /// The assignee of the registration.
        Assignee = "assignee",
    }
}

/// A port that a search found, with the text that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SearchHit {
    /// The ports.
    pub ports: PortRange,
    /// The protocol.
    pub protocol: Protocol,
    /// The kind of text that matched.
    pub field: SearchField,
    /// The text that matched.
    pub text: &'static str,
    /// The rank: lower is better.
    #[serde(skip)]
    pub rank: u16,
}
