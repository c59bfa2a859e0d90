//! STUN and TURN as they appear on the wire (RFC 8489, RFC 8656).

pub mod channel;
