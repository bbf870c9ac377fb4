//! A TCP proxy that treats a connection as bad networks do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fine,
    /// Taken and lost, both ways: the peer is gone and nobody says so.
    BlackHole,
    /// Taken and lost on the way to the broker; the way back works.
    LostUp,
    /// Not taken: the sender's buffers fill.
    Stalled,
    /// The connection is closed.
    Cut,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    connections: Arc<Mutex<Vec<watch::Sender<Weather>>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(broker: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let table = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (sender, weather) = watch::channel(Weather::Fine);
                table.lock().unwrap().push(sender);
                tokio::spawn(carry(client, broker, weather));
            }
        });
        Proxy {
            address,
            connections,
            accepting,
        }
    }

    /// Changes the weather of all present connections; new ones start fine.
    pub(crate) fn set(&self, weather: Weather) {
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

async fn carry(client: TcpStream, broker: SocketAddr, weather: watch::Receiver<Weather>) {
    let Ok(broker) = TcpStream::connect(broker).await else {
        return;
    };
    let (mut client_read, mut client_write) = client.into_split();
    let (mut broker_read, mut broker_write) = broker.into_split();
    let (mut hole, mut cut) = (weather.clone(), weather.clone());
    let carried = async {
        tokio::select! {
            () = copy(&mut client_read, &mut broker_write, weather.clone(), true) => {}
            () = copy(&mut broker_read, &mut client_write, weather, false) => {}
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

async fn copy(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    up: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if weather
            .wait_for(|weather| *weather != Weather::Stalled)
            .await
            .is_err()
        {
            return;
        }
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let weather = *weather.borrow();
        let lost = match weather {
            Weather::Fine | Weather::Stalled => false,
            Weather::BlackHole | Weather::Cut => true,
            Weather::LostUp => up,
        };
        if !lost && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
