//! Offers, answers, candidates and ICE restarts.
//!
//! The viewer offers and the host answers; every later offer of the viewer restarts ICE. The
//! packets keep the old path until the new one is nominated, so a restart does not interrupt media.

use std::time::Instant;

use protocol::Secret;
use protocol::signal::{Candidate, PathMode};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};

use crate::channels;
use crate::config::{Side, Sound};
use crate::event::{Channel, CloseReason, Event};
use crate::peer::{NegotiationError, Peer};
use crate::sdp;

/// What was said and what is still open.
#[derive(Default)]
pub(crate) struct Negotiation {
    pending: Option<SdpPendingOffer>,
    /// The first offer, until it is answered: said again if it got lost.
    first_offer: Option<String>,
    stands: bool,
    /// ufrag and mid of our last description, for the candidates that follow it.
    described: Option<(String, String)>,
    end_told: bool,
}

impl Peer {
    /// The first offer, or an ICE restart once the session stands; both as SDP (viewer). Asked
    /// again before the first answer came, it says the first offer again.
    ///
    /// # Errors
    ///
    /// [`NegotiationError::WrongSide`] on a host.
    pub fn create_offer(&mut self, now: Instant) -> Result<String, NegotiationError> {
        self.may_negotiate(Side::Viewer)?;
        if !self.negotiation.stands
            && let Some(offer) = &self.negotiation.first_offer
        {
            return Ok(offer.clone());
        }
        let offer = self.start_offer()?;
        self.drain(now);
        Ok(offer)
    }

    fn start_offer(&mut self) -> Result<String, NegotiationError> {
        let stands = self.negotiation.stands;
        let mut change = self.rtc.sdp_api();
        let mut mid = None;
        if stands {
            change.ice_restart(KEEP_LOCAL_CANDIDATES);
        } else {
            let video = change.add_media(MediaKind::Video, RECEIVE, None, None, None);
            mid = Some(video);
            if self.sound == Sound::Wanted {
                let line = change.add_media(MediaKind::Audio, RECEIVE, None, None, None);
                self.audio.handle_media(line, RECEIVE);
            }
            for channel in Channel::ALL {
                change.add_channel_with_config(channels::config(channel));
            }
        }
        let (offer, pending) = change.apply().ok_or(NegotiationError::NoOffer)?;
        if let Some(mid) = mid {
            self.video.handle_media(mid);
        }
        let sdp = offer.to_sdp_string();
        self.negotiation.pending = Some(pending);
        self.note_description(&sdp);
        if !stands {
            self.negotiation.first_offer = Some(sdp.clone());
        }
        Ok(sdp)
    }

    /// An offer came; the result is the answer. A later offer restarts ICE if it says so; media
    /// goes on over the old path until the new one is found (host).
    ///
    /// # Errors
    ///
    /// [`NegotiationError`]; the session goes on as it was.
    pub fn handle_offer(&mut self, sdp: &str, now: Instant) -> Result<String, NegotiationError> {
        self.may_negotiate(Side::Host)?;
        let remote = Description::parse(sdp)?;
        let offer = SdpOffer::from_sdp_string(&remote.sdp).map_err(refused)?;
        let restarts = self.remote.is_restart(&remote.ufrag);
        let answer = self.rtc.sdp_api().accept_offer(offer);
        let answer = answer.map_err(|error| self.refuse(error, now))?;
        let answer = answer.to_sdp_string();
        self.note_description(&answer);
        if let Some((ours, _)) = &self.negotiation.described {
            self.window
                .handle_description(&remote.ufrag, ours, &remote.password);
        }
        self.repair.handle_description(&remote.sdp);
        self.handle_remote_description(&remote, restarts, now);
        Ok(answer)
    }

    /// The answer to the last offer came (viewer).
    ///
    /// # Errors
    ///
    /// [`NegotiationError`]; the session goes on as it was.
    pub fn handle_answer(&mut self, sdp: &str, now: Instant) -> Result<(), NegotiationError> {
        self.may_negotiate(Side::Viewer)?;
        let remote = Description::parse(sdp)?;
        let answer = SdpAnswer::from_sdp_string(&remote.sdp).map_err(refused)?;
        let pending = self.negotiation.pending.take();
        let pending = pending.ok_or(NegotiationError::NoOffer)?;
        let restarts = self.remote.is_restart(&remote.ufrag);
        let accepted = self.rtc.sdp_api().accept_answer(pending, answer);
        accepted.map_err(|error| self.refuse(error, now))?;
        self.negotiation.first_offer = None;
        self.handle_remote_description(&remote, restarts, now);
        Ok(())
    }

    fn handle_remote_description(&mut self, remote: &Description, restarts: bool, now: Instant) {
        self.negotiation.stands = true;
        self.video.handle_description();
        self.audio.handle_description();
        if restarts {
            self.relays.handle_restart(now);
        }
        self.drain(now);
        let early = self.remote.handle_description(&remote.ufrag);
        for candidate in remote.candidates.iter().chain(&early) {
            self.handle_candidate(candidate, now);
        }
        self.tell_end_of_candidates();
    }

    /// A candidate of the other side came; one that makes no sense is counted and ignored. May
    /// come before the description it belongs to.
    pub fn handle_candidate(&mut self, candidate: &Candidate, now: Instant) {
        if self.is_closed() {
            return;
        }
        let Some(admitted) = self.remote.handle(candidate) else {
            return;
        };
        self.relays.permit(admitted.addr().ip(), now);
        self.rtc.add_remote_candidate(admitted);
        self.hurry_checks(now);
        self.drain(now);
    }

    /// Offers a local candidate: inside the next description, or after it.
    pub(crate) fn add_local_candidate(&mut self, candidate: str0m::Candidate, now: Instant) {
        let Some(accepted) = self.rtc.add_local_candidate(candidate) else {
            return;
        };
        let line = accepted.to_sdp_string();
        if let Some((ufrag, mid)) = &self.negotiation.described {
            // str0m adds the ufrag of today; of a restart that waits for its answer it knows later.
            let line = line.split(" ufrag ").next().unwrap_or_default();
            self.events.push_back(Event::Candidate(Candidate {
                candidate: format!("{line} ufrag {ufrag}"),
                mid: Some(mid.clone()),
                username_fragment: Some(ufrag.clone()),
            }));
        }
        self.hurry_checks(now);
        self.drain(now);
    }

    /// Once per description, when every relay has said yes or no (RFC 8838 §14).
    pub(crate) fn tell_end_of_candidates(&mut self) {
        let settled = self.mode == PathMode::Direct || self.relays.is_settled();
        let Some((ufrag, mid)) = &self.negotiation.described else {
            return;
        };
        if self.negotiation.end_told || !settled || self.is_closed() {
            return;
        }
        self.negotiation.end_told = true;
        self.events.push_back(Event::Candidate(Candidate {
            candidate: String::new(),
            mid: Some(mid.clone()),
            username_fragment: Some(ufrag.clone()),
        }));
    }

    fn note_description(&mut self, sdp: &str) {
        let ufrag = sdp::value(sdp, "a=ice-ufrag:").unwrap_or_default();
        let mid = sdp::value(sdp, "a=mid:").unwrap_or_default();
        self.negotiation.described = Some((ufrag.to_owned(), mid.to_owned()));
        self.negotiation.end_told = false;
    }

    fn may_negotiate(&self, side: Side) -> Result<(), NegotiationError> {
        if self.is_closed() {
            return Err(NegotiationError::Closed);
        }
        if self.side != side {
            return Err(NegotiationError::WrongSide);
        }
        Ok(())
    }

    fn refuse(&mut self, error: str0m::RtcError, now: Instant) -> NegotiationError {
        if !self.rtc.is_alive() {
            self.end(CloseReason::Engine(error.to_string()), now);
        }
        self.drain(now);
        refused(error)
    }
}

const RECEIVE: Direction = Direction::RecvOnly;
const KEEP_LOCAL_CANDIDATES: bool = true;

fn refused(error: impl std::fmt::Display) -> NegotiationError {
    NegotiationError::Sdp(error.to_string())
}

/// A description of the other side, read as far as we need it ourselves.
struct Description {
    sdp: String,
    ufrag: String,
    password: Secret,
    candidates: Vec<Candidate>,
}

impl Description {
    fn parse(sdp: &str) -> Result<Self, NegotiationError> {
        if sdp.len() > sdp::LEN_MAX {
            return Err(refused("longer than 64 KiB"));
        }
        let (rest, lines) = sdp::sift(sdp);
        let needed = |prefix| {
            let line = sdp::value(&rest, prefix);
            line.ok_or_else(|| refused(format_args!("no {prefix} line")))
        };
        needed("a=fingerprint:")?;
        needed("m=")?;
        let (ufrag, password) = (needed("a=ice-ufrag:")?, needed("a=ice-pwd:")?);
        let candidates = lines.into_iter().map(|line| Candidate {
            candidate: line.to_owned(),
            mid: None,
            username_fragment: Some(ufrag.to_owned()),
        });
        Ok(Self {
            ufrag: ufrag.to_owned(),
            password: Secret::new(password),
            candidates: candidates.collect(),
            sdp: rest,
        })
    }
}
