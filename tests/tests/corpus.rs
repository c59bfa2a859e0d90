//! Replays the committed fuzz inputs, each also cut short and with one byte changed.

use std::path::Path;

use tests::fuzz::{TARGETS, Target};

/// Every prefix of a short input, a few of a long one.
const PREFIXES: usize = 64;

#[test]
fn no_committed_input_and_no_neighbour_of_one_makes_a_parser_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name)).expect("every target has a corpus") {
            let path = entry.expect("the corpus is readable").path();
            println!("{}", path.display());
            replay(&std::fs::read(&path).expect("an input is a file"), target);
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no inputs");
    }
}

fn replay(input: &[u8], target: Target) {
    target(input);
    let step = input.len().div_ceil(PREFIXES).max(1);
    for end in (0..input.len()).step_by(step) {
        target(&input[..end]);
        let mut changed = input.to_vec();
        changed[end] ^= 0x55;
        target(&changed);
    }
}
