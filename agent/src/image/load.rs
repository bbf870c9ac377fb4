//! Archives into the store: through the child, one at a time.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::child::{Answer, LoadError, Loaded, RESERVE};
use super::store::{Error, Store};

/// Largest archive that is taken over a socket.
const ARCHIVE_MAX: u64 = 16 << 30;

/// What people know a streamed archive by.
const STREAMED: &str = "the archive that was sent";

/// Longest answer of the child.
const REPORT_MAX: u64 = 8 << 20;

impl Store {
    /// Loads every image of an archive that runs on this board.
    ///
    /// # Errors
    /// [`Error::Load`] with the reason; nothing is named then.
    pub async fn load(&self, archive: &Path) -> Result<Vec<Loaded>, Error> {
        self.load_as(archive, archive.display().to_string()).await
    }

    /// `name` is what people know the archive by.
    async fn load_as(&self, archive: &Path, name: String) -> Result<Vec<Loaded>, Error> {
        let _one = self.loading.lock().await;
        let _named_at_the_end = self.unpacking().await;
        let failed = |source: LoadError| Error::Load {
            archive: name.clone(),
            source,
        };
        let mut child = Command::new(&self.program)
            .arg("unpack")
            .arg(&self.root)
            .arg(archive)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| {
                failed(LoadError::Io(format!(
                    "run {}: {e}",
                    self.program.display()
                )))
            })?;
        let mut bytes = Vec::new();
        if let Some(out) = child.stdout.take() {
            let read = out.take(REPORT_MAX).read_to_end(&mut bytes).await;
            read.map_err(|e| failed(LoadError::Io(e.to_string())))?;
        }
        let status = child
            .wait()
            .await
            .map_err(|e| failed(LoadError::Io(e.to_string())))?;
        let loaded = match bramble_wire::decode::<Answer>(&bytes, "answer of the unpacker") {
            Ok(Answer { named, report }) => report
                .inspect_err(|why| self.refuse(&name, named, why))
                .map_err(failed)?,
            // Out of memory, most likely: an archive made to be.
            Err(_) => {
                let text = format!("the unpacker ended without a report ({status})");
                return Err(failed(LoadError::Invalid(text)));
            }
        };
        self.register(&loaded).await?;
        Ok(loaded)
    }

    /// Like [`Store::load`] with the archive's bytes, which are put on disk first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub async fn load_stream(&self, reader: impl AsyncRead + Unpin) -> Result<Vec<Loaded>, Error> {
        let path = self
            .root
            .join("tmp")
            .join(format!("archive-{}", spool_number()));
        let result = match spool(reader, &path).await {
            Ok(()) => self.load_as(&path, STREAMED.to_owned()).await,
            Err(e) => {
                let source = LoadError::Io(format!("receive it: {e}"));
                Err(Error::Load {
                    archive: STREAMED.to_owned(),
                    source,
                })
            }
        };
        // If it can't be removed, the next start does it.
        let _ = tokio::fs::remove_file(&path).await;
        result
    }
}

/// Makes the spool file's name unique within this process.
fn spool_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Puts the bytes into a file, and leaves room on the disk for everybody else.
async fn spool(reader: impl AsyncRead + Unpin, path: &Path) -> io::Result<()> {
    let mut file = tokio::fs::File::create(path).await?;
    let free = rustix::fs::fstatvfs(&file).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    let most = ARCHIVE_MAX.min(free.unwrap_or(u64::MAX).saturating_sub(RESERVE));
    let copied = tokio::io::copy(&mut reader.take(most + 1), &mut file).await?;
    if copied > most {
        let text = format!("it has more than the {most} bytes that there is room for");
        return Err(io::Error::other(text));
    }
    file.flush().await
}
