//! Between the pipes and the log file: a bounded queue where the file may lie on a disk.
//!
//! A disk can stall for seconds (a card that erases) or for ever, and a write to a plain file can't
//! be told not to wait. So where the log isn't in memory one thread does the writing, and what it
//! doesn't take in time is dropped, counted and named in the log: the container never waits. In
//! memory, which is how a board is set up, lines go straight to the file and there is no thread.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::log::{LogFile, count_lines, drop_mark};

/// Lines that wait for the disk, in bytes, for the whole pod.
const QUEUE_MAX: usize = 256 * 1024;

/// An exit waits this long, at most three times, for the container's last lines to reach the file.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// File systems that are memory: tmpfs and ramfs.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

type Shared<T> = Arc<Mutex<T>>;

/// The writing thread's queue; shared by all containers of the pod.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Shared<LogFile>, Vec<u8>)>,
    bytes: usize,
    busy: bool,
}

impl Queue {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let own = Arc::clone(&queue);
        thread::Builder::new()
            .name("log".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                loop {
                    own.write_next();
                }
            })?;
        Ok(queue)
    }

    fn write_next(&self) {
        let mut state = lock(&self.state);
        let (file, lines) = loop {
            match state.waiting.pop_front() {
                Some(next) => break next,
                None => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        state.busy = true;
        drop(state);
        lock(&file).write(&lines);
        let mut state = lock(&self.state);
        state.bytes -= lines.len();
        state.busy = false;
        self.changed.notify_all();
    }

    /// False when there is no room.
    fn push(&self, file: &Shared<LogFile>, lines: &[u8]) -> bool {
        let mut state = lock(&self.state);
        if state.bytes + lines.len() > QUEUE_MAX {
            return false;
        }
        state.bytes += lines.len();
        state.waiting.push_back((Arc::clone(file), lines.to_vec()));
        self.changed.notify_all();
        true
    }

    fn flush(&self, limit: Duration) {
        let state = lock(&self.state);
        let unwritten = |s: &mut State| s.busy || !s.waiting.is_empty();
        // Out of time is fine: the lines stay queued.
        drop(self.changed.wait_timeout_while(state, limit, unwritten));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where one container's lines go.
#[derive(Debug)]
pub(crate) struct Sink {
    file: Shared<LogFile>,
    queue: Option<Arc<Queue>>,
    dropped_lines: u64,
}

impl Sink {
    /// Without a queue, lines are written at once.
    pub(crate) fn new(file: LogFile, queue: Option<Arc<Queue>>) -> Self {
        let file = Arc::new(Mutex::new(file));
        Self {
            file,
            queue,
            dropped_lines: 0,
        }
    }

    /// Takes whole lines; never waits for a disk.
    pub(crate) fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let Some(queue) = &self.queue else {
            lock(&self.file).write(lines);
            return;
        };
        if self.dropped_lines > 0 && queue.push(&self.file, &drop_mark(self.dropped_lines)) {
            self.dropped_lines = 0;
        }
        if self.dropped_lines > 0 || !queue.push(&self.file, lines) {
            self.dropped_lines += count_lines(lines);
        }
    }

    /// Waits a moment for what was taken to reach the file.
    pub(crate) fn wait(&self) {
        if let Some(queue) = &self.queue {
            queue.flush(FLUSH_LIMIT);
        }
    }

    /// [`Sink::wait`], and says what did not reach it.
    pub(crate) fn finish(&mut self) {
        self.wait();
        let Some(queue) = &self.queue else { return };
        if self.dropped_lines > 0 && queue.push(&self.file, &drop_mark(self.dropped_lines)) {
            self.dropped_lines = 0;
        }
    }
}

/// Whether files in a directory are memory.
pub(crate) fn in_memory(dir: &Path) -> bool {
    // The type's width differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    rustix::fs::statfs(dir).is_ok_and(|s| IN_MEMORY.contains(&(s.f_type as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_stalled_disk_costs_lines_and_never_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let queue = Queue::start().unwrap();
        let mut sink = Sink::new(LogFile::new(&path, 16 << 20, 1), Some(Arc::clone(&queue)));
        let file = Arc::clone(&sink.file);
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        // Whoever holds the file's lock is a disk that stands still.
        let stalled = lock(&file);
        let start = Instant::now();
        for _ in 0..1000 {
            sink.write(&line);
        }
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(sink.dropped_lines, 1000 - (QUEUE_MAX / 1024) as u64);
        drop(stalled);
        queue.flush(Duration::from_secs(20));
        sink.write(b"the end\n");
        queue.flush(Duration::from_secs(20));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("[bramble: 744 log lines were dropped here]\nthe end\n"));
        assert_eq!(text.lines().count(), QUEUE_MAX / 1024 + 2);
    }

    #[test]
    fn memory_is_told_from_disks() {
        assert!(in_memory(Path::new("/dev/shm")) || !Path::new("/dev/shm").exists());
        assert!(!in_memory(Path::new("/proc")));
    }
}
