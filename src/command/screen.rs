//! The terminal as a screen: taken over, drawn on, and restored.
//!
//! The terminal is always restored: after the user quits, after an error, after a signal that asks a program to end,
//! and after a panic. A panic hook restores the terminal, because a release build aborts without unwinding. While the
//! program is stopped (Ctrl-Z), the terminal is also restored.
//!
//! Other modules build the content of the screen. On Unix the lock of standard output is not taken, so that another
//! thread with the lock cannot prevent the terminal from being restored.

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

/// The assumed size, if a terminal does not report its size.
const USUAL: Size = Size { width: 80, height: 24 };

/// Standard output without its lock and its buffer.
#[cfg(unix)]
type Out = std::fs::File;
/// Windows converts bytes with the code page of the console. Only the standard output of Rust passes text without
/// this conversion.
#[cfg(not(unix))]
type Out = io::Stdout;

/// Whether this program has taken over the terminal and must restore it.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// An event from the user, the terminal or the system while the screen is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The user wants to quit.
    Quit,
    /// The size of the terminal has changed, or the user wants the screen drawn again.
    Redraw,
    /// The user wants to stop the program (Ctrl-Z).
    Stop,
    /// The program continues after it was stopped.
    Resume,
    /// This signal asks the program to end.
    Signal(i32),
}

/// A terminal that was taken over; dropping it restores the terminal.
#[derive(Debug)]
pub struct Screen {
    out: Out,
}

impl Screen {
    /// Takes over the terminal.
    ///
    /// # Errors
    /// Returns an error if standard output is not a terminal, or if the terminal cannot be set up; the terminal is
    /// then unchanged.
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
        // If a later step fails, dropping the screen undoes the earlier steps.
        screen.take()?;
        Ok(screen)
    }

    /// Takes over the terminal again. The process that stopped this program may have changed the settings of the
    /// terminal.
    ///
    /// # Errors
    /// Returns an error if the terminal is gone.
    pub fn take(&mut self) -> io::Result<()> {
        disable_raw_mode()?;
        enable_raw_mode()?;
        if !TAKEN.swap(true, Ordering::SeqCst) {
            queue!(self.out, EnterAlternateScreen)?;
        }
        queue!(self.out, Hide)?;
        self.out.flush()
    }

    /// Restores the terminal, stops the program until a signal continues it, and takes over the terminal again.
    ///
    /// # Errors
    /// Returns an error if the terminal is gone.
    pub fn stop(&mut self) -> io::Result<()> {
        give_back(&self.out);
        #[cfg(unix)]
        signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)?;
        self.take()
    }

    /// Returns the current size of the terminal.
    #[must_use]
    pub fn size(&self) -> Size {
        let size = terminal_size::terminal_size_of(&self.out);
        let size = size.map(|(width, height)| Size { width: width.0, height: height.0 });
        size.filter(|size| size.width > 0 && size.height > 0).unwrap_or(USUAL)
    }

    /// Shows a frame instead of the last frame.
    ///
    /// # Errors
    /// Returns an error if the terminal is gone.
    pub fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let mut bytes = Vec::new();
        // Each line is cleared before the write: after a write to the last column, clearing would remove that column.
        let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        queue!(bytes, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        for (row, line) in (0..).zip(lines) {
            queue!(bytes, MoveTo(0, row), Clear(ClearType::CurrentLine))?;
            bytes.extend(line.as_bytes());
        }
        self.out.write_all(&bytes)?;
        self.out.flush()
    }

    /// Replaces the first line, and leaves the other lines.
    ///
    /// # Errors
    /// Returns an error if the terminal is gone.
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

/// Restores the terminal, once. Errors are ignored, because a terminal that is gone cannot show them.
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

/// Returns whether colour can be written. A Windows console is asked first: without support for escape sequences,
/// crossterm, the library that colours the table, would leave out the text.
pub fn takes_colour() -> bool {
    #[cfg(windows)]
    return crossterm::ansi_support::supports_ansi();
    #[cfg(not(windows))]
    true
}

/// Listens to the keyboard, to the size of the terminal and to signals. Each source has a thread that ends with the
/// program. Call this before the terminal is taken over: a signal that arrives earlier would leave the terminal
/// unrestored.
///
/// # Errors
/// Returns an error if the system does not allow a signal handler.
pub fn inputs() -> io::Result<Inputs> {
    let (sender, receiver) = channel();
    signals(sender.clone())?;
    Ok(Inputs { sender, receiver })
}

/// The events from outside the program.
#[derive(Debug)]
pub struct Inputs {
    sender: Sender<Input>,
    receiver: Receiver<Input>,
}

impl Inputs {
    /// Listens to the keyboard as well. The terminal must already report single keys.
    ///
    /// # Errors
    /// Returns an error if no thread can be started.
    pub fn with_keys(self) -> io::Result<Receiver<Input>> {
        let Inputs { sender, receiver } = self;
        // From the first poll on, no change of the size is missed.
        let _ = poll(Duration::ZERO);
        Builder::new().spawn(move || {
            // Without a keyboard, signals still arrive.
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
    let forward_signals = move || {
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
    Builder::new().spawn(forward_signals).map(|_| ())
}

#[cfg(not(unix))]
fn signals(_: Sender<Input>) -> io::Result<()> {
    Ok(())
}

/// Ends the program by the same signal, so that the parent process sees the cause.
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
