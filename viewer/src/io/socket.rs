//! One signalling socket as a task: messages in and out, and the news that it is gone.

use futures_util::{SinkExt as _, StreamExt as _};
use protocol::problem::Problem;
use protocol::signal::{FromViewer, ToViewer};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_tungstenite::tungstenite::Message;

use super::service::{self, Service};

/// Messages on their way to the service. When full the socket is given up: it is stuck.
const OUTGOING_MAX: usize = 256;

/// News of a socket; `socket` counts the sockets of the session.
pub(super) struct FromSocket {
    pub(super) socket: u64,
    pub(super) news: News,
}

pub(super) enum News {
    Opened,
    Said(Box<ToViewer>),
    Lost(Problem),
}

/// The sending half. Dropping it closes the socket.
pub(super) struct Outgoing(Sender<FromViewer>);

impl Outgoing {
    /// `false` if the socket is stuck or gone.
    pub(super) fn say(&self, message: FromViewer) -> bool {
        self.0.try_send(message).is_ok()
    }
}

/// Opens a socket in a task of its own.
pub(super) fn open(service: Service, socket: u64, news: Sender<FromSocket>) -> Outgoing {
    let (outgoing, queue) = channel(OUTGOING_MAX);
    tokio::spawn(async move {
        let problem = run(&service, socket, &news, queue).await;
        let news_of_loss = News::Lost(problem);
        let _ = news
            .send(FromSocket {
                socket,
                news: news_of_loss,
            })
            .await;
    });
    Outgoing(outgoing)
}

async fn run(
    service: &Service,
    socket: u64,
    news: &Sender<FromSocket>,
    mut queue: Receiver<FromViewer>,
) -> Problem {
    let mut wire = match service.open_socket().await {
        Ok(wire) => wire,
        Err(problem) => return problem,
    };
    let _ = news
        .send(FromSocket {
            socket,
            news: News::Opened,
        })
        .await;
    loop {
        tokio::select! {
            message = queue.recv() => {
                let Some(message) = message else {
                    let _ = wire.close(None).await;
                    return service::closed();
                };
                let Ok(text) = serde_json::to_string(&message) else { continue };
                service.count_signalled(text.len());
                if wire.send(Message::text(text)).await.is_err() {
                    return service::closed();
                }
            }
            message = wire.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    service.count_signalled(text.len());
                    match serde_json::from_str(&text) {
                        Ok(said) => {
                            let news_of_word = News::Said(Box::new(said));
                            let _ = news.send(FromSocket { socket, news: news_of_word }).await;
                        }
                        Err(error) => tracing::debug!(%error, "a message that makes no sense"),
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return service::closed(),
                Some(Ok(_)) => {}
            }
        }
    }
}
