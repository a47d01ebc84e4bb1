//! Inputs that are nearly right: pieces of good ones, changed in a few places. Everything
//! follows from a seed, so a case can be made again from its number. What reads the inputs
//! is in `targets`.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Bytes of an input at most.
const LARGEST: usize = 64 << 10;
/// Bytes of a good input that a case begins with, mostly.
const WINDOW: usize = 4 << 10;

/// What breaks readers of any kind.
const HOSTILE: &[&[u8]] = &[
    b"\0",
    b"\x1b[31m",
    b"\x1b]0;t\x07",
    b"\r",
    b"\n",
    b"\t",
    b"\xff",
    b"\xef\xbb\xbf",
    "\u{202e}é😀".as_bytes(),
    b"99999999999999999999",
    b"-1",
    b"0",
    b"1e308",
    b"9007199254740993",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"NaN",
    b"null",
    b"\"",
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"#",
    b"=",
    b"$",
    b"`",
];

/// Makes the inputs of one case.
pub(crate) struct Mutator<'a> {
    pub(crate) rng: ChaCha8Rng,
    seeds: &'a [Vec<u8>],
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// The inputs of the case `number` of a target and a seed.
    pub(crate) fn new(
        seed: u64,
        target: usize,
        number: u64,
        seeds: &'a [Vec<u8>],
        words: &'a [&'a str],
    ) -> Self {
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((target as u64) << 56) ^ number;
        Self { rng: ChaCha8Rng::seed_from_u64(mixed), seeds, words }
    }

    /// Whether something that happens once in `times` happens.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.rng.random_ratio(1, times)
    }

    /// A number below `end`; 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.rng.random_range(0..end) }
    }

    /// An input that is nearly right.
    pub(crate) fn input(&mut self) -> Vec<u8> {
        let mut bytes = self.start();
        let changes = 1usize << self.below(5);
        for _ in 0..changes {
            self.change(&mut bytes);
        }
        bytes.truncate(LARGEST);
        bytes
    }

    /// A text without a shape.
    pub(crate) fn text(&mut self, longest: usize) -> String {
        let mut bytes = Vec::new();
        let length = self.below(longest);
        while bytes.len() < length {
            match self.below(3) {
                0 => bytes.extend_from_slice(self.word()),
                1 => bytes.push((self.rng.next_u32() % 95) as u8 + b' '),
                _ => bytes.push((self.rng.next_u32() % 26) as u8 + b'a'),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// `bytes` in pieces.
    pub(crate) fn pieces<'b>(&mut self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let longest = [1, 3, 17, 300, 5000][self.below(5)];
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at((1 + self.below(longest)).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }

    fn start(&mut self) -> Vec<u8> {
        if self.seeds.is_empty() || self.once_in(64) {
            return self.text(200).into_bytes();
        }
        let seed = &self.seeds[self.below(self.seeds.len())];
        if seed.len() <= WINDOW || self.once_in(100) {
            return seed.clone();
        }
        // A part of a long one, mostly from a line's beginning.
        let from = self.below(seed.len() - WINDOW / 2);
        let from =
            seed[from..].iter().position(|byte| *byte == b'\n').map_or(0, |at| from + at + 1);
        seed[from..(from + 1 + self.below(WINDOW)).min(seed.len())].to_vec()
    }

    fn word(&mut self) -> &'a [u8] {
        if self.words.is_empty() || self.once_in(3) {
            HOSTILE[self.below(HOSTILE.len())]
        } else {
            self.words[self.below(self.words.len())].as_bytes()
        }
    }

    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        let longest = if self.once_in(4) { bytes.len() - start } else { 12 };
        start..(start + self.below(longest + 1)).min(bytes.len())
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        match self.below(16) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.rng.next_u32() as u8,
            2..=4 => drop(bytes.splice(at..at, self.word().iter().copied())),
            5 => {
                let range = self.range(bytes);
                bytes.splice(range, self.word().iter().copied());
            }
            6 => drop(bytes.drain(self.range(bytes))),
            7 => {
                let copied = bytes[self.range(bytes)].to_vec();
                bytes.splice(at..at, copied);
            }
            8 if !self.seeds.is_empty() => {
                let other = &self.seeds[self.below(self.seeds.len())];
                let piece = other[self.range(other)].to_vec();
                bytes.splice(at..at, piece.into_iter().take(WINDOW));
            }
            9 => bytes.truncate(at),
            10 => self.number(bytes, at),
            11 => self.repeat(bytes, at),
            12..=13 => self.line(bytes),
            14 => {
                // Where a value stands, another one.
                let from = bytes[at..].iter().position(|byte| b":= ".contains(byte));
                let Some(from) = from.map(|from| at + from + 1) else { return };
                let ends = |byte: &u8| b"\n,}] ".contains(byte);
                let end = bytes[from..].iter().position(ends).map_or(bytes.len(), |end| from + end);
                bytes.splice(from..end, self.word().iter().copied());
            }
            _ => {
                let word = self.word();
                let end = (at + word.len()).min(bytes.len());
                bytes.splice(at..end, word.iter().copied());
            }
        }
        bytes.truncate(2 * LARGEST);
    }

    /// Another number in the place of the next one.
    fn number(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let Some(from) = bytes[at..].iter().position(u8::is_ascii_digit) else { return };
        let from = at + from;
        let length = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = match self.below(4) {
            0 => self.rng.next_u64().to_string(),
            1 => (1u128 << self.below(100)).to_string(),
            2 => self.below(300).to_string(),
            _ => format!("{}.{}e{}", self.below(10), self.below(1000), self.below(400)),
        };
        bytes.splice(from..from + length, number.into_bytes());
    }

    /// One piece many times: deep nesting, long lists.
    fn repeat(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let piece = if self.once_in(2) { self.word() } else { &bytes[self.range(bytes)] }.to_vec();
        let most = [4, 40, 3000][self.below(3)];
        let times = self.below(most).min(LARGEST / (1 + piece.len()));
        bytes.splice(at..at, piece.repeat(times));
    }

    /// A line less, twice, elsewhere, or at another indentation.
    fn line(&mut self, bytes: &mut Vec<u8>) {
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let at = self.below(lines.len());
        if at >= lines.len() {
            return;
        }
        match self.below(5) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                let other = self.below(lines.len());
                lines.swap(at, other);
            }
            3 => drop(lines[at].splice(0..0, *b"  ")),
            _ => {
                let spaces = lines[at].iter().take_while(|byte| **byte == b' ').count();
                lines[at].drain(..spaces.min(2));
            }
        }
        *bytes = lines.concat();
    }
}
