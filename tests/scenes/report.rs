//! Reads a report: its listeners, their processes, and whether it is complete.

use libtest_mimic::Failed;
use serde_json::Value;

use crate::same;

/// The result of a scene.
pub type Outcome = Result<(), Failed>;

/// Returns the listeners of a listing.
pub fn listeners(report: &Value) -> Result<&Vec<Value>, Failed> {
    report["listeners"].as_array().ok_or_else(|| "no listeners in the report".into())
}

/// Returns the one listener on a port.
pub fn on_port(report: &Value, port: u16) -> Result<&Value, Failed> {
    let found: Vec<_> = listeners(report)?.iter().filter(|l| l["port"] == port).collect();
    match found[..] {
        [one] => Ok(one),
        _ => Err(format!("{} listeners on port {port} in\n{}", found.len(), summary(report)).into()),
    }
}

/// Returns the codes of a listener's flags.
pub fn flags(listener: &Value) -> Vec<&str> {
    listener["flags"].as_array().into_iter().flatten().filter_map(|flag| flag["code"].as_str()).collect()
}

/// Returns the pids of a listener's processes.
pub fn pids(listener: &Value) -> Vec<u32> {
    let processes = listener["processes"].as_array().into_iter().flatten();
    processes.filter_map(|process| process["pid"].as_u64()?.try_into().ok()).collect()
}

/// Asserts that everything was visible: this number of listeners, and no gap.
#[cfg(target_os = "linux")]
pub fn complete(report: &Value, count: usize) -> Outcome {
    let gaps = report["gaps"].as_array().ok_or("no gaps in the report")?;
    same!(*gaps, Vec::<Value>::new());
    same!(report["complete"], true);
    same!(listeners(report)?.len(), count, "\n{}", summary(report));
    Ok(())
}

/// Asserts that a gap exists, of this stage and with this text in its reason.
#[cfg(target_os = "linux")]
pub fn gap(report: &Value, stage: &str, why: &str) -> Outcome {
    same!(report["complete"], false, "\n{}", summary(report));
    let gaps = report["gaps"].as_array().ok_or("no gaps in the report")?;
    let said =
        |gap: &Value| gap["stage"] == stage && gap["why"].as_str().is_some_and(|text| text.contains(why));
    same!(gaps.iter().any(said), true, "{gaps:#?}");
    Ok(())
}

/// Asserts that exactly these processes own the one listener on a port.
pub fn held(report: &Value, port: u16, servers: &[u32]) -> Outcome {
    let listener = on_port(report, port)?;
    same!(listener["owner"], "held", "{listener}");
    let mut wanted = servers.to_vec();
    wanted.sort_unstable();
    same!(pids(listener), wanted, "port {port}");
    Ok(())
}

/// The maximum number of lines of one text that a failure prints.
const LINES: usize = 40;
const CHARACTERS: usize = 3000;

/// Returns the beginning of a text, and the number of further lines.
pub fn brief(text: &str) -> String {
    let ends = text.match_indices('\n').nth(LINES).map_or(text.len(), |(at, _)| at);
    let ends = text.char_indices().nth(CHARACTERS).map_or(ends, |(at, _)| at.min(ends));
    match text.len() - ends {
        0 => text.to_owned(),
        more => format!("{}\n[… {more} bytes more]", &text[..ends]),
    }
}

/// Returns one line per listener (address, owner, pids and flags) and per gap.
pub fn summary(report: &Value) -> String {
    let seen = report["listeners"].as_array().into_iter().flatten().map(|listener| {
        let [protocol, address, owner] =
            ["protocol", "address", "owner"].map(|key| listener[key].as_str().unwrap_or("?"));
        let (pids, flags) = (pids(listener), flags(listener));
        format!("{protocol} {address} {} {owner} {pids:?} {flags:?}", listener["port"])
    });
    let gaps = report["gaps"].as_array().into_iter().flatten().map(|gap| format!("gap: {gap}"));
    brief(&gaps.chain(seen).collect::<Vec<_>>().join("\n"))
}

/// Fails with both values if they differ.
#[macro_export]
macro_rules! same {
    ($left:expr, $right:expr) => {
        same!($left, $right, "")
    };
    ($left:expr, $right:expr, $($about:tt)+) => {{
        match (&$left, &$right) {
            (left, right) if left != right => {
                let [left, right] = [format!("{left:?}"), format!("{right:?}")].map(|text| $crate::report::brief(&text));
                let about = $crate::report::brief(&format!($($about)+));
                return Err(format!("{}:{}: {left} is not {right} {about}", file!(), line!()).into());
            }
            _ => {}
        }
    }};
}
