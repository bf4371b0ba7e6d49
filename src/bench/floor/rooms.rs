//! Which sockets of a thread are in which room.

use std::collections::HashMap;

#[derive(Default)]
pub struct Rooms {
    /// The number of each path's room.
    names: HashMap<String, usize>,
    /// The sockets of each room.
    sockets: Vec<Vec<usize>>,
}

/// A room and a place there.
#[derive(Clone, Copy)]
pub struct Seat {
    room: usize,
    place: usize,
}

impl Rooms {
    pub fn enter(&mut self, path: String, socket: usize) -> Seat {
        let next = self.sockets.len();
        let room = *self.names.entry(path).or_insert(next);
        if room == next {
            self.sockets.push(Vec::new());
        }
        self.sockets[room].push(socket);
        Seat { room, place: self.sockets[room].len() - 1 }
    }

    /// Answers which socket sits there now, if one was moved.
    pub fn leave(&mut self, seat: Seat) -> Option<usize> {
        self.sockets[seat.room].swap_remove(seat.place);
        self.sockets[seat.room].get(seat.place).copied()
    }

    pub fn sockets(&self, path: &str) -> impl Iterator<Item = usize> {
        let room = self.names.get(path).and_then(|room| self.sockets.get(*room));
        room.into_iter().flatten().copied()
    }
}
