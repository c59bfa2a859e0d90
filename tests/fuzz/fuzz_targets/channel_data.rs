//! One target of `tests::fuzz`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzz::channel_data(bytes));
