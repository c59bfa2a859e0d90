//! The task of one agent host's socket.

use protocol::problem::Problem;
use protocol::signal::{FromAgent, ToAgent};

use super::service::{Input, Service, Side, close_code};
use super::socket::{Received, Socket};
use crate::refusal;
use crate::switchboard::Registration;

pub(super) async fn serve(mut socket: Socket, service: Service) {
    let (agent, mut outbox) = service.attach(Side::Agent).await;
    loop {
        let refusal = match socket.receive(&mut outbox, service.socket_counters()).await {
            Received::Text(text) => match serde_json::from_str::<FromAgent>(&text) {
                Ok(message) => {
                    socket.note_understood();
                    pass_on(&service, agent, message).await
                }
                Err(_) => refuse_malformed(&mut socket, &service).await,
            },
            Received::Malformed => refuse_malformed(&mut socket, &service).await,
            Received::TooLarge => Some((refusal::too_large(), close_code::SIZE)),
            Received::TooFast => Some((refusal::too_many("messages"), close_code::POLICY)),
            Received::Gone => break,
        };
        if let Some((problem, code)) = refusal {
            socket.say(&ToAgent::Failed { problem }).await;
            socket.close(code).await;
            break;
        }
    }
    service.send(Input::Gone(agent)).await;
}

/// A registration is looked up first, in this task, so that nobody else waits for the database.
async fn pass_on(
    service: &Service,
    agent: crate::ConnectionId,
    message: FromAgent,
) -> Option<(Problem, u16)> {
    let FromAgent::Register {
        version,
        instance,
        credential,
        sessions,
        captured,
    } = message
    else {
        service.send(Input::Agent(agent, message)).await;
        return None;
    };
    let Ok(record) = service.find_instance(instance.clone()).await else {
        return Some((refusal::not_stored(), close_code::ERROR));
    };
    // A stranger claims nothing.
    let accepted = record
        .as_ref()
        .is_some_and(|record| record.accepts(&credential));
    let claimed = if accepted {
        service.claim(instance.clone()).await
    } else {
        Ok(None)
    };
    let Ok(claimed) = claimed else {
        return Some((refusal::not_stored(), close_code::ERROR));
    };
    let registration = Registration {
        version,
        instance,
        credential,
        sessions,
        captured,
    };
    service
        .send(Input::Registration(agent, registration, record, claimed))
        .await;
    None
}

/// Says so and goes on, unless it was one too many.
async fn refuse_malformed(socket: &mut Socket, service: &Service) -> Option<(Problem, u16)> {
    let problem = refusal::not_understood();
    if !socket.tolerates(service.socket_counters()) {
        return Some((problem, close_code::POLICY));
    }
    socket.say(&ToAgent::Failed { problem }).await;
    None
}
