//! An agent without a link, on a real board: documents as if accepted and nobody to talk to.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bramble_agent::clock;
use bramble_agent::events::Events;
use bramble_agent::image::Store;
use bramble_agent::network::Network;
use bramble_agent::pods::{Board as World, Bridge, Directories};
use bramble_agent::reconcile::{self, Inputs, Surroundings};
use bramble_agent::runtime::KernelRuntime;
use bramble_agent::state::{Change, OpenError, State};
use bramble_agent_core::plan::Durability;
use bramble_agent_core::session::{Document, Observation, Stored};
use bramble_wire::document::{Digest, Hash};
use bramble_wire::name::{ClusterId, NodeName};
use bramble_wire::object::{
    Cidr, Container, NodeConfig, Object, ObjectId, ObjectName, Pod, PodUid,
};
use bramble_wire::report::{ContainerReport, ContainerState, NodeFacts, PodReport};
use bramble_wire::seal::{Binding, SealingSecret, open};
use bramble_wire::version::{HistoryId, Version};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::archive::{docker, layer_of};
use super::{Board, eventually, program};

pub const IMAGE: &str = "bramble.test/busybox:1";

/// An agent without a link: state log, loop, real board.
pub struct Node {
    pub board: Board,
    pub rev: u64,
    pub agent: Option<Agent>,
}

pub struct Agent {
    pub world: Arc<World<KernelRuntime, Bridge>>,
    pub images: Arc<Store>,
    pub state: State,
    pub document: watch::Sender<Option<Arc<Document>>>,
    pub observations: watch::Receiver<Observation>,
    pub task: JoinHandle<Result<(), bramble_agent::state::Error>>,
    _forget: mpsc::Sender<Vec<PodUid>>,
    _facts: watch::Sender<NodeFacts>,
}

pub fn sealing() -> SealingSecret {
    SealingSecret::from_seed(&[9; 32]).0
}

/// What a board is to run, its pods' addresses from 10.42.`range`.0/24.
pub fn document(
    rev: u64,
    range: u8,
    objects: impl IntoIterator<Item = (ObjectId, Object)>,
) -> Arc<Document> {
    let node = NodeConfig {
        pod_cidr: Cidr {
            address: [10, 42, range, 0],
            prefix: 24,
        },
        ..NodeConfig::default()
    };
    let stored = |(id, object): (ObjectId, Object)| {
        let stored = Stored {
            revision: 1,
            hash: Hash::default(),
            body: bramble_wire::encode(&object).into(),
        };
        (id, stored)
    };
    let objects = objects.into_iter();
    let objects = objects.chain([(ObjectId::Node, Object::Node(node))]);
    Arc::new(Document {
        version: Version {
            epoch: 1,
            term: 1,
            rev,
        },
        history: HistoryId::default(),
        digest: Digest::default(),
        objects: objects.map(stored).collect(),
        unclaimed: BTreeMap::new(),
    })
}

impl Node {
    pub async fn new() -> Self {
        let mut node = Self {
            board: Board::new(),
            rev: 0,
            agent: None,
        };
        node.start().await;
        let archive = node.board.dir.join("busybox.tar");
        let layer = layer_of(&node.board.dir.join("root"));
        fs::write(
            &archive,
            docker(IMAGE, &[layer], bramble_agent::facts::architecture()),
        )
        .unwrap();
        node.agent().images.load(&archive).await.unwrap();
        node
    }

    pub fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("an agent")
    }

    pub async fn start(&mut self) {
        let options = self.board.options.clone();
        let (state, contents) = eventually(|| async {
            match State::open(&options.data_dir.join("state")) {
                Ok(opened) => Ok(opened),
                Err(error @ OpenError::Ledger { .. }) => Err(error.to_string()),
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        let images = Store::open(&options.data_dir, &program("bramble-agent")).unwrap();
        let images = Arc::new(images);
        let runtime = KernelRuntime::open(options.clone()).await.unwrap();
        let bridge = Bridge::new(Network::open("bramble0").unwrap());
        let directories = Directories {
            run: options.run_dir.clone(),
            data: options.data_dir.clone(),
        };
        let (events, _told) = Events::channel();
        let world = World::new(
            runtime,
            bridge,
            Arc::clone(&images),
            directories,
            events.clone(),
        );
        let (document, documents) = watch::channel(contents.document);
        let (forget, forgotten) = mpsc::channel(1);
        let (facts_sender, facts) = watch::channel(NodeFacts::default());
        let (sender, observations) = watch::channel(Observation::default());
        let around = Surroundings {
            world: Arc::clone(&world),
            events,
            state: state.clone(),
            clock: Arc::new(clock::now),
            opener: Box::new(|id, revision, secret| {
                open(&sealing(), binding(id, revision).as_binding(), secret).ok()
            }),
            node_name: "node-1".into(),
            salvaged: contents.salvaged,
        };
        let inputs = Inputs {
            static_pods: watch::channel(Default::default()).1,
            document: documents,
            forget: forgotten,
            cleared: watch::channel(None).1,
            confirmed: watch::channel(false).1,
            facts,
        };
        let task = tokio::spawn(reconcile::run(
            around,
            contents.pods,
            contents.endings,
            inputs,
            sender,
        ));
        self.agent = Some(Agent {
            world,
            images,
            state,
            document,
            observations,
            task,
            _forget: forget,
            _facts: facts_sender,
        });
    }

    /// The agent is gone from one moment to the next.
    pub async fn kill_agent(&mut self) {
        let agent = self.agent.take().expect("an agent");
        agent.task.abort();
        let _ = agent.task.await;
    }

    /// The board loses its power: every process, every mount and the run directory are gone.
    pub async fn power_cut(&mut self) {
        self.kill_agent().await;
        self.board.switch_off();
    }

    pub async fn accept(&mut self, objects: Vec<(ObjectId, Object)>) {
        self.rev += 1;
        let document = document(self.rev, 7, objects);
        let change = Change::Document(Arc::clone(&document));
        let agent = self.agent();
        (agent.state.commit(vec![change], Durability::Hard).await).unwrap();
        agent.document.send_replace(Some(document));
    }

    pub async fn until(
        &mut self,
        what: &str,
        uid: PodUid,
        wanted: impl Fn(&PodReport) -> bool,
    ) -> PodReport {
        let agent = self.agent.as_ref().expect("an agent");
        let mut observations = agent.observations.clone();
        let wait = observations.wait_for(|seen| seen.pods.get(&uid).is_some_and(&wanted));
        let seen = tokio::time::timeout(std::time::Duration::from_secs(40), wait).await;
        match seen {
            Ok(seen) => seen.expect("the loop runs").pods[&uid].clone(),
            Err(_) => panic!("never {what}: {:#?}", self.agent().observations.borrow()),
        }
    }

    pub fn log(&self, uid: PodUid, life: u32) -> String {
        let path = self.board.options.log_path(uid, "c", life);
        fs::read_to_string(path).unwrap_or_default()
    }

    pub async fn until_logged(&self, uid: PodUid, life: u32, text: &str) -> String {
        eventually(|| async {
            let log = self.log(uid, life);
            if log.contains(text) {
                Ok(log)
            } else {
                Err(log)
            }
        })
        .await
    }
}

pub struct OwnBinding {
    cluster: ClusterId,
    node: NodeName,
    id: ObjectId,
    revision: u64,
}

impl OwnBinding {
    pub fn as_binding(&self) -> Binding<'_> {
        Binding {
            cluster: &self.cluster,
            node: &self.node,
            id: &self.id,
            revision: self.revision,
        }
    }
}

pub fn binding(id: &ObjectId, revision: u64) -> OwnBinding {
    OwnBinding {
        cluster: ClusterId::new("c1").unwrap(),
        node: NodeName::new("node-1").unwrap(),
        id: id.clone(),
        revision,
    }
}

pub fn name(name: &str) -> ObjectName {
    ObjectName {
        namespace: "default".into(),
        name: name.into(),
    }
}

pub fn pod(uid: PodUid, script: &str) -> Pod {
    Pod {
        uid,
        name: name("p"),
        hostname: "p".into(),
        termination_grace_s: 1,
        containers: vec![Container {
            name: "c".into(),
            image: IMAGE.into(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            working_dir: Some("/".into()),
            security: bramble_wire::object::Security {
                run_as_user: Some(0),
                allow_privilege_escalation: true,
                ..Default::default()
            },
            termination_message_path: "/dev/termination-log".into(),
            ..Container::default()
        }],
        ..Pod::default()
    }
}

pub fn pod_object(pod: Pod) -> (ObjectId, Object) {
    (ObjectId::Pod(pod.uid), Object::Pod(pod))
}

pub fn container(report: &PodReport) -> &ContainerReport {
    &report.containers[0]
}

pub fn is_running(report: &PodReport) -> bool {
    matches!(container(report).state, ContainerState::Running { .. })
}
