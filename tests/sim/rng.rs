//! The simulation's only source of chance: xoshiro256** seeded by splitmix64.
//!
//! Every concern has a stream of its own ([`Streams`]), and every step of faults, mischief and people
//! one more ([`Rng::of`]): what is left out of a run moves as little as possible of the rest.

/// A seeded generator. The same seed gives the same numbers on every machine, for ever.
#[derive(Debug, Clone)]
pub struct Rng([u64; 4]);

impl Rng {
    /// A generator for a seed.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self([next(), next(), next(), next()])
    }

    /// A generator of its own for one concern of a seed.
    pub fn of(seed: u64, concern: &str, number: u64) -> Self {
        let number = number.to_le_bytes();
        let bytes = seed.to_le_bytes().into_iter().chain(concern.bytes());
        // FNV-1a.
        let hash = bytes
            .chain(number)
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        Self::new(hash)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number of `low..=high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    /// An index below `len`; `len` must not be 0.
    pub fn index(&mut self, len: usize) -> usize {
        (self.bits() % len as u64) as usize
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    /// Bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for byte in &mut out {
            *byte = self.bits() as u8;
        }
        out
    }

    /// One of them; `None` of nothing.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.index(from.len())])
    }
}

/// The streams of a run that are drawn from as it goes; by client (0 is the controller) or by node.
#[derive(Debug)]
pub struct Streams {
    /// Messages and connections of each client.
    pub net: Vec<Rng>,
    /// Each client's disk.
    pub disk: Vec<Rng>,
    /// What happens on each board.
    pub kernel: Vec<Rng>,
    /// The controllers of the model.
    pub store: Rng,
}

impl Streams {
    /// The streams of a seed with so many nodes.
    pub fn new(seed: u64, nodes: usize) -> Self {
        let each = |concern: &str, count: usize| {
            let numbers = 0..count as u64;
            numbers.map(|n| Rng::of(seed, concern, n)).collect()
        };
        Self {
            net: each("net", nodes + 1),
            disk: each("disk", nodes + 1),
            kernel: each("kernel", nodes),
            store: Rng::of(seed, "store", 0),
        }
    }
}
