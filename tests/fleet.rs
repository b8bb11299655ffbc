//! The SQL files for fleets: every engine declares exactly the columns of the JSON Schema, and a small fleet gives the
//! planned answers in each engine.
//!
//! `PORTOLAN_BLESS=1 cargo test --test fleet` writes the columns again. `PORTOLAN_TOOLS` names a directory with the
//! engines; `.ci/tools DIRECTORY` fills it. If the variable is not set, the tests that need an engine are reported as
//! ignored.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

fn main() {
    let arguments = Arguments::from_args();
    let tools = std::env::var_os("PORTOLAN_TOOLS").map(PathBuf::from);
    let python = tools.map(|tools| tools.join("python/bin/python")).filter(|python| python.exists());
    let absent = python.is_none() || !cfg!(target_os = "linux");
    let trials = vec![
        Trial::test("sql_declares_the_columns_of_the_schema", columns),
        Trial::test("a_fleet_of_50_hosts_is_judged_as_planned_in_three_engines", move || {
            fleet(&python.unwrap_or_default())
        })
        .with_ignored_flag(absent),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a part of a schema, and the name of the file that contains the part. `reference` is a `$ref` in `file`.
fn resolve(reference: &str, file: &str) -> (Value, String) {
    let (other, pointer) = reference.split_once('#').unwrap_or((reference, ""));
    let file = if other.is_empty() { file } else { other };
    let text = fs::read(root().join("src/share/schema").join(file)).unwrap();
    let schema: Value = serde_json::from_slice(&text).unwrap();
    let part = schema.pointer(pointer).unwrap_or_else(|| panic!("{file} has no {pointer}"));
    (part.clone(), file.to_owned())
}

/// Returns the schemas of which this schema is composed.
fn parts(schema: &Value) -> impl Iterator<Item = &Value> {
    ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten()
}

/// Adds the properties of a schema with the types that they can have.
fn add_properties(schema: &Value, file: &str, columns: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let (part, file) = resolve(reference, file);
        add_properties(&part, &file, columns);
    }
    for part in parts(schema) {
        add_properties(part, file, columns);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        add_types(property, file, columns.entry(name.clone()).or_default());
    }
}

/// Adds the types that a value of this schema can have, except null.
fn add_types(schema: &Value, file: &str, types: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let (part, file) = resolve(reference, file);
        add_types(&part, &file, types);
    }
    for part in parts(schema) {
        add_types(part, file, types);
    }
    let named = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => Vec::from_iter(name.as_str()),
    };
    for name in named.into_iter().filter(|name| *name != "null") {
        let is_time = name == "string" && schema["format"] == "date-time";
        types.insert(if is_time { "time" } else { name }.to_owned());
    }
    for value in schema["enum"].as_array().into_iter().flatten().chain(schema.get("const")) {
        assert!(value.is_string() || value.is_null(), "{value} in {file}");
        types.extend(value.is_string().then(|| "string".to_owned()));
    }
}

/// Returns the columns of the lines of an audit and of a brief listing, with the type of each: `string`, `time`,
/// `integer`, `boolean`, or `json` for all others.
fn declared() -> BTreeMap<String, &'static str> {
    let mut columns = BTreeMap::new();
    for file in ["portolan-2-audit-line.json", "portolan-2-brief.json"] {
        let (schema, file) = resolve(file, file);
        add_properties(&schema, &file, &mut columns);
    }
    let simple = |types: &BTreeSet<String>| {
        let mut names = types.iter();
        match (names.next().map(String::as_str), names.next()) {
            (Some("string"), None) => "string",
            (Some("time"), None) => "time",
            (Some("integer"), None) => "integer",
            (Some("boolean"), None) => "boolean",
            (Some(_), _) => "json",
            (None, _) => panic!("a column without a type"),
        }
    };
    columns.iter().map(|(name, types)| (name.clone(), simple(types))).collect()
}

fn duckdb(name: &str, kind: &str) -> String {
    let kind = match kind {
        "string" => "VARCHAR",
        "time" => "TIMESTAMPTZ",
        "integer" => "BIGINT",
        "boolean" => "BOOLEAN",
        _ => "JSON",
    };
    format!("'{name}': '{kind}'")
}

fn clickhouse(name: &str, kind: &str) -> String {
    match kind {
        "string" => format!("JSONExtract(line, '{name}', 'Nullable(String)') AS {name}"),
        "time" => {
            format!("parseDateTime64BestEffortOrNull(JSONExtractString(line, '{name}'), 3, 'UTC') AS {name}")
        }
        "integer" => format!("JSONExtract(line, '{name}', 'Nullable(Int64)') AS {name}"),
        "boolean" => format!("JSONExtract(line, '{name}', 'Nullable(Bool)') AS {name}"),
        _ => format!("nullIf(JSONExtractRaw(line, '{name}'), '') AS {name}"),
    }
}

fn postgresql(name: &str, kind: &str) -> String {
    let kind = match kind {
        "string" => "text",
        "time" => "timestamptz",
        "integer" => "bigint",
        "boolean" => "boolean",
        _ => "jsonb",
    };
    format!("\"{name}\" {kind}")
}

fn postgresql_name(name: &str, _kind: &str) -> String {
    format!("(one).\"{name}\"")
}

/// Replaces the lines between the line that contains `begin` and the next line that contains `end of columns`.
fn replaced(text: &str, begin: &str, lines: &[String]) -> String {
    let at = text.find(begin).unwrap_or_else(|| panic!("no {begin}"));
    let start = at + text[at..].find('\n').unwrap() + 1;
    let end = start + text[start..].find("-- end of columns").unwrap();
    let end = text[..end].rfind('\n').unwrap() + 1;
    format!("{}{}{}", &text[..start], lines.concat(), &text[end..])
}

fn columns() -> Result<(), Failed> {
    let declared = declared();
    type Column = fn(&str, &str) -> String;
    let sections: [(&str, &str, Column, bool); 4] = [
        ("duckdb", "-- columns:", duckdb, false),
        ("clickhouse", "-- columns:", clickhouse, false),
        ("postgresql", "-- columns:", postgresql, true),
        ("postgresql", "-- names of the columns:", postgresql_name, false),
    ];
    for (engine, begin, column, ends_with_comma) in sections {
        let path = root().join("src/share/sql").join(engine).join("load.sql");
        let text = fs::read_to_string(&path)?;
        let last = declared.len() - 1;
        let lines: Vec<String> = declared
            .iter()
            .enumerate()
            .map(|(at, (name, kind))| {
                let comma = if at == last && !ends_with_comma { "" } else { "," };
                format!("    {}{comma}\n", column(name, kind))
            })
            .collect();
        let wanted = replaced(&text, begin, &lines);
        if wanted == text {
            continue;
        }
        if std::env::var_os("PORTOLAN_BLESS").is_some() {
            fs::write(&path, wanted)?;
        }
        return Err(format!("{} does not have the columns of the schema", path.display()).into());
    }
    Ok(())
}

fn fleet(python: &Path) -> Result<(), Failed> {
    let mut command = Command::new(python);
    command.arg(root().join("tests/tools/fleet")).arg(env!("CARGO_BIN_EXE_portolan"));
    let output = command.args(["--hosts", "50"]).stdin(Stdio::null()).output()?;
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(printed.into()) }
}
