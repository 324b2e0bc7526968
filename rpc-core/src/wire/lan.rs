//! The two datagrams by which a matchmaker is found in the local network.
//!
//! ```text
//!  0        4         5      6          8        16
//!  +--------+---------+------+----------+--------+----------
//!  | magic  | version | kind | reserved | nonce  | body
//!  +--------+---------+------+----------+--------+----------
//! ```

use bytes::BufMut;

use super::text::put_text;
use super::{Malformed, Reader};

/// Bytes of a question, which no answer exceeds: enough for a handful of addresses.
pub(crate) const QUERY_LEN: usize = 512;

/// The most addresses in an answer.
const ADDRESSES_MAX: usize = 8;

const MAGIC: [u8; 4] = [0xf8, b'R', b'P', b'L'];
const VERSION: u8 = 1;

mod kind {
    pub(super) const QUERY: u8 = 1;
    pub(super) const HERE: u8 = 2;
}

/// Asks which matchmakers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// Chosen by who asks, at random; the answer repeats it.
    pub(crate) nonce: u64,
}

/// A matchmaker names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    pub(crate) nonce: u64,
    /// Distinguishes the daemons: random, new at each start.
    pub(crate) daemon: u128,
    /// Where it listens. A wildcard stands for the address that the answer comes from.
    pub(crate) addresses: Vec<String>,
}

impl Query {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let end = out.len().saturating_add(QUERY_LEN);
        put_header(out, kind::QUERY, self.nonce);
        out.resize(end, 0);
    }

    /// Reads a question; it must have its full length, so that the answer is not longer.
    pub(crate) fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let (nonce, body) = parse_header(datagram, kind::QUERY)?;
        if datagram.len() != QUERY_LEN {
            return Err(body.malformed("a question of another length"));
        }
        Ok(Self { nonce })
    }
}

impl Here {
    /// Appends the answer, without those addresses for which a question has no room.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        put_header(out, kind::HERE, self.nonce);
        out.put_u128_le(self.daemon);
        let count = out.len();
        out.put_u8(0);
        let mut said: u8 = 0;
        for address in self.addresses.iter().take(ADDRESSES_MAX) {
            let before = out.len();
            put_text(out, address);
            if out.len().saturating_sub(start) > QUERY_LEN {
                out.truncate(before);
            } else {
                said = said.saturating_add(1);
            }
        }
        if let Some(place) = out.get_mut(count) {
            *place = said;
        }
    }

    pub(crate) fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let (nonce, mut body) = parse_header(datagram, kind::HERE)?;
        let daemon: &[u8; 16] = body.chunk().ok_or_else(|| body.malformed("no daemon"))?;
        let daemon = u128::from_le_bytes(*daemon);
        let count = usize::from(body.u8("no number of addresses")?);
        if datagram.len() > QUERY_LEN || count > ADDRESSES_MAX {
            return Err(body.malformed("an answer over the limit"));
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            addresses.push(body.text("no address")?);
        }
        body.end()?;
        Ok(Self {
            nonce,
            daemon,
            addresses,
        })
    }
}

fn put_header(out: &mut Vec<u8>, kind: u8, nonce: u64) {
    out.put_slice(&MAGIC);
    out.put_slice(&[VERSION, kind, 0, 0]);
    out.put_u64_le(nonce);
}

fn parse_header(datagram: &[u8], wanted: u8) -> Result<(u64, Reader<'_>), Malformed> {
    let mut body = Reader::new(wanted, datagram);
    let is_ours = body.bytes(MAGIC.len(), "no magic")? == MAGIC
        && body.u8("no version")? == VERSION
        && body.u8("no kind")? == wanted
        && body.u16("no reserved field")? == 0;
    if !is_ours {
        return Err(body.malformed("another datagram"));
    }
    let nonce = body.u64("no nonce")?;
    Ok((nonce, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_never_longer_than_a_question() {
        let here = Here {
            nonce: 1,
            daemon: 2,
            addresses: vec!["tcp://0.0.0.0:7111".repeat(10); 20],
        };
        let mut answer = Vec::new();
        here.put(&mut answer);
        assert!(answer.len() <= QUERY_LEN);
        assert_eq!(Here::parse(&answer).unwrap().addresses.len(), 2);
        let mut question = Vec::new();
        Query { nonce: 1 }.put(&mut question);
        assert_eq!(question.len(), QUERY_LEN);
        assert!(Query::parse(&question[1..]).is_err() && Query::parse(&question[..511]).is_err());
    }

    #[test]
    fn random_bytes_are_neither() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            let mut bytes = Vec::new();
            put_header(&mut bytes, rng.u8(1..3), 5);
            let length = rng.usize(..QUERY_LEN);
            bytes.resize_with(length.max(16), || rng.u8(..));
            let _ = (Query::parse(&bytes), Here::parse(&bytes));
        }
    }
}
