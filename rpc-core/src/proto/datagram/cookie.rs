//! What proves that a client receives what is sent to its address.

use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use siphasher::sip::SipHasher24;

use super::FRESH;
use crate::wire::datagram::Cookie;

/// What a server needs to make cookies and to know them again. It keeps none of them.
///
/// ```text
///  0       4        8                  16
///  +-------+--------+------------------+
///  | epoch | issued | tag              |
///  +-------+--------+------------------+
/// ```
///
/// The epoch is this run of the server, `issued` the seconds from its start, and the tag the
/// SipHash-2-4 of both with the client's address and id, under a key that is made at the start and
/// never leaves the process.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    key: [u8; 16],
    epoch: u32,
    boot: Instant,
}

/// What a cookie is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// Just made: its client may be a new one.
    Fresh,
    /// Made a while ago: its client is known, or was.
    Old,
    /// Of another run of the server, of another address, or made up.
    None,
}

impl Secret {
    /// The secret of a server that starts now. Both numbers must be such that nobody guesses them.
    pub(crate) fn new(now: Instant, key: [u8; 16], epoch: u32) -> Self {
        Self {
            key,
            epoch,
            boot: now,
        }
    }

    /// A cookie for a client that says it is at `from`.
    pub(super) fn bake(&self, now: Instant, from: SocketAddr, client: u64) -> Cookie {
        self.seal(self.age(now), from, client)
    }

    /// What the cookie is worth when it comes from there.
    pub(super) fn judge(
        &self,
        now: Instant,
        from: SocketAddr,
        client: u64,
        cookie: Cookie,
    ) -> Worth {
        let [_, _, _, _, i0, i1, i2, i3, ..] = cookie.0;
        let issued = u32::from_le_bytes([i0, i1, i2, i3]);
        if self.seal(issued, from, client) != cookie {
            return Worth::None;
        }
        let age = self.age(now).saturating_sub(issued);
        match u64::from(age) < FRESH.as_secs() {
            true => Worth::Fresh,
            false => Worth::Old,
        }
    }

    /// Seconds from the start of the server, of which a `u32` holds 136 years.
    fn age(&self, now: Instant) -> u32 {
        let age = now.saturating_duration_since(self.boot).as_secs();
        u32::try_from(age).unwrap_or(u32::MAX)
    }

    fn seal(&self, issued: u32, from: SocketAddr, client: u64) -> Cookie {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&self.epoch.to_le_bytes());
        hasher.write(&issued.to_le_bytes());
        hasher.write(&client.to_le_bytes());
        match from.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write(&from.port().to_le_bytes());
        let [t0, t1, t2, t3, t4, t5, t6, t7] = hasher.finish().to_le_bytes();
        let [e0, e1, e2, e3] = self.epoch.to_le_bytes();
        let [i0, i1, i2, i3] = issued.to_le_bytes();
        Cookie([
            e0, e1, e2, e3, i0, i1, i2, i3, t0, t1, t2, t3, t4, t5, t6, t7,
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_for_one_client_at_one_address_of_one_run() {
        let now = Instant::now();
        let secret = Secret::new(now, [3; 16], 1);
        let home = at("192.0.2.1:9");
        let cookie = secret.bake(now, home, 7);
        assert_eq!(secret.judge(now, home, 7, cookie), Worth::Fresh);
        for (from, client) in [
            (at("192.0.2.2:9"), 7),
            (at("192.0.2.1:10"), 7),
            (home, 8),
            (at("[2001:db8::1]:9"), 7),
        ] {
            assert_eq!(secret.judge(now, from, client, cookie), Worth::None);
        }
        let same_key = Secret::new(now, [3; 16], 2);
        let same_epoch = Secret::new(now, [4; 16], 1);
        for other in [same_key, same_epoch] {
            assert_eq!(other.judge(now, home, 7, cookie), Worth::None);
        }
    }

    #[test]
    fn every_bit_of_a_cookie_counts() {
        let now = Instant::now();
        let secret = Secret::new(now, [3; 16], 1);
        let home = at("192.0.2.1:9");
        let cookie = secret.bake(now, home, 7);
        for bit in 0..128 {
            let mut forged = cookie;
            forged.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(secret.judge(now, home, 7, forged), Worth::None, "bit {bit}");
        }
    }

    #[test]
    fn a_cookie_ages() {
        let boot = Instant::now();
        let secret = Secret::new(boot, [3; 16], 1);
        let home = at("[2001:db8::1]:9");
        let made = boot + Duration::from_secs(1000);
        let cookie = secret.bake(made, home, 7);
        let judge = |after| secret.judge(made + after, home, 7, cookie);
        assert_eq!(judge(Duration::ZERO), Worth::Fresh);
        assert_eq!(judge(FRESH - Duration::from_millis(1)), Worth::Fresh);
        assert_eq!(judge(FRESH), Worth::Old);
        assert_eq!(judge(Duration::from_secs(1_000_000)), Worth::Old);
    }
}
