//! The controller's life: store, keys, broker, node link, controllers, API server, in that order;
//! and back, on a signal.
//!
//! Whatever listens starts last, so that nobody gets an answer from a half-started controller, and
//! stops first.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use bramble_link::BrokerUrl;
use bramble_link::mdns;
use bramble_link::tls::{self, FloorClock};
use bramble_wire::name::{ClusterId, NodeName};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::signal::unix::{SignalKind, signal};

use crate::apiserver::{self, Limits};
use crate::backup;
use crate::broker::{self, Broker};
use crate::config::Config;
use crate::controllers;
use crate::join::{Cidr, FAREWELL, Joiner, NodeKey, NodeKeys, Settings};
use crate::nodelink::control::Control;
use crate::nodelink::{self, NodeLink};
use crate::pki::{self, Pki};
use crate::store::{self, EventKind, LedgerStore, Store};
use crate::tokens::{self, Tokens};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting, or the end of the store.
pub fn until_stopped(config: &Config) -> anyhow::Result<()> {
    config.check()?;
    runtime()?.block_on(life(config))
}

/// Begins a new epoch, durably, in a store that is an older copy: a store can't see of itself that
/// later days are missing. Returns the epoch.
///
/// # Errors
/// When there is no store, or one that a controller serves or that can't be written.
pub fn mark_restored(config: &Config) -> anyhow::Result<u64> {
    let directory = config.data_dir.join("store");
    if !directory.is_dir() {
        bail!("there is no store in {}", config.data_dir.display());
    }
    let store = open_store(&directory)?;
    let epoch = runtime()?.block_on(Control::begin_epoch(&store))?;
    Ok(epoch)
}

/// Puts a backup into the place of the data directory, or looks whether it is whole; what to tell.
///
/// # Errors
/// Why not; the directory is as it was.
pub fn restore(config: &Config, file: &Path) -> anyhow::Result<String> {
    let of = |manifest: &backup::Manifest| {
        let backup::Manifest {
            cluster,
            time,
            revision,
            version,
            ..
        } = manifest;
        format!(
            "cluster {cluster} as of {time} (revision {revision}, written by Bramble {version})"
        )
    };
    if config.check {
        let manifest = backup::check(file)?;
        return Ok(format!("{} is whole: {}\n", file.display(), of(&manifest)));
    }
    let restored = backup::restore(file, &config.data_dir, config.force);
    let restored = runtime()?.block_on(restored)?;
    let mut told = format!(
        "restored {} to {}\n",
        of(&restored.manifest),
        config.data_dir.display()
    );
    if let Some(aside) = &restored.aside {
        told += &format!("what was there before is kept in {}\n", aside.display());
    }
    told += &format!(
        "epoch {} begins: no node stops anything because this copy does not know it.\n\n\
         1. Start the controller, and wait until the nodes are Ready: kubectl get nodes\n\
         2. Look at what runs and is not known any more: bramble status. What you want to keep, apply again.\n\
         3. Let the rest go: bramble release NODE/NAMESPACE/POD, or bramble release --all\n",
        restored.epoch
    );
    Ok(told)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

fn open_store(directory: &Path) -> anyhow::Result<LedgerStore> {
    LedgerStore::open(directory, store::Settings::default())
        .with_context(|| format!("opening the store in {}", directory.display()))
}

async fn life(config: &Config) -> anyhow::Result<()> {
    // Registered before anything else, so that an early signal is not the default's sudden end.
    let mut terminate = signal(SignalKind::terminate()).context("registering SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("registering SIGINT")?;

    // The store first: its lock keeps a second controller from touching anything.
    pki::ensure_data_dir(&config.data_dir).context("preparing --data-dir")?;
    let store: Arc<dyn Store> = Arc::new(open_store(&config.data_dir.join("store"))?);
    let pki = Pki::open(&pki::Options {
        data_dir: config.data_dir.clone(),
        names: config.names(),
    })
    .context("preparing the cluster's keys")?;
    let pki = Arc::new(pki);
    let clock = FloorClock::new(0);
    let keys = NodeKeys::open(store.clone()).context("reading the node keys")?;
    let tokens = Arc::new(Tokens::new(
        pki.service_accounts.clone(),
        store.clone(),
        clock.clone(),
        pki.ca_pem(),
    ));
    apiserver::ensure_namespaces(&*store)
        .await
        .context("creating the first namespaces")?;

    let broker = start_broker(config, &pki, &keys, &clock).await?;
    let mqtt_port = broker.as_ref().map_or(8883, |b| b.listen_address().port());
    let membership = broker
        .as_ref()
        .map(|broker| tokio::spawn(disconnect_removed(keys.clone(), broker.clone())));

    let found = (broker.is_some() && !config.no_mdns)
        .then(|| tokio::spawn(answer_mdns(config.clone(), pki.cluster.clone(), mqtt_port)));

    let speaks = Speaks {
        pki: &pki,
        keys: &keys,
        clock: &clock,
        broker: broker.as_deref(),
        brokers: config.announced_brokers(mqtt_port)?,
    };
    let nodes = start_node_link(config, speaks, &store, tokens.clone()).await?;

    let settings = controller_settings(config, &pki, &nodes);
    let mut loops = controllers::start(store.clone(), settings)
        .await
        .context("starting the controllers")?;

    let addresses = tokio::spawn(pki::follow_addresses(pki.clone()));
    let mut secrets = tokio::spawn(tokens::fill_secrets(tokens.clone()));
    let settings = Settings {
        brokers: config.broker_urls(mqtt_port),
        pod_cidr: config.pod_cidr,
        service_cidr: config.service_cidr,
    };
    let joiner = Arc::new(Joiner::new(store.clone(), pki.clone(), keys, settings));
    let server = apiserver::start(
        config.listen,
        apiserver::Trust {
            certificate: pki.api.clone(),
            ca: pki.ca.clone(),
            clock,
            tokens: tokens.clone(),
        },
        store.clone(),
        joiner,
        Arc::new(nodes.clone()),
        nodes.usage(),
        Limits::default(),
    )
    .await?;
    // Only now: a start that fails leaves the kubeconfig of the one that runs alone.
    let kubeconfig = pki
        .write_kubeconfig(&config.api_url(server.address().port()))
        .context("writing the administrator's kubeconfig")?;
    tracing::info!(
        api = %server.address(),
        cluster = %pki.cluster,
        kubeconfig = %kubeconfig.display(),
        "controller is ready"
    );

    let failed = store.failed();
    // Whichever part ends, the process does, and whoever supervises it starts it again: half a
    // controller looks well and does nothing. A panic has said where on its way here.
    let outcome = tokio::select! {
        biased;
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = failed.wait() => Err(anyhow!(
            "the store has failed (see above); nothing that was acknowledged is lost"
        )),
        ended = &mut loops => Err(match ended {
            Ok(error) => anyhow!(error).context("the controllers have ended"),
            Err(panic) => anyhow!(panic).context("the controllers have ended"),
        }),
        ended = &mut secrets => Err(match ended {
            Ok(error) => anyhow!(error).context("filling token secrets has ended"),
            Err(panic) => anyhow!(panic).context("filling token secrets has ended"),
        }),
        () = nodes.ended() => Err(anyhow!("the node link has ended (see above)")),
    };
    tracing::info!("stopping");
    addresses.abort();
    secrets.abort();
    if let Some(task) = found {
        task.abort();
    }
    server.stop().await;
    nodes.stop().await;
    loops.abort();
    if let Some(task) = membership {
        task.abort();
        // It holds a handle of the broker until it has ended.
        let _ = task.await;
    }
    if let Some(broker) = broker.and_then(Arc::into_inner) {
        broker.shutdown().await;
    }
    outcome
}

fn controller_settings(config: &Config, pki: &Pki, nodes: &NodeLink) -> controllers::Settings {
    let advertised: Vec<Ipv4Addr> = config
        .advertise
        .iter()
        .filter_map(|a| a.parse().ok())
        .collect();
    let listening = listening_at(config.listen.ip(), config.pod_cidr);
    // What a person names counts; else where we listen.
    let addresses = move || match advertised.is_empty() {
        false => advertised.clone(),
        true => listening(),
    };
    let port = config.listen.port();
    controllers::Settings {
        ca: pki.ca_pem(),
        api: (port != 0).then(|| controllers::ApiPlace {
            cluster_ip: config.service_cidr.address(1),
            port,
            addresses: Arc::new(addresses),
        }),
        standing: nodes.standing(),
    }
}

/// The addresses at which who listens here is reached: the one, or all that this machine has, less those of
/// the pods' bridge.
fn listening_at(listen: IpAddr, pods: Cidr) -> impl Fn() -> Vec<Ipv4Addr> {
    move || match listen {
        IpAddr::V4(listen) if !listen.is_unspecified() => vec![listen],
        _ => {
            let own = pki::local_names()
                .into_iter()
                .filter_map(|name| name.parse().ok());
            own.filter(|address| !pods.contains(*address)).collect()
        }
    }
}

/// Tells boards that have lost us where the broker is; they ask when nothing else helps.
async fn answer_mdns(config: Config, cluster: ClusterId, port: u16) {
    let own = listening_at(config.mqtt_listen.ip(), config.pod_cidr);
    if let Err(error) = mdns::answer(&cluster, port, own).await {
        tracing::warn!(%error, "boards that look for this controller by mDNS will not find it");
    }
}

async fn start_broker(
    config: &Config,
    pki: &Pki,
    keys: &NodeKeys,
    clock: &Arc<FloorClock>,
) -> anyhow::Result<Option<Arc<Broker>>> {
    if config.broker.is_some() {
        return Ok(None);
    }
    let roots = std::slice::from_ref(&pki.ca);
    let tls = tls::changing_server_config(pki.broker.clone(), Some(roots), clock.clone())
        .context("setting up TLS of the broker")?;
    let settings = broker::Config::new(pki.cluster.clone(), config.mqtt_listen, tls);
    match broker::start(settings, Arc::new(keys.clone())).await {
        Ok(broker) => Ok(Some(Arc::new(broker))),
        Err(broker::Error::Listen { address, source })
            if source.kind() == std::io::ErrorKind::AddrInUse =>
        {
            bail!(
                "the MQTT address {address} is in use by another program; choose another with --mqtt-listen"
            )
        }
        Err(error) => Err(error).context("starting the broker (its address is --mqtt-listen)"),
    }
}

/// Who speaks to the nodes, and over what.
struct Speaks<'a> {
    pki: &'a Pki,
    keys: &'a NodeKeys,
    clock: &'a Arc<FloorClock>,
    /// The embedded broker, where it is the one.
    broker: Option<&'a Broker>,
    /// Brokers that nodes are told of.
    brokers: Vec<String>,
}

/// Connects to the broker, the embedded one or the one of `--broker`, and speaks to the nodes.
async fn start_node_link(
    config: &Config,
    speaks: Speaks<'_>,
    store: &Arc<dyn Store>,
    minter: Arc<Tokens>,
) -> anyhow::Result<NodeLink> {
    let Speaks {
        pki,
        keys,
        clock,
        broker,
        brokers,
    } = speaks;
    let link = match (broker, &config.broker) {
        (Some(broker), _) => broker.link_options(),
        (None, Some(url)) => {
            let url: BrokerUrl = url.parse().context("reading --broker")?;
            let roots = match &config.broker_ca {
                Some(path) => CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .with_context(|| format!("reading --broker-ca {}", path.display()))?,
                None => vec![pki.ca.clone()],
            };
            let identity = Some((*pki.controller).clone());
            let tls = tls::client_config(&roots, identity, clock.clone())
                .context("setting up TLS to the broker")?;
            broker::external(&pki.cluster, vec![url], Some(tls), None)
        }
        (None, None) => bail!("there is neither an embedded broker nor --broker"),
    };
    let settings = nodelink::Settings {
        cluster: pki.cluster.clone(),
        signing: pki.signing.clone(),
        common: nodelink::Common {
            service_cidr: config.service_cidr,
            brokers,
        },
        link,
        minter,
    };
    nodelink::start(settings, store.clone(), keys.clone())
        .await
        .context("starting the node link")
}

/// Ends the connections of nodes that are no longer members.
async fn disconnect_removed(keys: NodeKeys, broker: Arc<Broker>) {
    let mut known = BTreeSet::new();
    let kick = |node: &NodeName| {
        tracing::info!(%node, "node was removed");
        broker.kick(node);
    };
    loop {
        // Watching first: nobody leaves unseen between the two.
        let (Ok(mut watcher), Ok(members)) = (keys.watch(), keys.all()) else {
            return;
        };
        let members: BTreeSet<NodeName> = members.into_iter().map(|key| key.node).collect();
        known.difference(&members).for_each(kick);
        known = members;
        loop {
            let event = match watcher.next().await {
                Ok(event) => event,
                // Too slow for the history: start over.
                Err(store::Error::Compacted { .. }) => break,
                // The end of the store, and so of the process.
                Err(_) => return,
            };
            let Some(NodeKey {
                node,
                certificate,
                identity,
                ..
            }) = NodeKey::from_entry(&event.entry)
            else {
                continue;
            };
            if event.kind == EventKind::Deleted {
                known.remove(&node);
                let (keys, broker) = (keys.clone(), Arc::downgrade(&broker));
                tokio::spawn(async move {
                    // Time to be told; nothing new is opened for it meanwhile.
                    tokio::time::sleep(FAREWELL).await;
                    let back = keys.by_name(&node);
                    if let Some(broker) = broker.upgrade()
                        && back.is_none_or(|key| key.certificate != certificate)
                    {
                        tracing::info!(%node, "node was removed");
                        broker.kick(&node);
                    }
                });
            } else {
                let before = event.previous.as_deref().and_then(NodeKey::from_entry);
                if before.is_some_and(|before| before.identity != identity) {
                    tracing::info!(%node, "another board has taken the place of the node");
                    broker.kick(&node);
                }
                known.insert(node);
            }
        }
    }
}
