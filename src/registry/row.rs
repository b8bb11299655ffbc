//! Parses the lines of the data files.
//!
//! An empty field is `None`. A malformed line is skipped, because the program must not stop. Tests check that the
//! embedded files have no malformed line.

use crate::model::{Confidence, Curated, CuratedState, EvidenceSource, PortRange, Protocol, alias_in, named};

pub(super) const COLUMNS: [&str; 10] = [
    "ports",
    "protocols",
    "service",
    "description",
    "assignee",
    "registered",
    "modified",
    "reference",
    "since",
    "notes",
];

/// The description of a row without a name, as the generator writes it.
pub(super) const RESERVED: &str = "Reserved";
pub(super) const UNASSIGNED: &str = "Unassigned";

/// The line before the rows that cover more than one port.
pub(super) const RANGES: &str = "\n# ranges\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegistryRow {
    pub(super) ports: PortRange,
    /// The names of the protocols, joined by commas.
    pub(super) protocols: &'static str,
    /// The service name. `None` if the row reserves the port, or says why no service is assigned.
    pub(super) service: Option<&'static str>,
    pub(super) description: Option<&'static str>,
    pub(super) assignee: Option<&'static str>,
    pub(super) registered: Option<&'static str>,
    pub(super) modified: Option<&'static str>,
    pub(super) reference: Option<&'static str>,
    /// The earliest and the latest possible time of the registration, known only for rows from the package
    /// `port-numbers`. IANA's older CSV does not contain these rows, so their assignee, dates and reference are
    /// unknown.
    pub(super) since: Option<&'static str>,
    pub(super) notes: Option<&'static str>,
}

fn text(field: Option<&'static str>) -> Option<&'static str> {
    field.filter(|field| !field.is_empty())
}

/// Parses `80` or `6000-6063`.
pub(super) fn ports(field: &str) -> Option<PortRange> {
    match field.split_once('-') {
        Some((low, high)) => PortRange::new(low.parse().ok()?, high.parse().ok()?),
        None => field.parse().ok().map(PortRange::single),
    }
}

pub(super) fn ports_of(line: &str) -> Option<PortRange> {
    ports(line.split_once('\t')?.0)
}

impl RegistryRow {
    pub(super) fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(RegistryRow {
            ports: ports(fields.next()?)?,
            protocols: text(fields.next())?,
            service: text(fields.next()),
            description: text(fields.next()),
            assignee: text(fields.next()),
            registered: text(fields.next()),
            modified: text(fields.next()),
            reference: text(fields.next()),
            since: text(fields.next()),
            notes: text(fields.next()),
        })
    }

    /// Returns the protocols, in the order of listings.
    pub(super) fn protocols(&self) -> impl Iterator<Item = Protocol> + use<> {
        self.protocols.split(',').filter_map(|name| name.parse().ok())
    }

    /// Returns the protocols of all rows that have these ports and this service. The rows may differ in other fields,
    /// such as the assignee.
    pub(super) fn protocols_of_service(&self, rows: impl Iterator<Item = RegistryRow>) -> Vec<Protocol> {
        rows.filter(|row| row.ports == self.ports && row.service == self.service)
            .flat_map(|row| row.protocols())
            .collect()
    }

    pub(super) fn covers(&self, port: u16, protocol: Protocol) -> bool {
        self.ports.contains(port) && self.protocols.split(',').any(|name| name == protocol.name())
    }

    /// Returns the name that this row is an alias of, according to IANA's note.
    pub(super) fn alias_of(&self) -> Option<&'static str> {
        alias_in(self.notes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) ports: PortRange,
    pub(super) protocols: &'static str,
    /// The registered service that the evidence names; `None` if it names another service.
    pub(super) service: Option<&'static str>,
    kinds: &'static str,
    agreeing: &'static str,
}

impl Evidence {
    pub(super) fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Evidence {
            ports: ports(fields.next()?)?,
            protocols: text(fields.next())?,
            service: text(fields.next()),
            kinds: fields.next()?,
            agreeing: fields.next().unwrap_or_default(),
        })
    }

    pub(super) fn is_of(&self, protocol: Protocol) -> bool {
        self.protocols.split(',').any(|name| name == protocol.name())
    }

    /// Returns the kinds of packaged source that use this name, in ascending order.
    pub(super) fn kinds(&self) -> impl Iterator<Item = EvidenceSource> + use<> {
        kinds(self.kinds)
    }

    /// Returns the kinds of source that agree on another name for the port.
    pub(super) fn agreeing(&self) -> impl Iterator<Item = EvidenceSource> + use<> {
        kinds(self.agreeing)
    }
}

fn kinds(field: &'static str) -> impl Iterator<Item = EvidenceSource> {
    field
        .split(',')
        .filter_map(|name| EvidenceSource::named(name).filter(|kind| EvidenceSource::PACKAGED.contains(kind)))
}

/// A row of `orphans.tsv` or `live.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CuratedRow {
    pub(super) ports: PortRange,
    pub(super) protocols: &'static str,
    pub(super) service: &'static str,
    pub(super) curated: Curated,
    /// The kinds of packaged source that still name an orphaned or legacy registration, joined by commas.
    #[allow(dead_code, reason = "read by the tests of the lists")]
    pub(super) despite: &'static str,
}

impl CuratedRow {
    pub(super) fn dead(line: &'static str) -> Option<Self> {
        CuratedRow::parse(line, true)
    }

    /// Parses a line of `live.tsv`, which has no column `ended`.
    pub(super) fn live(line: &'static str) -> Option<Self> {
        CuratedRow::parse(line, false)
    }

    fn parse(line: &'static str, with_end: bool) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(CuratedRow {
            ports: ports(fields.next()?)?,
            protocols: text(fields.next())?,
            service: text(fields.next())?,
            curated: Curated {
                product: text(fields.next())?,
                standing: CuratedState::named(fields.next()?)?,
                ended: if with_end { text(fields.next()) } else { None },
                reason: text(fields.next())?,
                source: text(fields.next()),
                confidence: Confidence::named(fields.next()?)?,
                now_used_by: text(fields.next()),
                basis: text(fields.next()),
            },
            despite: fields.next().unwrap_or_default(),
        })
    }

    /// Returns whether the row is about this registration. Ports and name must be exactly as registered.
    pub(super) fn is_on(&self, row: &RegistryRow, protocol: Protocol) -> bool {
        self.ports == row.ports
            && row.service == Some(self.service)
            && self.protocols.split('+').any(|name| name == protocol.name())
    }
}

named! {
    /// The relation of a known use to the registration.
    pub(super) enum Relation {
        /// The use is not the registered service, or no service is registered.
        Other = "other",
        Registered = "registered",
        /// The registered service uses the port, and so does another service.
        Both = "both",
        /// Only malware is known to have used the port. This changes no status.
        Abused = "abused",
        /// The use is too rare to explain a listener. Outputs name the use, but it changes no status.
        Rare = "rare",
    }
}

/// A row of `known-uses.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownUse {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) relation: Relation,
    /// The registered names, joined by commas; empty if no service is registered.
    pub(super) services: &'static str,
    /// The program or service that uses the port. Only a use of the kind [`Relation::Abused`] has none.
    pub(super) text: Option<&'static str>,
    /// Malware that listened on the port or spread through it, each with its year.
    pub(super) abused_by: Option<&'static str>,
}

impl KnownUse {
    pub(super) fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(KnownUse {
            port: fields.next()?.parse().ok()?,
            protocol: fields.next()?.parse().ok()?,
            relation: Relation::named(fields.next()?)?,
            services: fields.next()?,
            text: text(fields.next()),
            abused_by: text(fields.next()),
        })
    }

    pub(super) fn is_use_of(&self, service: &str) -> bool {
        matches!(self.relation, Relation::Registered | Relation::Both)
            && self.services.split(',').any(|name| name == service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_none_and_short_lines_are_read() {
        let row = RegistryRow::parse("6000-6063\ttcp,udp\tx11\t\tSomebody").unwrap();
        assert_eq!(row.ports, PortRange::new(6000, 6063).unwrap());
        assert_eq!((row.service, row.description, row.assignee), (Some("x11"), None, Some("Somebody")));
        assert_eq!(row.notes, None);
        assert!(row.covers(6063, Protocol::Udp) && !row.covers(6064, Protocol::Udp));
        assert!(!row.covers(6000, Protocol::Sctp));
        for line in ["", "x\ttcp\ta", "9-1\ttcp\ta", "65536\ttcp\ta", "1"] {
            assert_eq!(RegistryRow::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_curated_row_is_on_one_registration() {
        let curated = CuratedRow::dead("7-9\ttcp\ta\tA\tlegacy\t\tR.\t\tpresumed\t\tb").unwrap();
        assert_eq!(curated.curated.standing, CuratedState::Legacy);
        for (line, protocol, on) in [
            ("7-9\ttcp,udp\ta", Protocol::Tcp, true),
            ("7-9\ttcp,udp\ta", Protocol::Udp, false),
            ("7\ttcp,udp\ta", Protocol::Tcp, false),
            ("7-8\ttcp,udp\ta", Protocol::Tcp, false),
            ("7-9\ttcp\tA", Protocol::Tcp, false),
        ] {
            assert_eq!(curated.is_on(&RegistryRow::parse(line).unwrap(), protocol), on, "{line} {protocol}");
        }
    }

    #[test]
    fn aliases_are_read_from_the_notes() {
        let alias = "1\ttcp\ta_b\t\t\t\t\t\t\tSaid. This entry is an alias to \"a-b\". More.";
        assert_eq!(RegistryRow::parse(alias).unwrap().alias_of(), Some("a-b"));
        assert_eq!(RegistryRow::parse("1\ttcp\ta-b").unwrap().alias_of(), None);
    }
}
