//! The task of one viewer's socket.

use protocol::problem::Problem;
use protocol::signal::{FromViewer, ToViewer};

use super::service::{Input, Service, Side, close_code};
use super::socket::{Received, Socket};
use crate::refusal;

pub(super) async fn serve(mut socket: Socket, service: Service) {
    let (viewer, mut outbox) = service.attach(Side::Viewer).await;
    loop {
        let refusal = match socket.receive(&mut outbox, service.socket_counters()).await {
            Received::Text(text) => match serde_json::from_str::<FromViewer>(&text) {
                Ok(message) => {
                    socket.note_understood();
                    service.send(Input::Viewer(viewer, message)).await;
                    continue;
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

/// Says so and goes on, unless it was one too many.
async fn refuse_malformed(socket: &mut Socket, service: &Service) -> Option<(Problem, u16)> {
    let problem = refusal::not_understood();
    if !socket.tolerates(service.socket_counters()) {
        return Some((problem, close_code::POLICY));
    }
    socket.say(&ToViewer::Failed { problem }).await;
    None
}
