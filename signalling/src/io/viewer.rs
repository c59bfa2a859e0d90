//! The task of one viewer's socket.

use protocol::problem::Problem;
use protocol::signal::{FromViewer, ToViewer};
use tokio::sync::mpsc;

use super::nodes::Route;
use super::service::{Input, OUTBOX_MAX, Service, Side, close_code};
use super::socket::{Outgoing, Received, Socket};
use crate::{ConnectionId, refusal};

/// Where a viewer's messages go.
enum Home {
    /// It has not said what it wants; whoever is to answer it gets this.
    Unknown(mpsc::Sender<Outgoing>),
    Here,
    There(mpsc::Sender<Outgoing>),
}

pub(super) async fn serve(mut socket: Socket, service: Service) {
    let (answers, mut outbox) = mpsc::channel(OUTBOX_MAX);
    let viewer = service.attach_as(Side::Viewer, answers.clone()).await;
    let mut home = Home::Unknown(answers);
    loop {
        let refusal = match socket.receive(&mut outbox, service.socket_counters()).await {
            Received::Text(text) => match serde_json::from_str::<FromViewer>(&text) {
                Ok(message) => {
                    socket.note_understood();
                    home = settled(home, &service, &message).await;
                    pass_on(&home, &service, viewer, message, text).await
                }
                Err(_) => refuse_malformed(&mut socket, &service).await,
            },
            Received::Malformed => refuse_malformed(&mut socket, &service).await,
            Received::TooLarge => Some((refusal::too_large(), close_code::SIZE)),
            Received::TooFast => Some((refusal::too_many("messages"), close_code::POLICY)),
            Received::Gone => break,
        };
        if let Some((problem, code)) = refusal {
            socket.say(&ToViewer::Failed { problem }).await;
            socket.close(code).await;
            break;
        }
    }
    service.send(Input::Gone(viewer)).await;
}

/// The first message decides.
async fn settled(home: Home, service: &Service, message: &FromViewer) -> Home {
    let Home::Unknown(answers) = home else {
        return home;
    };
    match service.route(message, &answers).await {
        Route::Here => Home::Here,
        Route::There(to_home) => Home::There(to_home),
        Route::Later => Home::Unknown(answers),
    }
}

async fn pass_on(
    home: &Home,
    service: &Service,
    viewer: ConnectionId,
    message: FromViewer,
    text: String,
) -> Option<(Problem, u16)> {
    match home {
        Home::Here => {
            service.send(Input::Viewer(viewer, message)).await;
            None
        }
        // Full or gone, it would miss something: the viewer comes back and says it again.
        Home::There(to_home) => {
            let passed = to_home.try_send(Outgoing::Text(text));
            passed.err().map(|_| later())
        }
        Home::Unknown(_) => Some(later()),
    }
}

fn later() -> (Problem, u16) {
    (refusal::restarting(), close_code::RESTART)
}

/// Says so and goes on, unless it was one too many.
async fn refuse_malformed(socket: &mut Socket, service: &Service) -> Option<(Problem, u16)> {
    let problem = refusal::not_understood();
    if !socket.tolerates(service.socket_counters()) {
        return Some((problem, close_code::POLICY));
    }
    socket.say(&ToViewer::Failed { problem }).await;
    None
}
