//! Many sockets, and sockets that open and close: each lasting socket appears exactly once.

use std::collections::BTreeMap;

use crate::lab::{Lab, Outcome, Scene, Server, complete, gap, listeners, on_port, pids};
use crate::same;

pub const SCENES: &[Scene] =
    &[("ten_thousand_in_one_process", ten_thousand_in_one_process), ("churn", churn), ("renewed", renewed)];

/// Returns the ports from 10,001 to 10,000 + `count` that do not appear exactly once with this process as the only
/// owner, each with the number of its appearances.
fn missing_or_doubled(
    lab: &Lab,
    count: u16,
    server: &Server,
) -> Result<BTreeMap<u16, u32>, libtest_mimic::Failed> {
    let report = lab.json(&[])?;
    let mut times: BTreeMap<u16, u32> = (10_001..=10_000 + count).map(|port| (port, 0)).collect();
    for listener in listeners(&report)? {
        let port = u16::try_from(listener["port"].as_u64().unwrap())?;
        if let Some(count) = times.get_mut(&port) {
            same!(pids(listener), [server.pid()], "port {port}: {}", listener["owner"]);
            *count += 1;
        }
    }
    times.retain(|_, count| *count != 1);
    Ok(times)
}

fn ten_thousand_in_one_process(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = lab.helper(["many", "10000"])?;
    complete(&lab.json(&[])?, 10_000)?;
    same!(missing_or_doubled(lab, 10_000, &server)?, BTreeMap::new());
    let table = String::from_utf8(lab.portolan([""; 0]).output()?.stdout)?;
    same!(table.contains("10000") || table.lines().count() > 10_000, true, "{}", table.lines().count());
    Ok(())
}

/// 200 lasting listeners, next to some 2,000 listeners per second that open and close, over many scans.
fn churn(lab: &Lab) -> Outcome {
    const SCANS: usize = 40;
    lab.alone()?;
    let server = lab.helper(["many", "200"])?;
    let noise = lab.helper(["churn"])?;
    for scan in 0..SCANS {
        same!(missing_or_doubled(lab, 200, &server)?, BTreeMap::new(), "scan {scan}");
    }
    let count: usize = noise.end()?[0].parse()?;
    // Sockets open and close during each scan, even on a busy machine.
    same!(count > 10 * SCANS, true, "{count} listeners came and went during {SCANS} scans");
    Ok(())
}

/// A port that always accepts connections, although its socket is replaced all the time: the owner is found, or there
/// is a gap.
fn renewed(lab: &Lab) -> Outcome {
    lab.alone()?;
    let server = lab.helper(["renewed", "127.0.0.1:8301"])?;
    for scan in 0..10 {
        let report = lab.json(&[])?;
        let listener = on_port(&report, 8301)?;
        if pids(listener) != [server.pid()] {
            same!(listener["owner"], "hidden", "scan {scan}");
            same!(report["complete"], false, "scan {scan}");
            gap(&report, "owners", "tcp/127.0.0.1:8301")?;
        }
    }
    Ok(())
}
