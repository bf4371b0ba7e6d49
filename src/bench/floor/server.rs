//! The floor's process: its threads, each with a listener of its own on the same address, so that the kernel shares the
//! sockets out and no thread hands one to another.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::mpsc::channel;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::worker::Worker;

const BACKLOG: i32 = 4096;

/// Serves until standard input ends; says its address and the number of its threads first.
pub fn serve(threads: Option<NonZeroUsize>) -> io::Result<()> {
    let threads = threads.map_or_else(std::thread::available_parallelism, Ok)?;
    let first = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = first.local_addr()?;
    let mut workers = vec![Worker::new(first)?];
    for _ in 1..threads.get() {
        workers.push(Worker::new(listen(address)?)?);
    }
    let doors: Vec<_> = workers.iter().map(Worker::door).collect();
    let (end, ended) = channel();
    for (number, worker) in workers.into_iter().enumerate() {
        let others = doors.iter().enumerate().filter(|(at, _)| *at != number);
        let others: Vec<_> = others.map(|(_, door)| door.clone()).collect();
        let end = end.clone();
        std::thread::spawn(move || end.send(worker.run(&others)));
    }
    std::thread::spawn(move || {
        // Ends with the coordinator; what it says does not matter.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        end.send(Ok(()))
    });
    let mut out = io::stdout().lock();
    writeln!(out, "{address} {threads}")?;
    out.flush()?;
    // The process ends with this thread, and takes the others along.
    ended.recv().map_err(io::Error::other)?
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
