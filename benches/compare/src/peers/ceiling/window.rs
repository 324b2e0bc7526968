//! The client without tasks and futures: N slots, each of which sends its next request as soon as
//! its answer has come and was right.

use std::time::{Duration, Instant};

use super::output::Output;
use super::wire::{Frame, Handler, Header, Wire};
use super::{ADD, ECHO, ECHOED, SUM};
use crate::load::{self, Tally};
use crate::peers::Place;
use crate::socket::Socket;

/// A connected client.
pub(crate) struct Window(Wire);

impl Window {
    pub(crate) async fn connect(place: &Place) -> Self {
        let socket = Socket::connect(place).await;
        Self(Wire::new(socket.expect("the server can be reached")))
    }

    /// Adds with so many in flight for so long.
    pub(crate) async fn add(&mut self, in_flight: usize, time: Duration) -> Tally {
        let mut adds = Slots::new(in_flight, time, Work::Add);
        self.run(&mut adds).await
    }

    /// Echoes so many bytes with so many in flight for so long.
    pub(crate) async fn echo(&mut self, bytes: usize, in_flight: usize, time: Duration) -> Tally {
        let mut echoes = Slots::new(in_flight, time, Work::Echo(bytes));
        self.run(&mut echoes).await
    }

    async fn run(&mut self, slots: &mut Slots) -> Tally {
        for id in 0..slots.slots.len() {
            slots.send(id, Vec::new(), self.0.output());
        }
        while slots.waiting > 0 {
            slots.over = slots.over || slots.began.elapsed() >= slots.time;
            self.0.step(slots).await.expect("the server answers");
        }
        slots.tally.took = slots.began.elapsed();
        std::mem::take(&mut slots.tally)
    }
}

#[derive(Clone, Copy)]
enum Work {
    Add,
    Echo(usize),
}

/// A call in flight.
#[derive(Clone, Default)]
struct Slot {
    /// Counts the calls of this slot; the second number of an addition, the stamp of an echo.
    number: u64,
    /// When it was sent, if it is one of those that are timed.
    sent: Option<Instant>,
    /// The payload of small echoes.
    payload: Vec<u8>,
}

struct Slots {
    slots: Vec<Slot>,
    work: Work,
    began: Instant,
    time: Duration,
    /// The time is over: what comes is counted, nothing is sent any more.
    over: bool,
    /// Calls in flight.
    waiting: usize,
    tally: Tally,
}

impl Slots {
    fn new(in_flight: usize, time: Duration, work: Work) -> Self {
        Self {
            slots: vec![Slot::default(); in_flight],
            work,
            began: Instant::now(),
            time,
            over: false,
            waiting: in_flight,
            tally: Tally::default(),
        }
    }

    /// Sends the next request of a slot; a large one in `buffer`, if it has the right length.
    fn send(&mut self, id: usize, mut buffer: Vec<u8>, output: &mut Output) {
        let in_flight = self.slots.len();
        let slot = &mut self.slots[id];
        slot.sent = load::is_timed(in_flight, slot.number).then(Instant::now);
        match self.work {
            Work::Add => {
                let mut body = [0; 16];
                body[..8].copy_from_slice(&(id as u64).to_le_bytes());
                body[8..].copy_from_slice(&slot.number.to_le_bytes());
                output.small(ADD, id as u64, &body);
            }
            Work::Echo(bytes) if bytes > load::SMALL_PAYLOAD => {
                buffer.resize(bytes, 0);
                load::stamp(&mut buffer, slot.number);
                output.bulk(ECHO, id as u64, buffer);
            }
            Work::Echo(bytes) => {
                slot.payload.resize(bytes, 0);
                load::stamp(&mut slot.payload, slot.number);
                output.small(ECHO, id as u64, &slot.payload);
            }
        }
    }

    /// The answer of a slot has come and was right.
    fn answered(&mut self, id: usize, buffer: Vec<u8>, output: &mut Output) {
        let slot = &mut self.slots[id];
        self.tally.call(slot.sent.map(|sent| sent.elapsed()));
        slot.number += 1;
        if self.over {
            self.waiting -= 1;
        } else {
            self.send(id, buffer, output);
        }
    }
}

impl Handler for Slots {
    fn frame(&mut self, frame: Frame<'_>, output: &mut Output) {
        let id = frame.header.id as usize;
        let number = self.slots[id].number;
        match (frame.header.kind, self.work) {
            (SUM, Work::Add) => {
                let sum = (id as u64).wrapping_add(number).to_le_bytes();
                assert_eq!(frame.body, sum, "wrong sum");
            }
            (ECHOED, Work::Echo(bytes)) => load::check_echo(frame.body, bytes, number),
            (kind, _) => panic!("wrong answer: kind {kind}"),
        }
        self.answered(id, Vec::new(), output);
    }

    fn bulk(&mut self, header: Header, body: Vec<u8>, output: &mut Output) {
        let id = header.id as usize;
        let (ECHOED, Work::Echo(bytes)) = (header.kind, self.work) else {
            panic!("wrong answer: kind {}", header.kind);
        };
        load::check_echo(&body, bytes, self.slots[id].number);
        self.answered(id, body, output);
    }
}
