//! The viewer's own clipboard, on a thread of its own: its owner, another program, may take long to
//! answer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use protocol::control::{CLIPBOARD_LEN_MAX, FromViewer};

/// The thread's inbox. Both orders are rare and follow a person's doing, so it is not bounded by
/// itself: a person and the host's ten clipboards a second bound it.
pub(super) struct Clipboard(Sender<Order>);

enum Order {
    /// The desktop's clipboard becomes ours.
    Take(String),
    /// Ours is sent, if it is not what was taken or sent last.
    Share,
}

impl Clipboard {
    pub(super) fn start(send: impl Fn(&FromViewer) + Send + 'static) -> Self {
        let (orders, inbox) = channel();
        // Without a thread there is no clipboard, and everything else works.
        let _ = thread::Builder::new()
            .name("clipboard".into())
            .spawn(move || serve(&inbox, &send));
        Self(orders)
    }

    pub(super) fn take(&self, text: String) {
        let _ = self.0.send(Order::Take(text));
    }

    pub(super) fn share(&self) {
        let _ = self.0.send(Order::Share);
    }
}

fn serve(inbox: &Receiver<Order>, send: &dyn Fn(&FromViewer)) {
    let mut clipboard = match arboard::Clipboard::new() {
        Ok(clipboard) => clipboard,
        Err(error) => return tracing::info!(%error, "there is no clipboard to share"),
    };
    let mut known = String::new();
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Take(text) => {
                known.clone_from(&text);
                if let Err(error) = clipboard.set_text(text) {
                    tracing::debug!(%error, "the clipboard was not taken");
                }
            }
            Order::Share => {
                // Empty, or something that is no text.
                let Ok(text) = clipboard.get_text() else {
                    continue;
                };
                if text.len() > CLIPBOARD_LEN_MAX {
                    let len = text.len();
                    tracing::warn!(len, "the clipboard is too long to send: copy less");
                } else if text != known {
                    known.clone_from(&text);
                    send(&FromViewer::ClipboardText(text));
                }
            }
        }
    }
}
