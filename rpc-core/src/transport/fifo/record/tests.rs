//! What is a record, and what is found between garbage.

use super::*;

fn record(number: u8) -> Record {
    Record {
        id: Id([number; 16]),
        nonce: Nonce([number ^ 0xff; 16]),
    }
}

/// All records in `bytes`, which arrive in pieces of so many.
fn read(bytes: &[u8], piece: usize) -> (Vec<Record>, usize) {
    let mut records = Records::new();
    let mut found = Vec::new();
    let mut garbage = 0;
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let space = records.space();
            let count = space.len().min(piece.len());
            space[..count].copy_from_slice(&piece[..count]);
            records.filled(count);
            piece = &piece[count..];
            found.extend(std::iter::from_fn(|| records.next()));
            garbage += records.take_garbage();
        }
    }
    (found, garbage)
}

/// The bytes of a vector of PROTOCOL.md.
fn vector(name: &str) -> Vec<u8> {
    let text = include_str!("../../../../../PROTOCOL.md");
    let vector = text
        .split(&format!("```vector {name}\n"))
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("PROTOCOL.md has the vector");
    vector
        .lines()
        .flat_map(|line| line.split('#').next().unwrap().split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[test]
fn the_bytes_are_those_of_the_protocol() {
    let bytes = vector("wkp_record");
    let bytes: [u8; RECORD_LEN] = bytes.try_into().expect("a record has 128 bytes");
    let record = Record {
        id: Id(std::array::from_fn(|at| at as u8)),
        nonce: Nonce(std::array::from_fn(|at| 0x10 + at as u8)),
    };
    assert_eq!(record.to_bytes(), bytes);
    assert_eq!(Record::from_bytes(&bytes), Some(record));
    assert_eq!(record.id.to_string(), "000102030405060708090a0b0c0d0e0f");
}

#[test]
fn row_44_one_wrong_bit_anywhere_and_it_is_no_record() {
    let whole = record(1).to_bytes();
    for bit in 0..RECORD_LEN * 8 {
        let mut bytes = whole;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Record::from_bytes(&bytes), None, "bit {bit}");
    }
}

#[test]
fn row_44_records_are_found_however_they_arrive() {
    let bytes: Vec<u8> = (0..100).flat_map(|n| record(n).to_bytes()).collect();
    let expected: Vec<_> = (0..100).map(record).collect();
    for piece in [1, 7, 127, 128, 129, 4095, 4096, 10_000] {
        assert_eq!(read(&bytes, piece), (expected.clone(), 0));
    }
}

#[test]
fn row_44_garbage_costs_no_record_but_its_own() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..2_000 {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for number in 0..random.u8(1..20) {
            match random.u8(..5) {
                0 => bytes.extend((0..random.usize(..300)).map(|_| random.u8(..))),
                1 => bytes.extend(&MAGIC[..random.usize(..MAGIC.len())]),
                2 => bytes.extend(&record(number).to_bytes()[..random.usize(..RECORD_LEN)]),
                3 => {
                    let mut broken = record(number).to_bytes();
                    broken[random.usize(..RECORD_LEN)] ^= random.u8(1..);
                    bytes.extend(broken);
                }
                _ => {}
            }
            // Random bytes make no magic of eight, and a record that was cut ends in the next one,
            // whose magic is found.
            bytes.extend(record(number).to_bytes());
            expected.push(record(number));
        }
        let (found, garbage) = read(&bytes, random.usize(1..6_000));
        assert_eq!(found, expected);
        assert_eq!(garbage, bytes.len() - expected.len() * RECORD_LEN);
    }
}
