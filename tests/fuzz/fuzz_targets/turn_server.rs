//! cargo-fuzz wrapper of one target of `tests::fuzz`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::turn_server::run(bytes));
