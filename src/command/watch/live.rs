//! Runs the screen of `watch`: receives keys, scans the system, and draws the frames of the explorer.

use std::io::Write;
#[cfg(target_os = "linux")]
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::mpsc::channel;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::card;
use super::explorer::{Effect, Explorer, Panel, Source};
use super::on_appear::OnAppear;
use super::{Exit, Ticker, Ui, Watch};
use crate::command::charset::readable;
#[cfg(target_os = "linux")]
use crate::command::kill;
use crate::command::list;
use crate::command::screen::{Input, Key, Screen, end_by, inputs};
use crate::judge::Report;
#[cfg(target_os = "linux")]
use crate::render::Style;
#[cfg(target_os = "linux")]
use crate::render::screen::message_lines;
use crate::render::screen::{View, log_lines};

pub(super) fn run(
    watch: Watch,
    interval: Duration,
    on_appear: (OnAppear, bool),
    ui: &Ui,
    out: &mut dyn Write,
) -> Result<Exit> {
    let mut live = Live::start(watch, interval, on_appear, ui)?;
    let ended = live.run()?;
    let Live { explorer, screen, .. } = live;
    drop(screen);
    // After the screen has ended, the changes are written to the terminal.
    let (changes, earlier) = explorer.marks().logged();
    let lines = log_lines(changes, earlier, &ui.stdout);
    lines.iter().try_for_each(|line| writeln!(out, "{}", readable(line)))?;
    out.flush()?;
    if let Some(signal) = ended {
        end_by(signal);
    }
    Ok(Exit::Matched)
}

struct Live {
    watch: Watch,
    /// The connections. They are scanned only while their view is shown.
    connections: Option<Watch>,
    explorer: Explorer,
    screen: Screen,
    inputs: Receiver<Input>,
    ticker: Ticker,
    /// Whether the filter has changed since the rows were made.
    is_filter_new: bool,
    on_appear: OnAppear,
    rings: bool,
    /// The sender with which a job in the background reports its end.
    sender: Sender<Input>,
    /// The plan that is executed if the user confirms it.
    #[cfg(target_os = "linux")]
    prepared: Option<Arc<kill::Prepared>>,
    /// The processes that have not ended after SIGTERM, until the user is asked about them.
    #[cfg(target_os = "linux")]
    stubborn: (Sender<Stubborn>, Receiver<Stubborn>),
}

/// A plan, and its processes that have not ended after SIGTERM.
#[cfg(target_os = "linux")]
type Stubborn = (Arc<kill::Prepared>, kill::StillRunning);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    Time,
    Frame,
}

impl Live {
    fn start(
        mut watch: Watch,
        interval: Duration,
        (on_appear, rings): (OnAppear, bool),
        ui: &Ui,
    ) -> Result<Self> {
        // If the system cannot be scanned, the error is reported before the terminal is taken over.
        watch.scan()?;
        let inputs = inputs().context("signals")?;
        let screen = Screen::enter().context("terminal")?;
        let sender = inputs.sender();
        let inputs = inputs.with_keys().context("terminal")?;
        let explorer = Explorer::new(interval, screen.size(), ui.stdout, watch.args.verbose);
        Ok(Live {
            watch,
            connections: None,
            explorer,
            screen,
            inputs,
            ticker: Ticker::new(interval),
            is_filter_new: false,
            on_appear,
            rings,
            sender,
            #[cfg(target_os = "linux")]
            prepared: None,
            #[cfg(target_os = "linux")]
            stubborn: channel(),
        })
    }

    /// Runs until the user quits or a signal arrives. Returns the signal.
    fn run(&mut self) -> Result<Option<i32>> {
        self.with_source(Explorer::make_rows);
        let mut draw = Draw::Frame;
        loop {
            // Filtering and drawing a long listing takes time. So all waiting keys are handled before the screen is
            // drawn. Only a scan that is due comes before the keys.
            let is_due = self.ticker.left().is_zero();
            let input = match if is_due { None } else { self.inputs.try_recv().ok() } {
                Some(input) => input,
                None => {
                    self.apply_filter();
                    self.draw(draw)?;
                    match self.inputs.recv_timeout(self.ticker.left()) {
                        Ok(input) => input,
                        Err(RecvTimeoutError::Timeout) => {
                            draw = self.scan()?;
                            continue;
                        }
                        // No key or signal can arrive any more, but the scans continue.
                        Err(RecvTimeoutError::Disconnected) => {
                            std::thread::sleep(self.ticker.left());
                            draw = self.scan()?;
                            continue;
                        }
                    }
                }
            };
            draw = Draw::Frame;
            match input {
                Input::Signal(signal) => return Ok(Some(signal)),
                Input::Redraw | Input::Stop | Input::Resume => {
                    match input {
                        Input::Stop => self.screen.stop().context("terminal")?,
                        Input::Resume => self.screen.take().context("terminal")?,
                        _ => self.screen.forget(),
                    }
                    self.resize();
                }
                Input::Done(message) => {
                    // The port may be free now, so a scan follows at once.
                    self.scan()?;
                    if !self.offer_force() {
                        self.explorer.report(message);
                    }
                }
                input => {
                    // Keys that only edit the filter do not need the rows. So the rows are not made again for each of
                    // these keys.
                    if !matches!(input, Input::Key(Key::Char(_) | Key::Backspace)) {
                        self.apply_filter();
                    }
                    if self.apply(&input)? {
                        return Ok(None);
                    }
                    self.offer_force();
                }
            }
        }
    }

    fn draw(&mut self, draw: Draw) -> Result<()> {
        let now = Timestamp::now();
        let Some(source) = source(&self.watch, self.connections.as_ref()) else { return Ok(()) };
        match draw {
            Draw::Time => {
                let line = self.explorer.first_line(source, now);
                self.screen.show_first(&readable(&line)).context("terminal")?;
            }
            Draw::Frame => {
                let lines = self.explorer.frame(source, now);
                let lines: Vec<String> = lines.iter().map(|line| readable(line).into_owned()).collect();
                self.screen.show(&lines).context("terminal")?;
            }
        }
        Ok(())
    }

    fn with_source(&mut self, change: impl FnOnce(&mut Explorer, Source<'_>)) {
        if let Some(source) = source(&self.watch, self.connections.as_ref()) {
            change(&mut self.explorer, source);
        }
    }

    fn resize(&mut self) {
        let size = self.screen.size();
        self.with_source(|explorer, source| explorer.resize(size, source));
    }

    /// Scans, unless the screen is paused. Returns the parts that must be drawn.
    fn scan(&mut self) -> Result<Draw> {
        self.ticker.advance();
        if self.explorer.is_paused() {
            return Ok(Draw::Time);
        }
        let Live { explorer, on_appear, .. } = self;
        let mut is_new = explorer.fade();
        let mut has_appeared = false;
        is_new |= self.watch.scan_and_report(&mut |update| {
            explorer.note(&update);
            has_appeared |= on_appear.note(&update);
            Ok(())
        })?;
        if has_appeared && self.rings {
            self.screen.ring().context("terminal")?;
        }
        if let Some(trouble) = self.on_appear.run() {
            self.explorer.report(trouble);
            is_new = true;
        }
        if let Some(connections) = &mut self.connections {
            is_new |= connections.scan()?;
        }
        if !is_new {
            return Ok(Draw::Time);
        }
        self.with_source(Explorer::make_rows);
        Ok(Draw::Frame)
    }

    /// Passes an input to the explorer, and executes the action that the explorer requests. Returns whether the user
    /// quits.
    fn apply(&mut self, input: &Input) -> Result<bool> {
        match self.explorer.handle(input) {
            Effect::Quit => return Ok(true),
            Effect::Draw | Effect::Help => {}
            Effect::Rows => {
                self.follow_view()?;
                self.with_source(Explorer::make_rows);
            }
            Effect::Filter => self.is_filter_new = true,
            Effect::Pause => {
                if !self.explorer.is_paused() {
                    self.scan()?;
                }
            }
            Effect::Card => self.show_card(),
            Effect::Copy => {
                let Some(source) = source(&self.watch, self.connections.as_ref()) else { return Ok(false) };
                let text = self.explorer.copied(source);
                self.screen.copy(&text).context("terminal")?;
                self.explorer.say("Sent to the clipboard of the terminal.".to_owned());
            }
            Effect::PlanKill => self.plan_kill(),
            Effect::Kill => self.kill(false),
            Effect::ForceKill => self.kill(true),
        }
        Ok(false)
    }

    fn apply_filter(&mut self) {
        if std::mem::take(&mut self.is_filter_new) {
            self.read_filter();
            self.with_source(Explorer::make_rows);
        }
    }

    fn read_filter(&mut self) {
        let Live { watch, explorer, .. } = self;
        explorer.read_filter(|args, either_end| {
            list::parsed(&args.typed_filters(either_end), &watch.registry, &watch.common)
                .map_err(|error| format!("{error:#}"))
        });
    }

    /// Starts to scan connections when their view is shown, and stops when another view is shown.
    fn follow_view(&mut self) -> Result<()> {
        if self.explorer.view() != View::Connections {
            self.connections = None;
        } else if self.connections.is_none() {
            let mut connections = self.watch.of_connections()?;
            connections.scan()?;
            self.connections = Some(connections);
        }
        self.read_filter();
        Ok(())
    }

    fn show_card(&mut self) {
        let Some(source) = source(&self.watch, self.connections.as_ref()) else { return };
        let text = match self.explorer.selected(source).as_slice() {
            [] => return,
            sockets => card::of(sockets, source, &self.watch),
        };
        self.explorer.show(Panel::Card, text);
    }
}

/// Ends the owners of the selected row, as `portolan kill` does.
#[cfg(target_os = "linux")]
impl Live {
    fn plan_kill(&mut self) {
        let Some(source) = source(&self.watch, self.connections.as_ref()) else { return };
        let Some(entry) = self.explorer.selected(source).first().map(|entry| (*entry).clone()) else {
            return;
        };
        if entry.socket.peer.is_some() {
            self.explorer.say("A connection cannot be ended; select its listener.".to_owned());
            return;
        }
        match kill::prepare_row(&entry, self.watch.registry, &self.watch.common) {
            Ok(prepared) => {
                let prepared = Arc::new(*prepared);
                self.prepared = Some(Arc::clone(&prepared));
                let question = prepared.question();
                let lines = move |style: &Style| plan_lines(&prepared, &question, "y will run", style);
                self.explorer.show(Panel::Confirm, Box::new(lines));
            }
            Err(error) => {
                let text = format!("{error:#}");
                self.explorer.show(Panel::Text, Box::new(move |style| message_lines(&text, style)));
            }
        }
    }

    /// Executes the plan in the background, because a process may need some time to end. If `is_forced`, SIGKILL is
    /// sent at once, because the processes have already received SIGTERM.
    fn kill(&mut self, is_forced: bool) {
        let Some(prepared) = self.prepared.take() else { return };
        let (sender, common) = (self.sender.clone(), self.watch.common.clone());
        let force = if is_forced { kill::Force::AtOnce } else { kill::Force::Never };
        let stubborn = self.stubborn.0.clone();
        let job = move || {
            let message = prepared.end_quietly(force, &common).unwrap_or_else(|left| {
                let message = left.to_string();
                let _ = stubborn.send((prepared, left));
                message
            });
            // If the screen has ended, nobody receives the message, so an error is ignored.
            let _ = sender.send(Input::Done(message));
        };
        match std::thread::Builder::new().spawn(job) {
            Ok(_) => self.explorer.say("Ending…".to_owned()),
            Err(error) => self.explorer.say(format!("Nothing was ended: {error}")),
        }
    }

    /// Asks whether to send SIGKILL to processes that have not ended. Returns whether the question is shown now. It is
    /// not shown while a text replaces the rows, or while the user types.
    fn offer_force(&mut self) -> bool {
        if !self.explorer.is_free() {
            return false;
        }
        let Ok((prepared, left)) = self.stubborn.1.try_recv() else { return false };
        let Some(question) = prepared.question_of_force(&left) else { return false };
        self.prepared = Some(Arc::clone(&prepared));
        self.explorer
            .show(Panel::Force, Box::new(move |style| plan_lines(&prepared, &question, "Was run", style)));
        true
    }
}

#[cfg(not(target_os = "linux"))]
impl Live {
    fn offer_force(&mut self) -> bool {
        false
    }

    fn plan_kill(&mut self) {
        self.explorer.say(
            "Ending a listener works only on Linux. The card of the listener shows how to stop its process."
                .to_owned(),
        );
    }

    fn kill(&mut self, _: bool) {}
}

#[cfg(target_os = "linux")]
fn plan_lines(prepared: &kill::Prepared, question: &str, run: &str, style: &Style) -> Vec<String> {
    let mut lines = message_lines(question, style);
    lines.push(String::new());
    let mut bytes = Vec::new();
    if let Err(error) = prepared.write_plan(run, style, &mut bytes) {
        return message_lines(&format!("{error:#}"), style);
    }
    lines.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
    lines
}

fn source<'a>(watch: &'a Watch, connections: Option<&'a Watch>) -> Option<Source<'a>> {
    let report: &Report = watch.last.as_ref()?;
    Some(Source { report, connections: connections.and_then(|connections| connections.last.as_ref()) })
}
