//! A TCP proxy that treats a connection as bad networks do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bed::PATIENCE;

/// What happens to the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// Taken and lost, both ways: the peer is gone and nobody says so.
    BlackHole,
    /// Taken and lost on the way to the broker; the way back works.
    LostUp,
    /// Taken and lost on the way from the broker; the way to it works.
    LostDown,
    /// Not taken: the sender's buffers fill.
    Stalled,
    /// The connection is closed.
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<watch::Sender<Weather>>>>,
    /// Bytes that were taken and lost.
    lost: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(broker: SocketAddr) -> Proxy {
        Proxy::with(broker, None).await
    }

    /// A proxy that carries so many bytes a second each way, on every connection.
    pub(crate) async fn slow(broker: SocketAddr, bytes_a_second: u32) -> Proxy {
        Proxy::with(broker, Some(bytes_a_second)).await
    }

    async fn with(broker: SocketAddr, bytes_a_second: Option<u32>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let table = Arc::clone(&connections);
        let (lost, _) = watch::channel(0);
        let losses = lost.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (sender, weather) = watch::channel(Weather::Fine);
                table.lock().unwrap().push(sender);
                let way = Way {
                    weather,
                    lost: losses.clone(),
                    bytes_a_second,
                };
                tokio::spawn(carry(client, broker, way));
            }
        });
        Proxy {
            address,
            connections,
            lost,
            accepting,
        }
    }

    /// Waits until more bytes are lost than at the last change of the weather.
    pub(crate) async fn lost_something(&self) {
        let mut lost = self.lost.subscribe();
        let wait = tokio::time::timeout(PATIENCE, lost.wait_for(|lost| *lost > 0));
        assert!(wait.await.is_ok(), "nothing was lost");
    }

    /// Changes the weather of all present connections; new ones start fine.
    pub(crate) fn set(&self, weather: Weather) {
        self.lost.send_replace(0);
        for connection in self.connections.lock().unwrap().iter() {
            connection.send_replace(weather);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Weather::Cut);
    }
}

/// What a connection's bytes meet.
#[derive(Clone)]
struct Way {
    weather: watch::Receiver<Weather>,
    lost: watch::Sender<u64>,
    bytes_a_second: Option<u32>,
}

async fn carry(client: TcpStream, broker: SocketAddr, way: Way) {
    let Ok(broker) = TcpStream::connect(broker).await else {
        return;
    };
    let (mut client_read, mut client_write) = client.into_split();
    let (mut broker_read, mut broker_write) = broker.into_split();
    let (mut hole, mut cut) = (way.weather.clone(), way.weather.clone());
    let carried = async {
        tokio::select! {
            () = copy(&mut client_read, &mut broker_write, way.clone(), true) => {}
            () = copy(&mut broker_read, &mut client_write, way, false) => {}
        }
        // One end has closed. Out of a black hole the other never hears of it.
        let _ = hole
            .wait_for(|weather| *weather != Weather::BlackHole)
            .await;
    };
    tokio::select! {
        () = carried => {}
        _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

async fn copy(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut way: Way, up: bool) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if way
            .weather
            .wait_for(|weather| *weather != Weather::Stalled)
            .await
            .is_err()
        {
            return;
        }
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let weather = *way.weather.borrow();
        let lost = match weather {
            Weather::Fine | Weather::Stalled => false,
            Weather::BlackHole | Weather::Cut => true,
            Weather::LostUp => up,
            Weather::LostDown => !up,
        };
        if lost {
            way.lost.send_modify(|lost| *lost += read as u64);
            continue;
        }
        if let Some(bandwidth) = way.bytes_a_second {
            // As long as the line takes.
            let takes = read as f64 / f64::from(bandwidth);
            tokio::time::sleep(Duration::from_secs_f64(takes)).await; // bandwidth
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
