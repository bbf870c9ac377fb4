//! Puts the agent together: opens what is on disk, joins if need be, starts the loop first and the
//! conversation with the controller beside it.
//!
//! The loop starts from the state log alone: a controller or a broker that is not there delays
//! nothing that is already known.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bramble_agent::brokers::Brokers;
use bramble_agent::config::{Places, Run};
use bramble_agent::events::Events;
use bramble_agent::identity::{self, Identity};
use bramble_agent::image::Store;
use bramble_agent::image::flags::Flags;
use bramble_agent::image::gc::{self, InUse};
use bramble_agent::image::import;
use bramble_agent::image::puller::{self, Puller};
use bramble_agent::link;
use bramble_agent::network::Network;
use bramble_agent::pods::{self, Board, Bridge, Directories};
use bramble_agent::reconcile::{self, Inputs, Surroundings};
use bramble_agent::runtime::cgroup::Cgroups;
use bramble_agent::runtime::{KernelRuntime, Options};
use bramble_agent::state::{self, Change, Contents, State};
use bramble_agent::static_pods::{self, View};
use bramble_agent::{clock, facts, find, hardware, join, local, status, streams, usage};
use bramble_agent_core::plan::Durability;
use bramble_agent_core::session::Observation;
use bramble_link::tls::FloorClock;
use bramble_wire::local::SOCKET;
use bramble_wire::name::NodeName;
use bramble_wire::object::ObjectId;
use bramble_wire::seal::{self, Binding, Sealed};
use bramble_wire::version::Boot;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::lock;

/// First pause between attempts to join; doubles up to [`JOIN_PAUSE_MAX`].
const JOIN_PAUSE: Duration = Duration::from_secs(1);
const JOIN_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longest run directory: a shim's socket is 51 characters further, and the kernel takes 107.
const RUN_DIR_MAX: usize = 56;

/// Runs the agent until a signal ends it.
///
/// # Errors
/// What keeps it from starting, or a failed state log.
pub(crate) async fn run(run: Run) -> anyhow::Result<()> {
    let places = &run.places;
    let _lock = prepare(places).await?;
    let (state, mut contents) = State::open(&places.data_dir.join(state::FOLDER))?;
    let moved = hardware::settle(&state, &mut contents, facts::hardware::id()).await?;
    let floor = FloorClock::new(contents.time_floor.try_into().unwrap_or(0));
    let mut stop = Stop::new()?;
    let identity = tokio::select! {
        identity = ensure_identity(&run, &state, &contents, &floor) => identity?,
        () = stop.wait() => return Ok(()),
    };
    tracing::info!(node = %identity.node, cluster = %identity.cluster, boot = contents.boot, "agent started");
    let result = serve(&run, identity, &state, (contents, moved), floor, &mut stop).await;
    reconcile::flush(&state).await?;
    result
}

async fn serve(
    run: &Run,
    identity: Identity,
    state: &State,
    (contents, moved): (Contents, bool),
    floor: Arc<FloorClock>,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let places = &run.places;
    let options = runtime_options(run)?;
    let images = Arc::new(open_images(places)?);
    let looked_at = facts::Board {
        data_dir: places.data_dir.clone(),
        bridge: places.bridge.clone(),
        reserved: (&run.reserve).into(),
        own_id: own_id(&identity),
    };
    let (facts_sender, facts) = watch::channel(facts::observe(&looked_at, None));
    let (events, told) = Events::channel();
    let board = open_board(places, options.clone(), &images, events.clone()).await?;
    let puller_options = puller::Options {
        registries: run.images.registries.clone(),
        parallel: run.images.max_parallel_pulls.into(),
        clock: Arc::clone(&floor),
    };
    let (puller, look) = Puller::new(
        Arc::clone(&images),
        events.clone(),
        puller_options,
        clock::now,
    );
    board.pull_with(Arc::clone(&puller));
    import(&run.images, places, &images);
    let (documents, document) = watch::channel(contents.document.clone());
    let (forget, forgotten) = mpsc::channel(4);
    let (observed, observations) = watch::channel(Observation::default());
    let (clear, cleared) = watch::channel(None);
    let (confirm, confirmed) = watch::channel(false);
    let (welcomed, is_welcomed) = watch::channel(false);
    let (refused, is_refused) = watch::channel(false);
    let lent: Arc<dyn streams::Pods> = Arc::clone(&board) as _;
    let around = Surroundings {
        world: Arc::clone(&board),
        events,
        state: state.clone(),
        clock: Arc::new(clock::now),
        opener: opener(&identity),
        node_name: identity.node.to_string(),
        salvaged: contents.salvaged,
    };
    let own = follow_static_pods(run, state, &contents)?;
    let inputs = Inputs {
        document: document.clone(),
        static_pods: own.clone(),
        forget: forgotten,
        cleared,
        confirmed,
        facts: facts.clone(),
    };
    let (mut memory, endings) = (contents.pods, contents.endings);
    if contents.salvaged {
        let recalled = pods::recall(&places.run_dir, &mut memory);
        let change = |uid| Change::Pod(uid, memory.get(&uid).cloned().map(Box::new));
        let changes = recalled.into_iter().map(change).collect();
        state.commit(changes, Durability::Hard).await?;
    }
    let mut running = tokio::spawn(reconcile::run(around, memory, endings, inputs, observed));
    let published = status::Sources {
        node: status::Node {
            name: identity.node.to_string(),
            cluster: identity.cluster.to_string(),
            boot: contents.boot,
            started: clock::now(),
            brokers: identity.brokers.iter().map(ToString::to_string).collect(),
            static_pods: run.static_pods.to_string_lossy().into_owned(),
            moved,
        },
        observations: observations.clone(),
        static_pods: own,
        document,
        uplink: status::follow(is_welcomed.clone()),
        refused: is_refused,
        images: Arc::clone(&images),
    };
    let cgroups = Cgroups::discover(&places.cgroup_parent).context("find the cgroups")?;
    let (measured, usage) = watch::channel(None);
    tokio::spawn(usage::follow(
        usage::Sampler::new(cgroups),
        observations.clone(),
        is_welcomed,
        measured,
    ));
    let brokers = Arc::new(Brokers::new(
        run.broker.clone(),
        contents.document.as_deref(),
        identity.brokers.clone(),
    ));
    let asks = find::Options {
        cluster: identity.cluster.clone(),
        bridge: places.bridge.clone(),
        after: Duration::from_secs(run.mdns_after.into()),
    };
    tokio::spawn(find::follow(
        asks,
        welcomed.subscribe(),
        Arc::clone(&brokers),
    ));
    let towards = Arc::clone(&brokers);
    let looks = facts::Sources {
        board: looked_at,
        towards: Box::new(move || towards.address()),
        images: Arc::clone(&images),
    };
    tokio::spawn(facts::follow(looks, facts_sender));
    let in_use: InUse = {
        let published = published.clone();
        Arc::new(move || published.in_use())
    };
    tokio::spawn(gc::run(
        Arc::clone(&images),
        Arc::clone(&in_use),
        run.images.watermarks(),
        look,
        clock::now,
    ));
    let socket = local::bind(&places.run_dir.join(SOCKET)).context("bind the local socket")?;
    let local = local::Local {
        images,
        view: Arc::new(published),
        streams: streams::Local::new(Arc::clone(&lent), observations.clone()),
        in_use,
        puller,
    };
    tokio::spawn(local::serve(socket, local));
    let (shutdown, shut) = oneshot::channel();
    let parts = link::Parts {
        identity,
        brokers,
        hardware: contents.hardware,
        boot: Boot(contents.boot),
        document: contents.document,
        state: state.clone(),
        floor: (floor, contents.time_floor),
        observations,
        events: told,
        usage,
        documents,
        forget,
        cleared: clear,
        confirmed: confirm,
        welcomed,
        refused,
        pods: lent,
        shutdown: shut,
    };
    let mut talk = tokio::spawn(link::run(parts));
    tokio::select! {
        () = stop.wait() => {}
        // Neither ends by itself unless the state log has failed: then nothing may be done any more.
        ended = &mut running => ended.context("the reconcile loop")??,
        ended = &mut talk => ended.context("the link to the controller")??,
    }
    tracing::info!("stopping; containers go on");
    // Pods are left alone first, then the controller is told.
    running.abort();
    if shutdown.send(()).is_ok() && !talk.is_finished() {
        talk.await.context("the link to the controller")??;
    }
    Ok(())
}

/// The board's own pods: those of before at once, then what the folder says. Without a folder there are none.
fn follow_static_pods(
    run: &Run,
    state: &State,
    contents: &Contents,
) -> anyhow::Result<watch::Receiver<Arc<View>>> {
    let off = run.static_pods.is_empty();
    let kept = if off {
        Arc::default()
    } else {
        Arc::clone(&contents.static_pods)
    };
    let notes = Vec::new();
    let (views, view) = watch::channel(Arc::new(View {
        kept,
        notes,
        sure: false,
    }));
    if !off {
        let this = std::env::current_exe().context("find this program")?;
        let options = static_pods::Options {
            folder: run.static_pods.clone().into(),
            compiler: this.with_file_name("bramble"),
            patience: Duration::from_secs(10),
        };
        tokio::spawn(static_pods::follow(options, state.clone(), views));
    }
    Ok(view)
}

/// Watches for archives where the flags say so.
fn import(flags: &Flags, places: &Places, images: &Arc<Store>) {
    let say = |what: &'static str, result: std::io::Result<()>| {
        if let Err(error) = result {
            tracing::error!(%error, "{what}: archives are not loaded from there");
        }
    };
    if let Some(folder) = flags.import_dir.clone() {
        let images = Arc::clone(images);
        tokio::spawn(async move {
            say("--import-dir", import::watch_folder(images, folder).await);
        });
    }
    if let Some(label) = flags.import_label.clone() {
        let (images, at) = (Arc::clone(images), places.run_dir.join("stick"));
        let watching = import::watch_label(images, import::BY_LABEL.into(), label, at);
        tokio::spawn(async move { say("--import-label", watching.await) });
    }
}

/// Directories, and the lock on the run directory: two agents on one would fight.
pub(crate) async fn prepare(places: &Places) -> anyhow::Result<File> {
    if places.run_dir.as_os_str().len() > RUN_DIR_MAX {
        bail!(
            "--run-dir {} is longer than {RUN_DIR_MAX} characters: the paths of sockets in it would \
             be longer than the kernel takes",
            places.run_dir.display()
        );
    }
    for dir in [&places.run_dir, &places.data_dir] {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    fs::set_permissions(
        &places.data_dir,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .with_context(|| format!("protect {}", places.data_dir.display()))?;
    let path = places.run_dir.join("agent.lock");
    lock::take(&path).await.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => {
            anyhow!("{}: an agent is running on it", places.run_dir.display())
        }
        _ => anyhow!(error).context(format!("lock {}", path.display())),
    })
}

fn runtime_options(run: &Run) -> anyhow::Result<Options> {
    let places = &run.places;
    let mut options =
        Options::beside_this_program(&places.run_dir, &places.data_dir, &places.cgroup_parent)
            .context("find the programs beside this one")?;
    if let Some(shim) = &run.shim {
        options.shim.clone_from(shim);
    }
    if let Some(oci) = &run.oci {
        options.oci.clone_from(oci);
    }
    for program in [&options.shim, &options.oci] {
        if !program.is_file() {
            bail!("{} is not there", program.display());
        }
    }
    Ok(options)
}

pub(crate) fn open_images(places: &Places) -> anyhow::Result<Store> {
    let this = std::env::current_exe().context("find this program")?;
    Store::open(&places.data_dir, &this).context("open the image store")
}

pub(crate) async fn open_board(
    places: &Places,
    options: Options,
    images: &Arc<Store>,
    events: Events,
) -> anyhow::Result<Arc<Board<KernelRuntime, Bridge>>> {
    let runtime = KernelRuntime::open(options)
        .await
        .context("open the container runtime")?;
    let network = Network::open(&places.bridge).context("open netlink")?;
    let directories = Directories {
        run: places.run_dir.clone(),
        data: places.data_dir.clone(),
    };
    let bridge = Bridge::new(network);
    let images = Arc::clone(images);
    Ok(Board::new(runtime, bridge, images, directories, events))
}

/// The node's identity from disk, or by joining.
async fn ensure_identity(
    run: &Run,
    state: &State,
    contents: &Contents,
    floor: &Arc<FloorClock>,
) -> anyhow::Result<Identity> {
    if let (Some(keys), Some(membership)) = (&contents.keys, &contents.membership) {
        if run
            .node_name
            .as_ref()
            .is_some_and(|name| name.as_str() != membership.node)
        {
            bail!(
                "this board is node {:?}; --node-name can't change that. To join under another name, \
                 give it an empty --data-dir",
                membership.node
            );
        }
        return Ok(Identity::new(keys, membership)?);
    }
    let (Some(controller), Some(token)) = (&run.join, run.token()) else {
        bail!(
            "this board has not joined a cluster: start it with --join ADDR and BRAMBLE_TOKEN \
             (`bramble token create` on the controller prints a token)"
        );
    };
    let node = match &run.node_name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let keys = match &contents.keys {
        Some(keys) => keys.clone(),
        None => {
            let keys = identity::generate()?;
            // On disk before they are shown to anybody: a repeated join is then the same board's.
            let change = Change::Keys(Box::new(keys.clone()));
            state.commit(vec![change], Durability::Hard).await?;
            keys
        }
    };
    let mut pause = JOIN_PAUSE;
    let membership = loop {
        let (controller, token, node, keys) = (
            controller.clone(),
            token.clone(),
            node.clone(),
            keys.clone(),
        );
        let floor = Arc::clone(floor);
        let host = controller.host.clone();
        let attempt = tokio::task::spawn_blocking(move || {
            join::join(&controller, &token, &node, &keys, floor)
        });
        match attempt.await? {
            Ok(membership) => break membership,
            Err(error) if error.is_retryable() => {
                let error = anyhow::Error::new(error);
                tracing::warn!(controller = host, error = format!("{error:#}"), retry_in = ?pause, "not joined yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(JOIN_PAUSE_MAX);
            }
            Err(error) => return Err(anyhow::Error::new(error).context("join the cluster")),
        }
    };
    let change = Change::Membership(Box::new(membership.clone()));
    state.commit(vec![change], Durability::Hard).await?;
    tracing::info!(
        node = membership.node,
        cluster = membership.cluster,
        "joined"
    );
    Ok(Identity::new(&keys, &membership)?)
}

fn host_name() -> anyhow::Result<NodeName> {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .to_lowercase();
    let name = name.split('.').next().unwrap_or_default();
    NodeName::new(name)
        .with_context(|| format!("the host name {name:?} can't be a node's name; use --node-name"))
}

/// Opens secrets with the node's key.
fn opener(identity: &Identity) -> reconcile::Opener {
    let identity = identity.clone();
    Box::new(move |id: &ObjectId, revision: u64, sealed: &Sealed| {
        let binding = Binding {
            cluster: &identity.cluster,
            node: &identity.node,
            id,
            revision,
        };
        match seal::open(&identity.sealing, binding, sealed) {
            Ok(plain) => Some(plain),
            Err(error) => {
                tracing::warn!(object = %id, %error, "secret not opened");
                None
            }
        }
    })
}

/// Who the board is where the system does not say.
fn own_id(identity: &Identity) -> String {
    let key = identity.signing.verifying_key().to_bytes();
    key[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signals that end the agent.
struct Stop {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
