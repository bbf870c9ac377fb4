//! Inputs out of seeds: blind, but it knows what JSON, YAML and protobuf trip over.

/// A small generator (xorshift64*): the same seed makes the same inputs.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// What parsers get wrong.
const WORDS: &[&[u8]] = &[
    b"null",
    b"true",
    b"-0",
    b"1e309",
    b"9223372036854775808",
    b"18446744073709551616",
    b"\"\\u0000\"",
    b"\"\\ud800\"",
    b"\xff",
    b"\xef\xbb\xbf",
    b"{}",
    b"[]",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":{\"a\":",
    b"\"$patch\":\"delete\",",
    b"\"$patch\":\"replace\",",
    b"\"$retainKeys\":[],",
    b"\"$setElementOrder/containers\":[{}],",
    b"\"$deleteFromPrimitiveList/finalizers\":[1],",
    b"\"kind\":\"List\",",
    b"\"name\":\"\",",
    b"&a ",
    b"*a",
    b"- - - - - ",
    b"<<: *a\n",
    b"!!binary ",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x0b\x0b\x0b\x0b",
    b"()",
    b" in (",
    b" notin ",
    b"\\",
    b",",
    b"~1",
    b"/-",
    b"100m",
    b"1Ei",
    b"-1",
    b"99999999999999999999Gi",
];

/// Largest input made.
const MAX: usize = 64 * 1024;

/// A variation of one of the seeds.
pub fn input(random: &mut Random, seeds: &[&[u8]]) -> Vec<u8> {
    let mut bytes = match random.below(16) {
        0 => (0..random.below(256))
            .map(|_| random.next() as u8)
            .collect(),
        _ => seeds[random.below(seeds.len())].to_vec(),
    };
    for _ in 0..1 + random.below(6) {
        change(random, &mut bytes, seeds);
        bytes.truncate(MAX);
    }
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[&[u8]]) {
    let at = random.below(bytes.len() + 1);
    let end = at + random.below((bytes.len() - at).min(40) + 1);
    match random.below(9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => drop(bytes.splice(at..end, WORDS[random.below(WORDS.len())].iter().copied())),
        3 => drop(bytes.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
        4 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        5 if at < bytes.len() => bytes[at] = random.next() as u8,
        // A part again, perhaps many times.
        6 => {
            let part = bytes[at..end].to_vec();
            let times = [1, 2, 50, 500][random.below(4)];
            drop(bytes.splice(at..at, part.repeat(times)));
        }
        // A part of another seed.
        7 => {
            let other = seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let to = from + random.below(other.len() - from + 1);
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
        _ => {
            // Two parts change places.
            let part: Vec<u8> = bytes.drain(at..end).collect();
            let to = random.below(bytes.len() + 1);
            drop(bytes.splice(to..to, part));
        }
    }
}
