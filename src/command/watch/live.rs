//! The screen of `watch`. If a listener changed or a mark faded, all lines are redrawn; otherwise only the time.

use std::io::Write;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use jiff::Timestamp;

use super::marks::Marks;
use anyhow::Context;

use super::{Error, Exit, Ticker, Ui, Watch, WatchUpdate};
use crate::command::charset::readable;
use crate::command::screen::{Input, Screen, end_by, inputs};
use crate::render::screen::{FrameContent, ScanCounts, frame, log_lines, status};

/// Shows the listeners until the user quits or a signal arrives.
pub(super) fn run(mut watch: Watch, interval: Duration, ui: &Ui, out: &mut dyn Write) -> Result<Exit, Error> {
    let mut marks = Marks::new(interval);
    // If the system cannot be observed, the error is reported before the terminal is taken over.
    watch.scan_and_report(&mut |_| Ok(()))?;
    let inputs = inputs().context("signals")?;
    let mut screen = Screen::enter().context("terminal")?;
    let inputs = inputs.with_keys().context("terminal")?;
    let mut ticker = Ticker::new(interval);
    let mut size = screen.size();
    let mut redraw = true;
    let mut counts = ScanCounts::default();
    let ended = loop {
        let now = Timestamp::now();
        if redraw && let Some(report) = &watch.last {
            let scene = FrameContent {
                rows: marks.rows(report),
                report,
                past: marks.past(),
                log: marks.logged().0,
                verbose: watch.verbose,
            };
            counts = scene.counts();
            let lines = frame(&scene, now, interval, size, &ui.stdout)?;
            let lines: Vec<String> = lines.iter().map(|line| readable(line).into_owned()).collect();
            screen.show(&lines).context("terminal")?;
        } else {
            let line = status(counts, now, interval, (size.width, ui.stdout.zone));
            screen.show_first(&readable(&line)).context("terminal")?;
        }
        match inputs.recv_timeout(ticker.left()) {
            Ok(Input::Quit) => break None,
            Ok(Input::Signal(signal)) => break Some(signal),
            Ok(input @ (Input::Redraw | Input::Stop | Input::Resume)) => {
                match input {
                    Input::Stop => screen.stop().context("terminal")?,
                    Input::Resume => screen.take().context("terminal")?,
                    _ => {}
                }
                size = screen.size();
                redraw = true;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            // No more keys or signals can arrive, but scanning continues.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(ticker.left()),
        }
        ticker.advance();
        let was = std::mem::replace(&mut size, screen.size());
        redraw = marks.fade() || size != was;
        watch.scan_and_report(&mut |update| {
            marks.note(&update);
            let WatchUpdate::Next { changes, other_gaps, .. } = &update else { return Ok(()) };
            redraw |= !changes.is_empty() || *other_gaps;
            Ok(())
        })?;
    };
    drop(screen);
    // The screen is gone, so the changes are written to the terminal.
    let (changes, earlier) = marks.logged();
    let lines = log_lines(changes, earlier, &ui.stdout);
    lines.iter().try_for_each(|line| writeln!(out, "{}", readable(line)))?;
    out.flush()?;
    if let Some(signal) = ended {
        end_by(signal);
    }
    Ok(Exit::Matched)
}
