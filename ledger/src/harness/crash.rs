//! From a trace to the states that a power cut could have left.

use std::collections::{BTreeMap, BTreeSet};

use super::recorder::{Call, Recorder, write};

const SECTOR: usize = 512;

/// Up to so many un-synced pieces, every subset is tried.
const EXHAUSTIVE: usize = 6;

/// Where a sector is cut: at the frame header's fields, in the middle, just before the end.
const CUTS: [usize; 6] = [1, 4, 9, 16, 255, 511];

/// How hard [`sweep`] looks between the exhaustive cases.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Random subsets for each prefix that has too many pieces for all of them.
    pub random: usize,
    /// Look after every so-manieth call only (1 for all); for expensive checks.
    pub stride: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Self {
            random: 12,
            stride: 1,
        }
    }
}

/// A disk as a power cut left it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The files by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The last [`Recorder::mark`] before the cut, 0 for none.
    pub mark: u64,
    /// How many recorded calls had been made.
    pub calls: usize,
    /// What was kept of the rest, for the failure message.
    pub kept: String,
}

impl Image {
    /// A disk to start from.
    #[must_use]
    pub fn disk(&self) -> Recorder {
        Recorder::with_files(&self.files)
    }
}

/// Calls `check` with every image that a power cut during the recorded run may have left, each
/// distinct one once. Returns how many there were.
///
/// # Errors
/// The first image that `check` refuses, with the reason.
pub fn sweep<E>(
    recorder: &Recorder,
    depth: Depth,
    mut check: impl FnMut(&Image) -> Result<(), E>,
) -> Result<usize, (Box<Image>, E)> {
    let trace = recorder.trace();
    let mut durable = Durable::new(&recorder.base());
    let mut random = Random(0x5eed);
    let mut count = 0;
    let mut mark = 0;
    for calls in 0..=trace.len() {
        if calls > 0 {
            durable.record(&trace[calls - 1]);
            if let Call::Mark(what) = trace[calls - 1] {
                mark = what;
            }
        }
        if calls % depth.stride != 0 && calls != trace.len() {
            continue;
        }
        let mut seen = BTreeSet::new();
        for choice in durable.choices(depth, &mut random) {
            let files = durable.image(&choice);
            if !seen.insert(files.clone()) {
                continue;
            }
            count += 1;
            let image = Image {
                files,
                mark,
                calls,
                kept: format!("{choice:?}"),
            };
            check(&image).map_err(|error| (Box::new(image), error))?;
        }
    }
    Ok(count)
}

/// One thing that a power cut may keep or lose by itself.
#[derive(Clone, Debug)]
enum Piece {
    /// Bytes within one sector of a file.
    Sector {
        file: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    /// A change of names.
    Name(Call),
}

/// Which pieces are kept, in which order sectors are laid down, and which one is cut short.
#[derive(Clone, Debug)]
struct Choice {
    keep: Vec<bool>,
    cut: Option<(usize, usize)>,
}

/// What is durable for certain, and the pieces that are not.
struct Durable {
    names: BTreeMap<String, usize>,
    files: BTreeMap<usize, Vec<u8>>,
    pieces: Vec<Piece>,
}

impl Durable {
    fn new(base: &BTreeMap<String, Vec<u8>>) -> Self {
        // The same numbering as `Recorder::with_files`.
        let names = base.keys().cloned().zip(0..).collect();
        let files = (0..).zip(base.values().cloned()).collect();
        Self {
            names,
            files,
            pieces: Vec::new(),
        }
    }

    fn record(&mut self, call: &Call) {
        match call {
            Call::Write {
                file,
                offset,
                bytes,
            } => {
                let mut offset = *offset as usize;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (head, tail) = rest.split_at(rest.len().min(SECTOR - offset % SECTOR));
                    self.pieces.push(Piece::Sector {
                        file: *file,
                        offset,
                        bytes: head.to_vec(),
                    });
                    offset += head.len();
                    rest = tail;
                }
            }
            Call::SyncData { file: synced } => {
                for piece in std::mem::take(&mut self.pieces) {
                    match piece {
                        Piece::Sector {
                            file,
                            offset,
                            bytes,
                        } if file == *synced => {
                            write(self.files.entry(file).or_default(), offset, &bytes);
                        }
                        other => self.pieces.push(other),
                    }
                }
            }
            Call::SyncDir => {
                for piece in std::mem::take(&mut self.pieces) {
                    match piece {
                        Piece::Name(call) => rename(&mut self.names, &call),
                        other => self.pieces.push(other),
                    }
                }
            }
            Call::Create { .. } | Call::Rename { .. } | Call::Remove { .. } => {
                self.pieces.push(Piece::Name(call.clone()));
            }
            Call::Mark(_) => {}
        }
    }

    fn choices(&self, depth: Depth, random: &mut Random) -> Vec<Choice> {
        let n = self.pieces.len();
        let mut keeps: Vec<Vec<bool>> = Vec::new();
        if n <= EXHAUSTIVE {
            keeps.extend((0..1_u32 << n).map(|bits| (0..n).map(|i| bits >> i & 1 == 1).collect()));
        } else {
            keeps.push(vec![false; n]);
            keeps.push(vec![true; n]);
            for i in spread(n) {
                keeps.push((0..n).map(|j| j < i).collect());
                keeps.push((0..n).map(|j| j >= i).collect());
                keeps.push((0..n).map(|j| j != i).collect());
                keeps.push((0..n).map(|j| j == i).collect());
            }
            keeps.extend((0..depth.random).map(|_| (0..n).map(|_| random.flip()).collect()));
        }
        let mut choices = Vec::new();
        for keep in keeps {
            choices.push(Choice { keep, cut: None });
        }
        // Cuts: of any one sector, with all the others kept, and with only the earlier ones kept.
        for i in spread(n) {
            let Piece::Sector { bytes, .. } = &self.pieces[i] else {
                continue;
            };
            for cut in CUTS.into_iter().filter(|cut| *cut < bytes.len()) {
                choices.push(Choice {
                    keep: vec![true; n],
                    cut: Some((i, cut)),
                });
                let keep = (0..n).map(|j| j <= i).collect();
                choices.push(Choice {
                    keep,
                    cut: Some((i, cut)),
                });
            }
        }
        choices
    }

    fn image(&self, choice: &Choice) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.names.clone();
        let mut files = self.files.clone();
        for (i, piece) in self
            .pieces
            .iter()
            .enumerate()
            .filter(|(i, _)| choice.keep[*i])
        {
            match piece {
                Piece::Sector {
                    file,
                    offset,
                    bytes,
                } => {
                    let cut = choice.cut.filter(|(cut, _)| *cut == i).map(|(_, at)| at);
                    let bytes = &bytes[..cut.unwrap_or(bytes.len())];
                    write(files.entry(*file).or_default(), *offset, bytes);
                }
                Piece::Name(call) => rename(&mut names, call),
            }
        }
        let content = |file| files.get(&file).cloned().unwrap_or_default();
        names
            .into_iter()
            .map(|(name, file)| (name, content(file)))
            .collect()
    }
}

fn rename(names: &mut BTreeMap<String, usize>, call: &Call) {
    match call {
        Call::Create { file, name } => {
            names.insert(name.clone(), *file);
        }
        Call::Rename { file, from, to } => {
            // With the creation lost, the old name may still be that of an older file.
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        Call::Remove { name } => {
            names.remove(name);
        }
        _ => {}
    }
}

/// All indices when they are few; the first, the last and some between when they are many.
fn spread(n: usize) -> impl Iterator<Item = usize> {
    let step = n.div_ceil(24).max(1);
    (0..n)
        .step_by(step)
        .chain((n > 0 && !(n - 1).is_multiple_of(step)).then(|| n - 1))
}

/// A small generator (SplitMix64): the same sweep every time.
struct Random(u64);

impl Random {
    fn flip(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) & 1 == 1
    }
}
