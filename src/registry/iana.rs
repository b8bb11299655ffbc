//! Reads IANA's CSV of port assignments.
//!
//! Contacts and email addresses are dropped. A row that cannot be read is an error with its position.

use std::fmt;

use crate::model::{PortRange, Protocol};

use super::row::{RESERVED, UNASSIGNED, ports};

/// The protocols for which IANA registers ports.
const REGISTERED: [Protocol; 4] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp, Protocol::Dccp];

/// The error in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSource(
    /// The line and the error, in lower case.
    pub String,
);

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSource {}

/// A row of the registry for one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub ports: PortRange,
    pub protocol: Protocol,
    pub content: Content,
}

/// The content of a row, without its ports and protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub service: Option<String>,
    pub description: Option<String>,
    pub assignee: Option<String>,
    pub registered: Option<String>,
    pub modified: Option<String>,
    pub reference: Option<String>,
    pub since: Option<String>,
    pub notes: Option<String>,
}

impl Content {
    /// Returns the content of a row without a name. The result has the description `Reserved` or `Unassigned`. Any
    /// other description becomes a note.
    pub fn unnamed(description: &str) -> Self {
        let plain = description.to_ascii_lowercase();
        let (class, said) = match plain.as_str() {
            "reserved" | "iana reserved" | "reserved - iana" => (RESERVED, None),
            "unassigned" | "" => (UNASSIGNED, None),
            _ if plain.starts_with("any private ") => (RESERVED, Some(description)),
            _ => (UNASSIGNED, Some(description)),
        };
        Content { description: Some(class.to_owned()), notes: said.map(str::to_owned), ..Content::default() }
    }

    /// Adds a sentence to the notes.
    pub fn note(&mut self, text: &str) {
        match &mut self.notes {
            Some(notes) => {
                notes.push_str("; ");
                notes.push_str(text);
            }
            None => self.notes = Some(text.to_owned()),
        }
    }

    /// Returns whether the row says only that the port is unassigned. A missing row means the same.
    pub fn is_bare(&self) -> bool {
        self.service.is_none() && *self == Content::unnamed(UNASSIGNED)
    }

    /// Sets the description. A note of IANA at the end of the description moves to the notes.
    pub fn describe(&mut self, description: &str) {
        const REPLACES: &str = "IANA assigned this well-formed service name as a replacement for";
        self.description = match description.find(REPLACES) {
            Some(at) => {
                self.note(&description[at..]);
                some(description[..at].trim_end())
            }
            None => some(description),
        };
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns one line with single blanks and without email addresses (`<somebody&example.org>` in IANA's spelling).
pub fn tidy(text: &str) -> String {
    let address = |word: &str| word.starts_with('<') && word.ends_with('>') && word.contains(['&', '@']);
    text.split_whitespace().filter(|word| !address(word)).collect::<Vec<_>>().join(" ")
}

/// Returns the readable name of an assignee: `Jon Postel` for `[Jon_Postel]`. Several names are joined by commas. IANA
/// adds a suffix such as `_2` to equal names, and this suffix is removed.
fn assignee(text: &str) -> Option<String> {
    let names = text.split(['[', ']']).map(str::trim).filter(|name| !name.is_empty()).map(|name| {
        let counted = name.rsplit_once('_').filter(|(_, n)| n.len() == 1 && n.as_bytes()[0].is_ascii_digit());
        tidy(&counted.map_or(name, |(name, _)| name).replace('_', " "))
    });
    some(&names.collect::<Vec<_>>().join(", "))
}

/// Parses IANA's CSV. Returns one entry for each protocol of each row that has a port, in the order of the CSV.
pub fn rows(csv: &[u8]) -> Result<Vec<Entry>, BadSource> {
    let bad = |line: u64, what: &str| BadSource(format!("line {line}: {what}"));
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(csv);
    let header = reader.byte_headers().map_err(|e| BadSource(e.to_string()))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|field| field.trim_ascii() == name.as_bytes())
            .ok_or_else(|| BadSource(format!("no column \"{name}\": this is not IANA's registry of ports")))
    };
    let [service, number, transport, description, owner, registered, modified, reference, misuse, notes] = [
        column("Service Name")?,
        column("Port Number")?,
        column("Transport Protocol")?,
        column("Description")?,
        column("Assignee")?,
        column("Registration Date")?,
        column("Modification Date")?,
        column("Reference")?,
        column("Unauthorized Use Reported")?,
        column("Assignment Notes")?,
    ];

    let mut entries = Vec::new();
    for record in reader.byte_records() {
        let record = record.map_err(|e| BadSource(e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| tidy(&String::from_utf8_lossy(record.get(at).unwrap_or_default()));
        let number = field(number);
        if number.is_empty() {
            continue; // a service name without a port
        }
        let ports = ports(&number).ok_or_else(|| bad(line, &format!("\"{number}\" is not a port")))?;
        let service = some(&field(service));
        let protocols = match (field(transport).as_str(), &service) {
            ("", Some(_)) => vec![Protocol::Tcp, Protocol::Udp],
            ("", None) => REGISTERED.to_vec(),
            (name, _) => vec![name.parse().map_err(|_| bad(line, &format!("unknown protocol \"{name}\"")))?],
        };
        let mut content = match service {
            Some(_) => {
                let mut content = Content { service, ..Content::default() };
                content.describe(&field(description));
                content
            }
            None => Content::unnamed(&field(description)),
        };
        content.assignee = assignee(&field(owner));
        content.registered = some(&field(registered));
        content.modified = some(&field(modified));
        content.reference = some(&field(reference)).filter(|reference| reference != "[n/a]");
        for more in [field(misuse), field(notes)] {
            if !more.is_empty() {
                content.note(&more);
            }
        }
        entries.extend(protocols.into_iter().map(|protocol| Entry {
            ports,
            protocol,
            content: content.clone(),
        }));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_tidied() {
        for (raw, tidied) in [
            ("two\n   lines", "two lines"),
            ("see <somebody&example.org> there", "see there"),
            ("see <somebody@example.org>", "see"),
            ("u=<username> p=<password>", "u=<username> p=<password>"),
            ("R&D <www.example.org>", "R&D <www.example.org>"),
        ] {
            assert_eq!(tidy(raw), tidied);
        }
    }

    #[test]
    fn assignees_are_readable() {
        for (raw, shown) in [
            ("", None),
            ("[Jon_Postel]", Some("Jon Postel")),
            ("[Bob_Braden_2]", Some("Bob Braden")),
            ("[Cliff_Diamond][Andy_Georgiou]", Some("Cliff Diamond, Andy Georgiou")),
            ("[Symantec_Corp2]", Some("Symantec Corp2")),
            ("[_88solutions_Corporation]", Some("88solutions Corporation")),
            ("[IESG]", Some("IESG")),
        ] {
            assert_eq!(assignee(raw).as_deref(), shown, "{raw}");
        }
    }

    #[test]
    fn unnamed_rows_are_reserved_or_unassigned() {
        for (raw, class, said) in [
            ("Reserved", RESERVED, None),
            ("IANA Reserved", RESERVED, None),
            ("Reserved - IANA", RESERVED, None),
            ("any private RJE service", RESERVED, Some("any private RJE service")),
            ("Unassigned", UNASSIGNED, None),
            ("unassigned", UNASSIGNED, None),
            ("De-registered", UNASSIGNED, Some("De-registered")),
            ("Possibly used by Sun Solaris????", UNASSIGNED, Some("Possibly used by Sun Solaris????")),
        ] {
            let content = Content::unnamed(raw);
            assert_eq!(
                (content.description.as_deref(), content.notes.as_deref()),
                (Some(class), said),
                "{raw}"
            );
            assert_eq!(content.is_bare(), class == UNASSIGNED && said.is_none(), "{raw}");
        }
    }

    const HEADER: &str = "Service Name,Port Number,Transport Protocol,Description,Assignee,Contact,Registration \
        Date,Modification Date,Reference,Service Code,Unauthorized Use Reported,Assignment Notes\n";

    fn read(lines: &str) -> Result<Vec<Entry>, BadSource> {
        rows(format!("{HEADER}{lines}").as_bytes())
    }

    #[test]
    fn rows_are_read() {
        let rows = read(
            "ssh,22,tcp,\"The\n Shell\",[A_B],[C_D],2001-01,2002-02-02,[RFC4251],17,Used,\"A\nnote\"\n\
             nameonly,,tcp,,,,,,,,,\n\
             boe,6400,,,,,,,,,,\n\
             ,51,,Reserved,,,,,,,,\n\
             x11,6000-6063,udp,X,,,,,[n/a],,,\n\
             a-b,7,tcp,\"A IANA assigned this well-formed service name as a replacement for \"\"a_b\"\".\",,,,,,,,\n",
        )
        .unwrap();
        let ssh = &rows[0];
        assert_eq!((ssh.ports, ssh.protocol), (PortRange::single(22), Protocol::Tcp));
        assert_eq!(
            ssh.content,
            Content {
                service: Some("ssh".into()),
                description: Some("The Shell".into()),
                assignee: Some("A B".into()),
                registered: Some("2001-01".into()),
                modified: Some("2002-02-02".into()),
                reference: Some("[RFC4251]".into()),
                notes: Some("Used; A note".into()),
                ..Content::default()
            }
        );
        let places: Vec<_> = rows.iter().map(|row| format!("{}/{}", row.ports, row.protocol)).collect();
        assert_eq!(
            places,
            [
                "22/tcp",
                "6400/tcp",
                "6400/udp",
                "51/tcp",
                "51/udp",
                "51/sctp",
                "51/dccp",
                "6000-6063/udp",
                "7/tcp"
            ]
        );
        assert_eq!(rows[7].content.reference, None);
        assert_eq!(rows[8].content.description.as_deref(), Some("A"));
        assert!(rows[8].content.notes.as_deref().unwrap().ends_with("for \"a_b\"."));
    }

    #[test]
    fn bad_rows_are_refused() {
        for (lines, expected) in [
            ("ssh,22x,tcp,,,,,,,,,\n", "line 2: \"22x\" is not a port"),
            ("a,1,tcp,,,,,,,,,\nssh,22,icmp,,,,,,,,,\n", "line 3: unknown protocol \"icmp\""),
            ("ssh,9-1,tcp,,,,,,,,,\n", "line 2: \"9-1\" is not a port"),
        ] {
            assert_eq!(read(lines).unwrap_err().to_string(), expected);
        }
        assert!(rows(b"a,b\n1,2\n").unwrap_err().to_string().contains("Service Name"));
    }
}
