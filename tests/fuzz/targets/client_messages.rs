#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| refresh_relay_fuzz::client_messages::check(input));
