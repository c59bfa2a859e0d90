//! Our codec beside `stun`, our server beside `turn-server-proto`, on the committed fuzz inputs and
//! on as many neighbours of them as were asked for. The seed is printed; the same seed does the same.

use std::env;

use anyhow::{Context, Result};
use interop::differential::{self, Dice, codec, server};

/// Of each part, if INTEROP_INPUTS does not say otherwise.
const INPUTS: u64 = 200_000;
/// A sequence of steps costs some hundred times a message.
const MESSAGES_PER_SEQUENCE: u64 = 100;

fn main() -> Result<()> {
    let inputs = number("INTEROP_INPUTS")?.unwrap_or(INPUTS);
    let seed = number("INTEROP_SEED")?.unwrap_or(1);
    let tally = messages(inputs, seed)?;
    let (steps, known) = sequences(inputs / MESSAGES_PER_SEQUENCE, seed)?;
    println!(
        "{}",
        serde_json::json!({
            "messages": inputs,
            "seed": seed,
            "both_accept": tally.both_accept,
            "both_refuse": tally.both_refuse,
            "ours_is_stricter": tally.ours_is_stricter,
            "server_steps": steps,
            "known_differences": known,
        })
    );
    Ok(())
}

fn messages(inputs: u64, seed: u64) -> Result<codec::Tally> {
    let corpus = differential::corpus("stun")?;
    let mut dice = Dice::new(seed);
    let mut tally = codec::Tally::default();
    for bytes in &corpus {
        codec::check(bytes, &mut tally).with_context(|| hex(bytes))?;
    }
    for _ in 0..inputs {
        let bytes = differential::mutate(&corpus[dice.below(corpus.len())], &mut dice);
        codec::check(&bytes, &mut tally).with_context(|| hex(&bytes))?;
    }
    for _ in 0..inputs / 20 {
        codec::check_written(&mut dice)?;
    }
    Ok(tally)
}

fn sequences(inputs: u64, seed: u64) -> Result<(u64, server::Known)> {
    let corpus = differential::corpus("turn_server")?;
    let mut dice = Dice::new(seed);
    let mut steps = 0;
    let mut known = server::Known::new();
    for bytes in &corpus {
        steps += server::check(bytes, &mut known).with_context(|| hex(bytes))?;
    }
    for _ in 0..inputs {
        let len = 2 + dice.below(100);
        let bytes = dice.bytes(len);
        steps += server::check(&bytes, &mut known).with_context(|| hex(&bytes))?;
    }
    Ok((steps, known))
}

fn number(variable: &str) -> Result<Option<u64>> {
    match env::var(variable) {
        Ok(text) => text
            .parse()
            .map(Some)
            .with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(None),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
