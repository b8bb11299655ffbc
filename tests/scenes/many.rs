//! Many sockets, and sockets that come and go: none of those that stay is missing, and none is shown twice.

use std::collections::BTreeMap;

use crate::lab::{Holder, Lab, Outcome, Scene, complete, listeners, pids};
use crate::same;

/// The scenes of this file.
pub const SCENES: &[Scene] =
    &[("ten_thousand_in_one_process", ten_thousand_in_one_process), ("churn", churn)];

/// How often each port from 10,001 to 10,000 + `count` is shown, held by this process alone.
fn shown(lab: &Lab, count: u16, holder: &Holder) -> Result<Vec<u16>, libtest_mimic::Failed> {
    let report = lab.json(&[])?;
    let mut times = BTreeMap::new();
    for listener in listeners(&report)? {
        let port = u16::try_from(listener["port"].as_u64().unwrap())?;
        if (10_001..=10_000 + count).contains(&port) {
            same!(pids(listener), [holder.pid()], "port {port}: {}", listener["owner"]);
            *times.entry(port).or_insert(0) += 1;
        }
    }
    Ok((10_001..=10_000 + count).map(|port| times.get(&port).copied().unwrap_or(0)).collect())
}

fn ten_thousand_in_one_process(lab: &Lab) -> Outcome {
    lab.alone()?;
    let holder = lab.helper(["many", "10000"])?;
    complete(&lab.json(&[])?, 10_000)?;
    same!(shown(lab, 10_000, &holder)?, [1; 10_000]);
    let table = String::from_utf8(lab.portolan([""; 0]).output()?.stdout)?;
    same!(table.contains("10000") || table.lines().count() > 10_000, true, "{}", table.lines().count());
    Ok(())
}

/// 200 listeners that stay beside some 2,000 a second that do not, over many scans.
fn churn(lab: &Lab) -> Outcome {
    const SCANS: usize = 40;
    lab.alone()?;
    let holder = lab.helper(["many", "200"])?;
    let noise = lab.helper(["churn"])?;
    for scan in 0..SCANS {
        same!(shown(lab, 200, &holder)?, [1; 200], "scan {scan}");
    }
    let said = noise.end()?;
    let (count, milliseconds): (u32, u32) = (said[0].parse()?, said[1].parse()?);
    // At least half the pace was kept, on a machine that is busy with other tests.
    same!(count > milliseconds, true, "{count} in {milliseconds} ms");
    Ok(())
}
