//! Checks single lines of the card of a port.

use super::super::fixtures::*;
use super::card::card;
use super::terminal;
use crate::model::*;

#[test]
fn each_protocol_names_its_listeners() {
    let mut scene = scene();
    scene.sockets.push(socket("udp/0.0.0.0:8000", Owner::Held(vec![812].into())));
    scene.sockets.push(socket("udp/127.0.0.1:8000", Owner::Hidden));
    let card = card(&scene, &[8000], &terminal(200));
    let here: Vec<_> = card.lines().filter_map(|line| line.strip_prefix("  Here now    ")).collect();
    let [tcp, udp] = here[..] else { panic!("{card}") };
    assert_eq!(tcp, "nginx (pid 21) and 4 more processes have this port open.");
    let hidden = "owner hidden, so only the port and the unit were judged.";
    assert_eq!(udp, format!("python3 -m serve (pid 812) has this port open; {hidden}"));
}

#[test]
fn each_malware_is_named_once_with_its_year() {
    for (port, names) in [
        (445, "Sasser (2004); Conficker (2008); WannaCry (2017); NotPetya (2017)"),
        (27374, "Sub7 (1999)."),
        (6667, "Agobot (2002); SDBot (2002)"),
    ] {
        let card = card(&empty(), &[port], &terminal(200));
        assert!(card.contains(names), "{card}");
    }
}

#[test]
fn the_sentence_of_a_living_registration_is_shown_once() {
    for (port, status) in
        [(1998, "x25-svc-port is presumed to be in use.\n"), (7574, "coherence is in use (https:")]
    {
        let card = card(&empty(), &[port], &terminal(250));
        let what = card.lines().find_map(|line| line.strip_prefix("  What        ")).unwrap();
        assert_eq!(card.matches(what.trim_end_matches('.')).count(), 1, "{card}");
        assert!(card.contains(status), "{card}");
    }
}

/// IANA lists the old spelling of a name as a registration of its own: `914c/g`, now `914c-g`.
#[test]
fn another_spelling_of_a_name_is_no_second_registration() {
    for (port, name, spelling) in [(211, "914c-g", "914c/g"), (4151, "menandmice-noh", "menandmice_noh")] {
        let card = card(&empty(), &[port], &terminal(200));
        let with = |label: &str| card.lines().filter(|line| line.contains(label)).count();
        assert!(card.contains(&format!("also written {spelling})")), "{card}");
        assert_eq!((with("  Registered"), with(&format!("{spelling} is"))), (1, 0), "{card}");
        assert!(
            with(&format!("{name}: ")) > 0 && !card.contains(&format!("registered for {spelling}")),
            "{card}"
        );
    }
}
