//! What a person at a terminal sees.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::command::{lockstep, run};
use crate::server::PATIENCE;
use crate::tiny;

/// The tokens of a line feed and of ESC.
const LINE_FEED: u32 = 198;
const ESC: u32 = 212;

/// A program at a terminal, and what it wrote there.
struct Terminal {
    child: Child,
    screen: File,
    seen: String,
    /// How much of it was looked at.
    looked: usize,
}

impl Terminal {
    fn start(command: &mut Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let side = || Stdio::from(OpenOptions::new().read(true).write(true).open(&name).unwrap());
        let child = command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        // The copies that this process has of the program's side are gone with the command.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        fcntl_setfl(&master, fcntl_getfl(&master).unwrap() | OFlags::NONBLOCK).unwrap();
        Terminal { child, screen: File::from(master), seen: String::new(), looked: 0 }
    }

    /// Waits for `wanted` after what was looked at before, and returns what is there up to its end.
    fn until(&mut self, wanted: &str) -> String {
        let (from, start) = (self.looked, Instant::now());
        loop {
            if let Some(at) = self.seen[from..].find(wanted) {
                self.looked = from + at + wanted.len();
                return self.seen[from..self.looked].to_string();
            }
            let mut buffer = [0; 4096];
            match self.screen.read(&mut buffer) {
                Ok(count) if count > 0 => self.seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
            assert!(start.elapsed() < PATIENCE, "no {wanted:?} in {:?}", self.seen);
        }
    }

    fn press(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_model_does_not_drive_the_terminal_that_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write_repeating(folder.path(), LINE_FEED, ESC);
    let generate = || {
        let mut generate = lockstep("generate");
        generate.arg("--model").arg(&model).args(["--prompt", "\n", "--max-tokens", "3"]);
        generate
    };
    assert_eq!(run(&mut generate(), b"").stdout, "\u{1b}\u{1b}\u{1b}", "a pipe gets it as it is");
    let mut terminal = Terminal::start(&mut generate());
    let seen = terminal.until("\\u{1b}\\u{1b}\\u{1b}\r\n");
    assert!(!seen.contains('\u{1b}'), "{seen:?}");
}

#[test]
fn a_conversation_at_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::write_repeating(folder.path(), LINE_FEED, ESC);
    let mut chat = lockstep("chat");
    let mut terminal = Terminal::start(chat.arg("--model").arg(&model).args(["--max-tokens", "2"]));
    terminal.until("/help tells the commands");
    terminal.until("> ");
    // A key that was pressed by mistake, and taken back.
    terminal.press("Hix\u{7f}\r");
    let seen = terminal.until("ended by --max-tokens");
    assert!(seen.contains("\\u{1b}\\u{1b}\r\n"), "{seen:?}");
    terminal.until("> ");
    terminal.press("/halp\r");
    terminal.until("error: there is no command /halp");
    terminal.until("> ");
    // Ctrl-C, Ctrl-D.
    terminal.press("\u{3}");
    terminal.until("Ctrl-D or /quit ends");
    terminal.until("> ");
    terminal.press("\u{4}");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
}
