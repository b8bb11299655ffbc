//! Parses the configuration of a Kafka broker.

use std::collections::HashMap;

use super::lines;
use super::parse::admitted;
use crate::model::AccessSetting;

/// Parses `server.properties` of Kafka. Returns the authentication that each listener requires.
pub(super) fn kafka(bytes: &[u8]) -> Vec<AccessSetting> {
    let properties = lines::properties(&String::from_utf8_lossy(bytes));
    let value = |key: &str| properties.get(key).map(|value| value.trim());
    let protocols: HashMap<&str, &str> = value("listener.security.protocol.map")
        .map(|map| map.split(',').filter_map(|pair| pair.trim().split_once(':')).collect())
        .unwrap_or_default();
    let listeners = value("listeners").unwrap_or("PLAINTEXT://:9092");
    let access = listeners.split(',').filter_map(|listener| {
        let (name, address) = listener.trim().split_once("://")?;
        let port = address.rsplit(':').next()?.parse().ok()?;
        let protocol = protocols.get(name).copied().unwrap_or(name).trim().to_ascii_uppercase();
        let own = format!("listener.name.{}.ssl.client.auth", name.to_ascii_lowercase());
        let client = value(&own).or_else(|| value("ssl.client.auth"));
        let asks_for_certificate = client.is_some_and(|value| value.eq_ignore_ascii_case("required"));
        let (setting, authenticates) = match protocol.as_str() {
            "SASL_SSL" => ("listener SASL_SSL", true),
            "SASL_PLAINTEXT" => ("listener SASL_PLAINTEXT", true),
            "SSL" if asks_for_certificate => ("listener SSL, ssl.client.auth=required", true),
            "SSL" => ("listener SSL, no ssl.client.auth", false),
            "PLAINTEXT" => ("listener PLAINTEXT", false),
            _ => return None,
        };
        Some(AccessSetting {
            port: Some(port),
            setting: setting.to_owned(),
            clients: admitted(authenticates),
        })
    });
    access.take(MOST_LISTENERS).collect()
}

/// The maximum number of listeners. Real brokers have two to five.
const MOST_LISTENERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AdmittedClients;

    fn found(text: &str) -> Vec<(Option<u16>, String, bool)> {
        let settings = kafka(text.as_bytes()).into_iter();
        settings.map(|one| (one.port, one.setting, one.clients == AdmittedClients::Authenticated)).collect()
    }

    #[test]
    fn each_listener_of_kafka_decides_for_its_port() {
        let text = "# x\nlisteners=PLAINTEXT://:9092,SASL_SSL://0.0.0.0:9093,\\\nIN://[::]:9094,TLS://:9095,X://:9096\n\
                    listener.security.protocol.map=IN:SASL_PLAINTEXT,TLS:SSL,X:NEW\n\
                    listener.name.tls.ssl.client.auth=required\n";
        let listener = |port, setting: &str, authenticates| (Some(port), setting.to_owned(), authenticates);
        assert_eq!(
            found(text),
            [
                listener(9092, "listener PLAINTEXT", false),
                listener(9093, "listener SASL_SSL", true),
                listener(9094, "listener SASL_PLAINTEXT", true),
                listener(9095, "listener SSL, ssl.client.auth=required", true),
            ]
        );
        assert_eq!(found(""), [listener(9092, "listener PLAINTEXT", false)]);
        let open = found("listeners=SSL://:1\n");
        assert_eq!(open, [listener(1, "listener SSL, no ssl.client.auth", false)]);
    }

    /// Tests the separators and comments of `java.util.Properties`.
    #[test]
    fn the_last_line_of_any_form_counts() {
        for last in [
            "listeners: PLAINTEXT://:9092",
            "listeners PLAINTEXT://:9092",
            "# x \\\nlisteners = PLAINTEXT://:9092",
            "listen\\\n  ers=PLAINTEXT://:9092",
        ] {
            let text = format!("listeners=SASL_PLAINTEXT://:9092\n{last}\n");
            assert_eq!(found(&text), [(Some(9092), "listener PLAINTEXT".to_owned(), false)], "{last}");
        }
    }

    #[test]
    fn any_bytes_are_parsed() {
        for text in ["", "=", "\\", "listeners=://:", "listeners=\\u", "\u{fffd}"] {
            assert!(kafka(text.as_bytes()).len() <= 1, "{text}");
        }
    }
}
