fn main() -> std::process::ExitCode {
    refresh_relay::cli::run()
}
