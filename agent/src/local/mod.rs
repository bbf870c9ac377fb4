//! The agent's local socket: what a person at the board may ask without a network (protocol:
//! [`bramble_wire::local`]).
//!
//! In come requests of root's programs on this board, out go answers; images are loaded through the
//! [`Store`], everything else is read from what the loop publishes. One task per connection, a few
//! at most.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bramble_wire::local::{
    Ask, Auth, Board, Detail, FRAME_MAX, Image, PIECE_MAX, Pod, Progress, Reply, Request, Status,
    VERSION,
};
use bramble_wire::stream::What;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use crate::error_chain;
use crate::image::gc::{self, InUse};
use crate::image::puller::Puller;
use crate::image::{self, Store};
use crate::{status, streams};

/// Connections at once; more wait in the kernel's queue. Streams are fewer, so that the rest is always
/// answered.
const CONNECTIONS: usize = 8;

/// A client sends its request within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client takes an answer within this time.
const TAKE_PATIENCE: Duration = Duration::from_secs(30);

/// A client that streams an archive sends the next piece within this time.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);

/// Longest configuration of an image in an answer.
const CONFIG_MAX: u64 = 512 * 1024;

/// What the socket gives access to.
#[derive(Clone)]
pub struct Local {
    /// Images.
    pub images: Arc<Store>,
    /// How the agent is.
    pub view: Arc<dyn View>,
    /// Logs and commands.
    pub streams: streams::Local,
    /// Images that containers or the document name; they can't be removed.
    pub in_use: InUse,
    /// Brings images from registries.
    pub puller: Arc<Puller>,
}

/// How the agent is, as asked.
pub trait View: Send + Sync + 'static {
    /// In the words of version 1.
    fn status(&self) -> Status;

    /// The board as a node.
    fn board(&self) -> Board;

    /// Its pods.
    fn pods(&self) -> Vec<Pod>;
}

impl View for status::Sources {
    fn status(&self) -> Status {
        Self::status(self)
    }

    fn board(&self) -> Board {
        Self::board(self)
    }

    fn pods(&self) -> Vec<Pod> {
        Self::pods(self)
    }
}

/// Binds the socket for root only, replacing that of a dead agent.
///
/// # Errors
/// When the path can't be bound.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Nobody can have connected to anything of ours yet: the run directory is root's.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until the task is dropped.
pub async fn serve(listener: UnixListener, local: Local) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let local = local.clone();
                tokio::spawn(async move {
                    // The client saw its connection end; there is nobody else to tell.
                    if let Err(error) = local.handle(stream).await {
                        tracing::debug!(%error, "local connection");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others must end first.
                tracing::warn!(%error, "accept on the local socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Local {
    async fn handle(&self, mut stream: UnixStream) -> io::Result<()> {
        let ask = tokio::time::timeout(PATIENCE, read_frame(&mut stream)).await??;
        let request = match understand(&ask) {
            Ok(Request::Logs(logs)) => return self.stream(What::Logs(logs), stream).await,
            Ok(Request::Exec(exec)) => return self.stream(What::Exec(exec), stream).await,
            Ok(request) => request,
            Err(why) => return finish(stream, &Reply::Failed(why)).await,
        };
        let reply = self.answer(request, &mut stream).await;
        finish(stream, &reply).await
    }

    async fn stream(&self, what: What, stream: UnixStream) -> io::Result<()> {
        let (reader, writer) = stream.into_split();
        self.streams.serve(what, reader, writer).await
    }

    async fn answer(&self, request: Request, stream: &mut UnixStream) -> Reply {
        match request {
            Request::Status => Reply::Status(self.view.status()),
            Request::Board => {
                for pod in self.view.pods() {
                    let pod = Reply::Pod(pod);
                    let told = write_frame(stream, &pod);
                    if !matches!(tokio::time::timeout(TAKE_PATIENCE, told).await, Ok(Ok(()))) {
                        return Reply::Failed(GONE.to_owned());
                    }
                }
                Reply::Board(self.view.board())
            }
            // Streams, which were taken before.
            Request::Logs(_) | Request::Exec(_) => Reply::Failed("not a question".to_owned()),
            Request::ImageList => {
                Reply::Images(self.images.list().into_iter().map(image_of).collect())
            }
            Request::ImageLoadPath { path } if Path::new(&path).is_absolute() => {
                loaded(self.images.load(Path::new(&path)).await)
            }
            Request::ImageLoadPath { path } => {
                Reply::Failed(format!("{path}: not an absolute path"))
            }
            Request::ImageLoadStream => {
                let (pipe, writer) = tokio::io::simplex(PIECE_MAX);
                let (result, received) =
                    tokio::join!(self.images.load_stream(pipe), receive(stream, writer));
                match received {
                    Ok(()) => loaded(result),
                    Err(error) => Reply::Failed(format!("receive the archive: {error}")),
                }
            }
            Request::ImageRemove { name } => {
                let in_use = (self.in_use)();
                match self.images.remove(&name, &in_use).await {
                    Ok(()) => Reply::Done,
                    Err(error) => Reply::Failed(error_chain(&error)),
                }
            }
            Request::ImagePull { name, auth } => self.pull(&name, auth, stream).await,
            Request::ImagePrune => match gc::prune(&self.images, &self.in_use).await {
                Ok(gone) => Reply::Pruned(gone.into_iter().map(image_of).collect()),
                Err(error) => Reply::Failed(error_chain(&error)),
            },
            Request::ImageInspect { name } => match self.inspect(&name).await {
                Ok(detail) => Reply::Detail(detail),
                Err(error) => Reply::Failed(error_chain(&error)),
            },
        }
    }

    /// Says how far it is while it pulls; a client that has gone ends the pull.
    async fn pull(&self, name: &str, auth: Option<Auth>, stream: &mut UnixStream) -> Reply {
        let (sender, mut progress) = watch::channel(Progress::default());
        let listen = move |now: image::registry::Progress| {
            sender.send_replace(Progress {
                bytes: now.bytes,
                of: now.of,
                layers: now.layers,
                of_layers: now.of_layers,
            });
        };
        let work = self.puller.pull_now(name, auth.map(|auth| auth.0), listen);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return loaded(done.map(|image| vec![image])),
                Ok(()) = progress.changed() => {
                    let now = *progress.borrow_and_update();
                    if write_frame(stream, &Reply::Progress(now)).await.is_err() {
                        return Reply::Failed(GONE.to_owned());
                    }
                }
                () = gone(stream) => return Reply::Failed(GONE.to_owned()),
            }
        }
    }

    async fn inspect(&self, name: &str) -> Result<Detail, image::Error> {
        let image = self.images.resolve(name)?;
        let config = self.images.config_json(&image.id, CONFIG_MAX).await;
        let mut all = self.images.list().into_iter();
        let info = all.find(|info| info.id == image.id);
        Ok(Detail {
            references: info.as_ref().map_or_else(Vec::new, image::ImageInfo::names),
            size_bytes: info.map_or(0, |info| info.size_bytes),
            in_use: (self.in_use)().contains(&image.id),
            layers: self.images.layers(&image.id),
            config: config.unwrap_or_default(),
            id: image.id.0,
        })
    }
}

/// Nobody reads it, or not in time.
const GONE: &str = "the client has gone";

/// The request in a frame, or why there is none.
fn understand(ask: &[u8]) -> Result<Request, String> {
    // The version is the first field and one byte up to 127.
    let version = ask.first().copied().unwrap_or_default();
    if version == 0 || u16::from(version) > VERSION {
        return Err(format!(
            "this agent speaks version 1 to {VERSION} of the local protocol"
        ));
    }
    match bramble_wire::decode::<Ask>(ask, "request") {
        Ok(ask) if ask.request.since() <= ask.version => Ok(ask.request),
        _ => Err("not a valid request".to_owned()),
    }
}

/// Answers, and closes.
async fn finish(mut stream: UnixStream, reply: &Reply) -> io::Result<()> {
    tokio::time::timeout(TAKE_PATIENCE, write_frame(&mut stream, reply)).await??;
    stream.shutdown().await
}

fn image_of(image: image::ImageInfo) -> Image {
    Image {
        id: image.id.0,
        references: image.references,
        size_bytes: image.size_bytes,
    }
}

fn loaded(result: Result<Vec<crate::image::child::Loaded>, crate::image::Error>) -> Reply {
    match result {
        Ok(images) => Reply::Loaded(
            images
                .into_iter()
                .map(|i| Image {
                    id: i.id.0,
                    references: i.references,
                    size_bytes: i.size_bytes,
                })
                .collect(),
        ),
        Err(error) => Reply::Failed(error_chain(&error)),
    }
}

/// Ends when the other side has closed. It sends nothing more; if it does, that is thrown away.
async fn gone(stream: &UnixStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 64]) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

async fn write_frame(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let body = bramble_wire::encode(reply);
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(&body).await
}

async fn read_frame(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32_le().await? as usize;
    if length > FRAME_MAX {
        return Err(io::Error::other("frame over the limit"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Takes the pieces of an archive off the socket. When `out` takes no more (the store gave up), the
/// rest is read and thrown away: a client that is still sending would not see the answer.
async fn receive(
    stream: &mut UnixStream,
    mut out: impl tokio::io::AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_MAX];
    let mut taken = true;
    loop {
        let length = tokio::time::timeout(PIECE_PATIENCE, stream.read_u32_le()).await?? as usize;
        if length == 0 {
            return if taken { out.shutdown().await } else { Ok(()) };
        }
        let piece = piece
            .get_mut(..length)
            .ok_or_else(|| io::Error::other("a piece is over the limit"))?;
        tokio::time::timeout(PIECE_PATIENCE, stream.read_exact(piece)).await??;
        taken = taken && out.write_all(piece).await.is_ok();
    }
}
