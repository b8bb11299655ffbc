//! Controls the terminal as a screen: takes it over, draws on it, and restores it.
//!
//! The terminal is restored after the user quits, after an error, a signal or a panic, and while the program is stopped
//! (Ctrl-Z). A release build aborts without unwinding, so a panic hook restores the terminal.
//!
//! On Unix, this module does not take the lock of standard output. If another thread held this lock, the terminal could
//! not be restored.

use std::io::{self, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
    MouseButton, MouseEventKind, poll, read,
};
use crossterm::queue;
use crossterm::style::ResetColor;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use crate::render::base64;
use crate::render::screen::Size;

/// The size that is assumed if a terminal does not report its size.
const USUAL: Size = Size { width: 80, height: 24 };

/// Standard output, written without its lock and its buffer.
#[cfg(unix)]
type Out = std::fs::File;
/// Rust's standard output. On Windows, only this writer shows UTF-8 correctly on the console.
#[cfg(not(unix))]
type Out = io::Stdout;

/// Whether this program has taken over the terminal and must restore it.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Returns whether the terminal shows the screen.
pub fn is_up() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// A key, or several keys with one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-U: erase the line.
    EraseLine,
    /// Ctrl-W: erase the last word.
    EraseWord,
    /// Ctrl-C.
    Interrupt,
}

/// An event from the user, the terminal or the system while the screen is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Key(Key),
    /// Text that the user pasted. Pasted text is never a command.
    Paste(String),
    /// A click with the left button at this column and line.
    Click(u16, u16),
    /// The user turned the mouse wheel.
    Wheel {
        up: bool,
    },
    /// The size of the terminal has changed, or the user wants the screen drawn again.
    Redraw,
    /// The user wants to stop the program (Ctrl-Z).
    Stop,
    /// The program continues after it was stopped.
    Resume,
    /// This signal asks the program to end.
    Signal(i32),
    /// A job in the background has ended with this message.
    Done(String),
}

/// A terminal that was taken over. Dropping this value restores the terminal.
#[derive(Debug)]
pub struct Screen {
    out: Out,
    /// The lines on the screen; empty if the whole screen must be drawn.
    shown: Vec<String>,
}

impl Screen {
    /// Takes over the terminal. Returns an error if standard output is not a terminal or cannot be set up. The terminal
    /// is then unchanged.
    pub fn enter() -> io::Result<Self> {
        let mut screen = Screen { out: output()?, shown: Vec::new() };
        let spare = output()?;
        HOOK.call_once(move || {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back(&spare);
                before(panic);
            }));
        });
        // If this step fails, dropping `screen` restores the terminal.
        screen.take()?;
        Ok(screen)
    }

    /// Takes over the terminal, at the start and after each stop. While the program is stopped, another process may
    /// change the settings of the terminal.
    pub fn take(&mut self) -> io::Result<()> {
        disable_raw_mode()?;
        enable_raw_mode()?;
        if !TAKEN.swap(true, Ordering::SeqCst) {
            queue!(self.out, EnterAlternateScreen)?;
        }
        queue!(self.out, Hide, EnableBracketedPaste)?;
        set_mouse(&mut self.out, true)?;
        self.shown.clear();
        self.out.flush()
    }

    /// Restores the terminal, stops the program until a signal continues it, and takes over the terminal again.
    pub fn stop(&mut self) -> io::Result<()> {
        give_back(&self.out);
        #[cfg(unix)]
        signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGTSTP)?;
        self.take()
    }

    /// Returns the current size of the terminal.
    pub fn size(&self) -> Size {
        let size = terminal_size::terminal_size_of(&self.out);
        let size = size.map(|(width, height)| Size { width: width.0, height: height.0 });
        size.filter(|size| size.width > 0 && size.height > 0).unwrap_or(USUAL)
    }

    /// Shows a frame. Only lines that differ from the last frame are written, because the connection may be slow.
    pub fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let is_new = |row: usize, line: &String| self.shown.get(row) != Some(line);
        if self.shown.len() != lines.len() {
            // Each line is cleared before it is written. Clearing it after a write to the last column would remove the
            // last character.
            let below = u16::try_from(lines.len()).unwrap_or(u16::MAX);
            queue!(bytes, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        }
        for (row, line) in lines.iter().enumerate().filter(|(row, line)| is_new(*row, line)) {
            queue!(bytes, MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)), Clear(ClearType::CurrentLine))?;
            bytes.extend(line.as_bytes());
        }
        self.shown = lines.to_vec();
        self.out.write_all(&bytes)?;
        self.out.flush()
    }

    /// Replaces the first line only.
    pub fn show_first(&mut self, line: &str) -> io::Result<()> {
        if let Some(first) = self.shown.first_mut() {
            line.clone_into(first);
        }
        let mut bytes = Vec::new();
        queue!(bytes, MoveTo(0, 0), Clear(ClearType::CurrentLine))?;
        bytes.extend(line.as_bytes());
        self.out.write_all(&bytes)?;
        self.out.flush()
    }

    /// Makes the next frame draw every line, because the terminal may show something else.
    pub fn forget(&mut self) {
        self.shown.clear();
    }

    /// Rings the bell of the terminal.
    pub fn ring(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x07")?;
        self.out.flush()
    }

    /// Copies a text to the clipboard of the terminal (OSC 52). A terminal without OSC 52 ignores the request.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let bytes = format!("\x1b]52;c;{}\x07", base64(text.as_bytes()));
        self.out.write_all(bytes.as_bytes())?;
        self.out.flush()
    }
}

/// Asks the terminal to start or stop reporting clicks and turns of the mouse wheel. Motion is not requested, because
/// each report would wake the program.
#[cfg(unix)]
fn set_mouse(out: &mut impl Write, on: bool) -> io::Result<()> {
    // Mode 1000 reports buttons, and mode 1006 reports the coordinates as decimal numbers.
    out.write_all(if on { b"\x1b[?1000h\x1b[?1006h" } else { b"\x1b[?1006l\x1b[?1000l" })
}

#[cfg(not(unix))]
fn set_mouse(out: &mut impl Write, on: bool) -> io::Result<()> {
    use crossterm::event::{DisableMouseCapture, EnableMouseCapture};
    if on { queue!(out, EnableMouseCapture) } else { queue!(out, DisableMouseCapture) }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.out);
    }
}

/// Restores the terminal, unless it is already restored. Errors are ignored, because a terminal that no longer exists
/// cannot show them.
fn give_back(mut out: &Out) {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = set_mouse(&mut out, false);
        let _ = queue!(out, DisableBracketedPaste, ResetColor, Show, LeaveAlternateScreen);
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

/// Returns whether colour can be written. On a Windows console without escape sequences, crossterm would leave out
/// coloured text.
pub fn takes_colour() -> bool {
    #[cfg(windows)]
    return crossterm::ansi_support::supports_ansi();
    #[cfg(not(windows))]
    true
}

/// Starts a thread that receives signals (on Unix). Call this before the terminal is taken over. Otherwise a signal
/// could end the program before the terminal is restored.
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
    /// Returns a sender with which a job in the background reports its end.
    pub fn sender(&self) -> Sender<Input> {
        self.sender.clone()
    }

    /// Starts to receive keys too. The terminal must already report single keys.
    pub fn with_keys(self) -> io::Result<Receiver<Input>> {
        let Inputs { sender, receiver } = self;
        // The first poll installs the handler for changes of the terminal's size. After it, no change is missed.
        let _ = poll(Duration::ZERO);
        Builder::new().spawn(move || {
            // If the keyboard cannot be read, signals still arrive.
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

/// Ends the program with the signal that it received, so that the parent process sees this signal as the cause.
pub fn end_by(signal: i32) {
    #[cfg(unix)]
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    #[cfg(not(unix))]
    let _ = signal;
}

fn meaning(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => meaning_of_key(key),
        Event::Paste(text) => Some(Input::Paste(text.clone())),
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => Some(Input::Click(mouse.column, mouse.row)),
            MouseEventKind::ScrollUp => Some(Input::Wheel { up: true }),
            MouseEventKind::ScrollDown => Some(Input::Wheel { up: false }),
            _ => None,
        },
        _ => None,
    }
}

fn meaning_of_key(key: &KeyEvent) -> Option<Input> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Input::Key(Key::Interrupt)),
            KeyCode::Char('l') => Some(Input::Redraw),
            KeyCode::Char('u') => Some(Input::Key(Key::EraseLine)),
            KeyCode::Char('w') => Some(Input::Key(Key::EraseWord)),
            KeyCode::Char('z') if cfg!(unix) => Some(Input::Stop),
            _ => None,
        };
    }
    // A key that is pressed together with Alt is not a command.
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(Input::Key(match key.code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    }))
}
