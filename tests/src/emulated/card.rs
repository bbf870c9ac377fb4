//! A card as cards are: what it was not told to flush it may have, have in part, or not have when the power
//! goes, in any order. A disk for the emulator, served by NBD (the protocol's own document: `doc/proto.md`
//! of nbd) over a socket.
//!
//! In: a file with what the disk surely holds. Writes are seen by reads at once; they reach the file with
//! a flush, or some of them with [`Card::cut`]. A cached copy of the whole is in a second file.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

const HELLO: &[u8; 16] = b"NBDMAGICIHAVEOPT";
const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// Fixed newstyle, no zeroes.
const SERVER_FLAGS: u16 = 3;
/// Has flags, flush, force unit access, trim.
const DISK_FLAGS: u16 = 1 | 4 | 8 | 32;
/// Largest request that is served; the emulator's are smaller.
const REQUEST_MAX: u32 = 64 << 20;
/// A card writes sectors whole.
const SECTOR: usize = 512;

/// What a cut took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// Writes since the last flush.
    pub pending: usize,
    /// Those that the card has nothing of.
    pub dropped: usize,
    /// Whether one of the others is there in part.
    pub torn: bool,
}

/// A card in its slot; it is served until dropped.
#[derive(Debug)]
pub struct Card {
    disk: Arc<Mutex<Disk>>,
    socket: PathBuf,
}

#[derive(Debug)]
struct Disk {
    /// What surely is on it.
    durable: File,
    /// With every write.
    current: File,
    size: u64,
    pending: Vec<(u64, Vec<u8>)>,
    flushes: u64,
    /// With so many writes that wait for a flush it answers nothing more.
    fuse: Option<usize>,
    dead: bool,
}

impl Card {
    /// Serves a file at a socket.
    ///
    /// # Errors
    /// When the file can't be copied or the socket not be bound.
    pub fn insert(file: &Path, socket: &Path) -> Result<Self> {
        let cached = file.with_extension("cached");
        let open = |path: &Path| {
            let file = File::options().read(true).write(true).open(path);
            file.with_context(|| format!("opening {}", path.display()))
        };
        crate::local::run(
            std::process::Command::new("cp")
                .arg("--sparse=always")
                .args([file, &cached]),
        )?
        .success()?;
        let durable = open(file)?;
        let size = durable.metadata()?.len();
        let disk = Arc::new(Mutex::new(Disk {
            current: open(&cached)?,
            durable,
            size,
            pending: Vec::new(),
            flushes: 0,
            fuse: None,
            dead: false,
        }));
        let listener =
            UnixListener::bind(socket).with_context(|| format!("binding {}", socket.display()))?;
        let served = Arc::clone(&disk);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if Arc::strong_count(&served) == 1 {
                    return;
                }
                let disk = Arc::clone(&served);
                // An error means that the emulator went away.
                std::thread::spawn(move || serve(stream, &disk));
            }
        });
        Ok(Self {
            disk,
            socket: socket.to_owned(),
        })
    }

    /// The power went, and the emulator with it: of what was not flushed, some is lost, one write may be
    /// torn, and the rest is there. The same seed takes the same of the same writes.
    ///
    /// # Errors
    /// When the files can't be written.
    pub fn cut(&self, seed: u64) -> Result<Cut> {
        let mut disk = lock(&self.disk);
        disk.cut(seed).context("cutting the card's power")
    }

    /// The power goes in the middle of the work: once so many writes wait for a flush the card takes and
    /// answers nothing, until [`Card::cut`].
    pub fn burn(&self, writes: usize) {
        lock(&self.disk).fuse = Some(writes.max(1));
    }

    /// Whether it takes nothing more.
    pub fn is_dead(&self) -> bool {
        lock(&self.disk).dead
    }

    /// How often it was told to flush.
    pub fn flushes(&self) -> u64 {
        lock(&self.disk).flushes
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // Ends the thread that listens.
        let _ = UnixStream::connect(&self.socket);
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    fn read(&self, offset: u64, length: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.current.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn write(&mut self, offset: u64, bytes: Vec<u8>) -> io::Result<()> {
        if offset.saturating_add(bytes.len() as u64) > self.size {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.current.write_all_at(&bytes, offset)?;
        self.pending.push((offset, bytes));
        self.dead |= self.fuse.is_some_and(|writes| self.pending.len() >= writes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushes += 1;
        for (offset, bytes) in self.pending.drain(..) {
            self.durable.write_all_at(&bytes, offset)?;
        }
        Ok(())
    }

    fn cut(&mut self, seed: u64) -> io::Result<Cut> {
        (self.fuse, self.dead) = (None, false);
        let mut random = Random(seed);
        let mut pending = std::mem::take(&mut self.pending);
        let touched: Vec<(u64, usize)> = pending.iter().map(|(at, b)| (*at, b.len())).collect();
        let mut cut = Cut {
            pending: pending.len(),
            ..Cut::default()
        };
        // Any order: the one that is done last wins where two overlap.
        for last in (1..pending.len()).rev() {
            pending.swap(last, random.below(last + 1));
        }
        // From "all but little is there" to "nothing is".
        let lost = random.below(101);
        let kept: Vec<_> = (pending.into_iter())
            .filter(|_| random.below(100) >= lost)
            .collect();
        cut.dropped = cut.pending - kept.len();
        let count = kept.len();
        for (number, (offset, mut bytes)) in kept.into_iter().enumerate() {
            let sectors = bytes.len() / SECTOR;
            if number + 1 == count && sectors > 1 {
                bytes.truncate((1 + random.below(sectors - 1)) * SECTOR);
                cut.torn = true;
            }
            self.durable.write_all_at(&bytes, offset)?;
        }
        for (offset, length) in touched {
            let mut bytes = vec![0; length];
            self.durable.read_exact_at(&mut bytes, offset)?;
            self.current.write_all_at(&bytes, offset)?;
        }
        Ok(cut)
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % bound.max(1)
    }
}

fn serve(mut stream: UnixStream, disk: &Mutex<Disk>) -> io::Result<()> {
    if !greet(&mut stream, lock(disk).size)? {
        return Ok(());
    }
    loop {
        if u32_of(&mut stream)? != REQUEST {
            return Err(ErrorKind::InvalidData.into());
        }
        let (flags, kind) = (u16_of(&mut stream)?, u16_of(&mut stream)?);
        let (handle, offset, length) = (
            u64_of(&mut stream)?,
            u64_of(&mut stream)?,
            u32_of(&mut stream)?,
        );
        if length > REQUEST_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        let forced = flags & 1 == 1;
        if lock(disk).dead {
            // Until the machine is killed.
            return io::copy(&mut stream, &mut io::sink()).map(drop);
        }
        let result = match kind {
            0 => lock(disk).read(offset, length),
            1 => {
                let mut bytes = vec![0; length as usize];
                stream.read_exact(&mut bytes)?;
                let mut disk = lock(disk);
                let written = disk.write(offset, bytes);
                // More than what was asked for is safe then, which a card may do.
                written
                    .and_then(|()| if forced { disk.flush() } else { Ok(()) })
                    .map(|()| Vec::new())
            }
            2 => return Ok(()),
            3 => lock(disk).flush().map(|()| Vec::new()),
            // What was trimmed may stay.
            4 => Ok(Vec::new()),
            _ => Err(ErrorKind::Unsupported.into()),
        };
        let (error, data) = match result {
            Ok(data) => (0, data),
            // EIO.
            Err(_) => (5, Vec::new()),
        };
        let mut reply = Vec::with_capacity(16 + data.len());
        reply.extend(REPLY.to_be_bytes());
        reply.extend(u32::to_be_bytes(error));
        reply.extend(handle.to_be_bytes());
        reply.extend(data);
        stream.write_all(&reply)?;
    }
}

/// The handshake; `false` when the client only asked.
fn greet(stream: &mut UnixStream, size: u64) -> io::Result<bool> {
    stream.write_all(HELLO)?;
    stream.write_all(&SERVER_FLAGS.to_be_bytes())?;
    u32_of(stream)?;
    let mut export = size.to_be_bytes().to_vec();
    export.extend(DISK_FLAGS.to_be_bytes());
    loop {
        if u64_of(stream)? != OPTION {
            return Err(ErrorKind::InvalidData.into());
        }
        let (option, length) = (u32_of(stream)?, u32_of(stream)?);
        let mut data = vec![0; length.min(4096) as usize];
        stream.read_exact(&mut data)?;
        let mut answer = |kind: u32, data: &[u8]| {
            let mut reply = OPTION_REPLY.to_be_bytes().to_vec();
            reply.extend(option.to_be_bytes());
            reply.extend(kind.to_be_bytes());
            reply.extend((data.len() as u32).to_be_bytes());
            reply.extend(data);
            stream.write_all(&reply)
        };
        match option {
            // Export by name: no answer but the export itself.
            1 => {
                stream.write_all(&export)?;
                return Ok(true);
            }
            2 => {
                answer(1, &[])?;
                return Ok(false);
            }
            // Info, go.
            6 | 7 => {
                let info = [&0u16.to_be_bytes()[..], &export].concat();
                answer(3, &info)?;
                answer(1, &[])?;
                if option == 7 {
                    return Ok(true);
                }
            }
            // Nothing that is not needed.
            _ => answer(0x8000_0001, &[])?,
        }
    }
}

fn u16_of(stream: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

fn u32_of(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn u64_of(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of 64 KiB of zeroes.
    fn disk() -> (tempfile::TempDir, Card) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        File::create(&path).unwrap().set_len(65_536).unwrap();
        let card = Card::insert(&path, &dir.path().join("socket")).unwrap();
        (dir, card)
    }

    fn write(card: &Card, at: u64, byte: u8) {
        lock(&card.disk).write(at, vec![byte; 4096]).unwrap();
    }

    fn read(card: &Card, at: u64) -> Vec<u8> {
        lock(&card.disk).read(at, 4096).unwrap()
    }

    #[test]
    fn what_was_flushed_outlives_every_cut() {
        for seed in 0..20 {
            let (_dir, card) = disk();
            write(&card, 0, 1);
            lock(&card.disk).flush().unwrap();
            write(&card, 8192, 2);
            assert_eq!(read(&card, 8192), [2; 4096], "seen before it is safe");
            card.cut(seed).unwrap();
            assert_eq!(read(&card, 0), [1; 4096]);
        }
    }

    #[test]
    fn what_was_not_is_kept_dropped_or_torn_in_any_order() {
        let (mut dropped, mut kept, mut torn, mut older) = (0, 0, 0, 0);
        for seed in 0..80 {
            let (_dir, card) = disk();
            for (at, byte) in [(0, 1), (0, 2), (8192, 3)] {
                write(&card, at, byte);
            }
            let cut = card.cut(seed).unwrap();
            assert_eq!(cut.pending, 3);
            let (first, second) = (read(&card, 0), read(&card, 8192));
            dropped += usize::from(second == [0; 4096]);
            kept += usize::from(second == [3; 4096]);
            older += usize::from(first == [1; 4096]);
            let half = |page: &[u8]| page[0] != page[4095];
            torn += usize::from(half(&first) || half(&second));
            // A second cut finds nothing that is not safe.
            assert_eq!(card.cut(seed).unwrap(), Cut::default());
            assert_eq!(read(&card, 0), first);
        }
        assert!(
            dropped > 8 && kept > 8 && torn > 8 && older > 1,
            "{dropped} {kept} {torn} {older}"
        );
    }

    #[test]
    fn a_card_whose_power_goes_answers_nothing_until_it_is_cut() {
        let (_dir, card) = disk();
        card.burn(2);
        write(&card, 0, 1);
        assert!(!card.is_dead());
        write(&card, 4096, 2);
        assert!(card.is_dead());
        assert_eq!(card.cut(3).unwrap().pending, 2);
        assert!(!card.is_dead());
    }

    /// The protocol as QEMU speaks it: one option that is refused, then go, write, read, flush.
    #[test]
    fn it_is_served_over_its_socket() {
        let (dir, card) = disk();
        let mut stream = UnixStream::connect(dir.path().join("socket")).unwrap();
        let mut hello = [0; 18];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(&hello[..16], HELLO);
        stream.write_all(&3u32.to_be_bytes()).unwrap();
        for option in [8u32, 7] {
            stream.write_all(&OPTION.to_be_bytes()).unwrap();
            stream.write_all(&option.to_be_bytes()).unwrap();
            let data = [0; 6];
            let data: &[u8] = if option == 7 { &data } else { &[] };
            stream
                .write_all(&(data.len() as u32).to_be_bytes())
                .unwrap();
            stream.write_all(data).unwrap();
        }
        let mut refused = [0; 20];
        stream.read_exact(&mut refused).unwrap();
        assert_eq!(refused[12..16], 0x8000_0001_u32.to_be_bytes());
        let mut info = [0; 20 + 12 + 20];
        stream.read_exact(&mut info).unwrap();
        assert_eq!(info[22..30], 65_536_u64.to_be_bytes());
        let ask = |stream: &mut UnixStream, kind: u16, length: u32, data: &[u8]| {
            let mut request = REQUEST.to_be_bytes().to_vec();
            request.extend([0, 0]);
            request.extend(kind.to_be_bytes());
            request.extend(7u64.to_be_bytes());
            request.extend(4096u64.to_be_bytes());
            request.extend(length.to_be_bytes());
            request.extend(data);
            stream.write_all(&request).unwrap();
            let mut head = [0; 16];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(head[4..8], [0; 4], "no error");
            let mut answer = vec![0; if kind == 0 { length as usize } else { 0 }];
            stream.read_exact(&mut answer).unwrap();
            answer
        };
        ask(&mut stream, 1, 512, &[9; 512]);
        assert_eq!(ask(&mut stream, 0, 512, &[]), [9; 512]);
        ask(&mut stream, 3, 0, &[]);
        assert_eq!(card.flushes(), 1);
        card.cut(1).unwrap();
        assert_eq!(read(&card, 4096)[..512], [9; 512]);
    }
}
