/// Gives memory back when a flood is over; what glibc keeps of it, in pieces, is many times a node's size.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    refresh_relay::cli::run()
}
