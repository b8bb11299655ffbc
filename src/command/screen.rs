//! The terminal as a screen: taken over, drawn on, and given back as it was.
//!
//! It is given back however the run ends: by quitting, by an error, by a signal that asks a program to end, and by a
//! panic, for which a hook is set because a release build ends without unwinding. It is given back too while the program
//! is stopped (Ctrl-Z), and taken again when it goes on. Nothing is decided here of what is drawn. On Unix standard
//! output's own lock is not taken: whoever holds it must not keep the terminal from being restored.

use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::queue;
use crossterm::style::ResetColor;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use crate::render::screen::Size;

/// Where a terminal does not tell its size, the usual one.
const USUAL: Size = Size { width: 80, height: 24 };

/// Standard output without its lock and its buffer.
#[cfg(unix)]
type Out = std::fs::File;
/// Windows shows bytes in the console's code page, whatever that is; only standard output hands it text.
#[cfg(not(unix))]
type Out = io::Stdout;

/// Whether the terminal is ours, and is to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// What comes from outside while the screen is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The user wants to leave.
    Quit,
    /// The terminal has another size, or the user wants it drawn anew.
    Redraw,
    /// The user wants the terminal back for a while.
    Stop,
    /// The program goes on after it was stopped, by whomever.
    Resume,
    /// This signal asks the program to end.
    Signal(i32),
}

/// A terminal that was taken over; dropping it gives it back.
#[derive(Debug)]
pub struct Screen {
    out: Out,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// Where it is no terminal, or cannot be set up; it is then as it was.
    pub fn enter() -> io::Result<Self> {
        let mut screen = Screen { out: output()? };
        let spare = output()?;
        HOOK.call_once(move || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back(&spare);
                before(panic);
            }));
        });
        // Where this fails, dropping it undoes what was done.
        screen.take()?;
        Ok(screen)
    }

    /// Takes the terminal again. It may be ours still: whoever stopped the program may have set it otherwise.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn take(&mut self) -> io::Result<()> {
        disable_raw_mode()?;
        enable_raw_mode()?;
        if !TAKEN.swap(true, Ordering::SeqCst) {
            queue!(self.out, EnterAlternateScreen)?;
        }
        queue!(self.out, Hide)?;
        self.out.flush()
    }

    /// Gives the terminal back, stops the program until somebody lets it go on, and takes the terminal again.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn stop(&mut self) -> io::Result<()> {
        give_back(&self.out);
        #[cfg(unix)]
        signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)?;
        self.take()
    }

    /// Its size now.
    #[must_use]
    pub fn size(&self) -> Size {
        let size = terminal_size::terminal_size_of(&self.out);
        let size = size.map(|(width, height)| Size { width: width.0, height: height.0 });
        size.filter(|size| size.width > 0 && size.height > 0).unwrap_or(USUAL)
    }

    /// Shows a frame in place of the last.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let mut bytes = Vec::new();
        // Lines are cleared before they are written: after the last column, a terminal would clear that one.
        let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        queue!(bytes, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        for (row, line) in (0..).zip(lines) {
            queue!(bytes, MoveTo(0, row), Clear(ClearType::CurrentLine))?;
            bytes.extend(line.as_bytes());
        }
        self.out.write_all(&bytes)?;
        self.out.flush()
    }

    /// Shows another first line, and leaves the rest.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn show_first(&mut self, line: &str) -> io::Result<()> {
        let mut bytes = Vec::new();
        queue!(bytes, MoveTo(0, 0), Clear(ClearType::CurrentLine))?;
        bytes.extend(line.as_bytes());
        self.out.write_all(&bytes)?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.out);
    }
}

/// Gives the terminal back, once. Where it is gone, there is nobody to tell.
fn give_back(mut out: &Out) {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = queue!(out, ResetColor, Show, LeaveAlternateScreen);
        let _ = out.flush();
        let _ = disable_raw_mode();
    }
}

#[cfg(unix)]
fn output() -> io::Result<Out> {
    std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned().map(Out::from)
}

#[cfg(not(unix))]
fn output() -> io::Result<Out> {
    Ok(io::stdout())
}

/// Whether colour can be written. Windows asks its console first, and without one no escape sequence is sure of a
/// reader: crossterm, which the table colours through, would leave out the text.
pub fn takes_colour() -> bool {
    #[cfg(windows)]
    return crossterm::ansi_support::supports_ansi();
    #[cfg(not(windows))]
    true
}

/// Listens to the keyboard, to the terminal's size, and to signals, each on a thread that ends with the program. It
/// must be asked before the terminal is taken over, so that no signal finds it taken and nobody listening.
///
/// # Errors
/// Where the system does not let signals be heard.
pub fn inputs() -> io::Result<Inputs> {
    let (sender, receiver) = channel();
    signals(sender.clone())?;
    Ok(Inputs { sender, receiver })
}

/// What comes from outside.
#[derive(Debug)]
pub struct Inputs {
    sender: Sender<Input>,
    receiver: Receiver<Input>,
}

impl Inputs {
    /// Listens to the keyboard too, once the terminal hands out single keys.
    ///
    /// # Errors
    /// Where there is no thread to be had.
    pub fn with_keys(self) -> io::Result<Receiver<Input>> {
        let Inputs { sender, receiver } = self;
        // From the first question on, no change of the size is missed.
        let _ = poll(Duration::ZERO);
        Builder::new().spawn(move || {
            // Without a keyboard there are signals still.
            while let Ok(event) = read() {
                if let Some(input) = meaning(&event)
                    && sender.send(input).is_err()
                {
                    break;
                }
            }
        })?;
        Ok(receiver)
    }
}

#[cfg(unix)]
fn signals(sender: Sender<Input>) -> io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    let heard = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT];
    let mut signals = signal_hook::iterator::Signals::new(heard)?;
    let tell = move || {
        for signal in signals.forever() {
            let input = match signal {
                SIGTSTP => Input::Stop,
                SIGCONT => Input::Resume,
                signal => Input::Signal(signal),
            };
            if sender.send(input).is_err() {
                break;
            }
        }
    };
    Builder::new().spawn(tell).map(|_| ())
}

#[cfg(not(unix))]
fn signals(_: Sender<Input>) -> io::Result<()> {
    Ok(())
}

/// Ends the program as the signal would have, so that whoever started it sees why it ended.
pub fn end_by(signal: i32) {
    #[cfg(unix)]
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    #[cfg(not(unix))]
    let _ = signal;
}

fn meaning(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match (key.code, control) {
                (KeyCode::Char('q' | 'Q'), false) | (KeyCode::Char('c'), true) => Some(Input::Quit),
                (KeyCode::Char('l'), true) => Some(Input::Redraw),
                (KeyCode::Char('z'), true) if cfg!(unix) => Some(Input::Stop),
                _ => None,
            }
        }
        _ => None,
    }
}
