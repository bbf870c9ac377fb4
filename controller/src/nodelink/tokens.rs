//! Service-account tokens for the pods of the nodes.
//!
//! In: what a pod's volumes ask for, its account, the time. Out: the pod's tokens for its node's
//! document, the same ones until they are due to be replaced, and when that is. What is kept here is
//! only what was made in this life of the controller; the revision, by which a node knows whether it
//! has them, is worked out of what does not change with a restart
//! ([`bramble_controller_core::document::tokens`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bramble_api::view::FullPod;
use bramble_controller_core::document::tokens::{Made, Standing, Wanted};
use bramble_controller_core::nodelink::Compiled;
use bramble_wire::name::NodeName;
use bramble_wire::object::{PodUid, Token, Tokens};

use crate::tokens::{Bound, Minter, Request, life_of_pods_token};

/// What the node has of a pod's tokens, by the pod.
type Held = HashMap<PodUid, Compiled>;

/// Tokens that were made, by the node that gets them.
#[derive(Debug)]
pub(super) struct Shelf {
    minter: Arc<dyn Minter>,
    nodes: HashMap<NodeName, Node>,
}

#[derive(Debug)]
struct Node {
    held: Held,
    /// Seconds of the Unix epoch.
    renew_at_s: i64,
}

impl Shelf {
    pub(super) fn new(minter: Arc<dyn Minter>) -> Shelf {
        Shelf {
            minter,
            nodes: HashMap::new(),
        }
    }

    /// For one compilation of a node's document; to be handed back with [`Shelf::put`].
    pub(super) fn take(&mut self, node: &NodeName, now_s: i64) -> Maker {
        let before = self.nodes.remove(node).map(|node| node.held);
        Maker {
            minter: Arc::clone(&self.minter),
            now_s,
            before: before.unwrap_or_default(),
            made: RefCell::default(),
            renew_at_s: Cell::new(i64::MAX),
        }
    }

    /// Keeps what the document has; what it lacks is forgotten.
    pub(super) fn put(&mut self, node: &NodeName, maker: Maker) {
        let held = maker.made.into_inner();
        if !held.is_empty() {
            let renew_at_s = maker.renew_at_s.get();
            self.nodes.insert(node.clone(), Node { held, renew_at_s });
        }
    }

    pub(super) fn forget(&mut self, node: &NodeName) {
        self.nodes.remove(node);
    }

    /// Nodes with tokens that are due to be replaced.
    pub(super) fn due(&self, now_s: i64) -> Vec<NodeName> {
        let due = self.nodes.iter().filter(|(_, n)| n.renew_at_s <= now_s);
        due.map(|(name, _)| name.clone()).collect()
    }

    /// When the next ones are due.
    pub(super) fn next_s(&self) -> Option<i64> {
        self.nodes.values().map(|node| node.renew_at_s).min()
    }
}

/// Makes the tokens of one node's pods.
#[derive(Debug)]
pub(super) struct Maker {
    minter: Arc<dyn Minter>,
    now_s: i64,
    before: Held,
    made: RefCell<Held>,
    renew_at_s: Cell<i64>,
}

impl Maker {
    /// The tokens of a pod; `account` is the UID of its account.
    pub(super) fn tokens(
        &self,
        pod: &FullPod,
        account: &str,
        wanted: &BTreeSet<Wanted>,
    ) -> Option<Compiled> {
        let uid = PodUid::parse(&pod.metadata.uid)?;
        let seconds = |w: &Wanted| i64::try_from(w.expiration_s).unwrap_or(i64::MAX);
        let life = |w: &Wanted| life_of_pods_token(&w.audience, seconds(w)).unsigned_abs();
        let tokens: Vec<_> = wanted.iter().map(|w| (w.clone(), life(w))).collect();
        let created = pod.metadata.creation_timestamp;
        let made = Made {
            pod: uid,
            created_s: created.map_or(0, |at| at.seconds),
            account,
            key: self.minter.key_id(),
            tokens: &tokens,
        };
        let Standing {
            revision,
            renew_at_s,
        } = made.standing(self.now_s);
        let known = self.before.get(&uid).filter(|c| c.revision == revision);
        let compiled = match known {
            Some(known) => known.clone(),
            None => Compiled::tokens(revision, &self.mint(pod, wanted)?),
        };
        self.made.borrow_mut().insert(uid, compiled.clone());
        self.renew_at_s.set(self.renew_at_s.get().min(renew_at_s));
        Some(compiled)
    }

    fn mint(&self, pod: &FullPod, wanted: &BTreeSet<Wanted>) -> Option<Tokens> {
        let metadata = &pod.metadata;
        let mut tokens = Vec::with_capacity(wanted.len());
        for want in wanted {
            let audiences = match want.audience.as_str() {
                "" => Vec::new(),
                audience => vec![audience.to_owned()],
            };
            let seconds = i64::try_from(want.expiration_s).unwrap_or(i64::MAX);
            let request = Request {
                namespace: &metadata.namespace,
                account: &pod.spec.service_account_name,
                audiences: &audiences,
                seconds: seconds.clamp(crate::tokens::MIN_SECONDS, crate::tokens::MAX_SECONDS),
                bound: Some(Bound {
                    api_version: "v1",
                    kind: "Pod",
                    name: &metadata.name,
                    uid: &metadata.uid,
                }),
            };
            match self.minter.mint(&request) {
                Ok(minted) => tokens.push(Token {
                    audience: want.audience.clone(),
                    expiration_s: want.expiration_s,
                    token: minted.token,
                    expires_unix_s: i64::try_from(minted.ends).unwrap_or(i64::MAX),
                }),
                Err(status) => {
                    // The pod or its account went meanwhile: their news comes after this.
                    let why = status.message();
                    let (namespace, name) = (&metadata.namespace, &metadata.name);
                    tracing::warn!(namespace, name, why, "no token for the pod");
                    return None;
                }
            }
        }
        Some(Tokens(tokens))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use bramble_link::tls::FloorClock;
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{Body, Durability, Expect, Key, MemoryStore, Op, Store};
    use crate::tokens::{SigningKey, Tokens as Authority};

    const UID: &str = "00000000-0000-4000-8000-000000000001";

    /// Who signs for a store.
    pub(in super::super) fn minter(store: &MemoryStore) -> Arc<Authority> {
        let key = SigningKey::from_pkcs8(&SigningKey::generate().unwrap()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store.clone());
        let ca = String::new();
        Arc::new(Authority::new(Arc::new(key), store, FloorClock::new(0), ca))
    }

    struct World {
        store: MemoryStore,
        authority: Arc<Authority>,
        pod: FullPod,
        node: NodeName,
    }

    impl World {
        /// An account `sa` and a pod `p` of it.
        fn new() -> World {
            let store = MemoryStore::default();
            let authority = minter(&store);
            let pod = json!({
                "metadata": {"name": "p", "namespace": "d", "uid": UID,
                    "creationTimestamp": "1970-01-01T00:16:40Z"},
                "spec": {"nodeName": "n1", "serviceAccountName": "sa"},
            });
            let world = World {
                authority,
                pod: serde_json::from_value(pod.clone()).unwrap(),
                node: NodeName::new("n1").unwrap(),
                store,
            };
            world.put("pods", "p", pod);
            let account = json!({"metadata": {"name": "sa", "namespace": "d", "uid": "sa-1"}});
            world.put("serviceaccounts", "sa", account);
            world
        }

        fn put(&self, resource: &str, name: &str, object: Value) {
            let op = Op::Put {
                key: Key::new("", resource, "d", name),
                expect: Expect::Any,
                body: Body {
                    json: object.to_string().into_bytes(),
                    revision_at: None,
                },
                durability: Durability::Hard,
            };
            let _ = self.store.commit(vec![op]).unwrap();
        }

        fn shelf(&self) -> Shelf {
            let minter: Arc<dyn Minter> = self.authority.clone();
            Shelf::new(minter)
        }

        /// What a compilation gets.
        fn compile(&self, shelf: &mut Shelf, now_s: i64) -> Option<Compiled> {
            let maker = shelf.take(&self.node, now_s);
            let made = maker.tokens(&self.pod, "sa-1", &wanted());
            shelf.put(&self.node, maker);
            made
        }
    }

    fn want(audience: &str, expiration_s: u64) -> Wanted {
        Wanted {
            audience: audience.into(),
            expiration_s,
        }
    }

    fn wanted() -> BTreeSet<Wanted> {
        BTreeSet::from([want("", 3607), want("vault", 600)])
    }

    #[test]
    fn tokens_stay_until_they_are_due_also_through_a_restart() {
        let world = World::new();
        let mut shelf = world.shelf();
        let first = world.compile(&mut shelf, 1000).unwrap();
        assert_eq!(world.compile(&mut shelf, 1400), Some(first.clone()));
        let restarted = world.compile(&mut world.shelf(), 1400).unwrap();
        assert_eq!(restarted.revision, first.revision, "nothing is sent");
        assert_ne!(restarted, first, "though it is another token");

        let due = shelf.next_s().unwrap();
        assert!((1000 + 450..=1000 + 480).contains(&due), "{due}");
        assert!(shelf.due(due - 1).is_empty());
        assert_eq!(shelf.due(due), std::slice::from_ref(&world.node));
        let second = world.compile(&mut shelf, due).unwrap();
        assert_ne!(second.revision, first.revision);
        assert!(shelf.due(due).is_empty(), "once");
        shelf.forget(&world.node);
        assert_eq!(shelf.next_s(), None);
    }

    #[test]
    fn tokens_are_bound_to_the_pod_and_live_as_long_as_it_asks() {
        let world = World::new();
        let now_s = crate::object::now().seconds;
        let maker = world.shelf().take(&world.node, now_s);
        let Tokens(tokens) = maker.mint(&world.pod, &wanted()).unwrap();
        let ends: BTreeMap<&str, i64> = tokens
            .iter()
            .map(|t| (t.audience.as_str(), t.expires_unix_s - now_s))
            .collect();
        let year = 365 * 24 * 3600;
        assert!((year - 9..=year + 9).contains(&ends[""]), "{ends:?}");
        assert!((591..=609).contains(&ends["vault"]), "{ends:?}");
        let whose = world.authority.authenticate(&tokens[0].token, &[]).unwrap();
        assert_eq!(whose.identity.user, "system:serviceaccount:d:sa");
        let for_vault = &tokens[1].token;
        assert!(world.authority.authenticate(for_vault, &[]).is_err());
        let audience = ["vault".to_owned()];
        assert!(world.authority.authenticate(for_vault, &audience).is_ok());

        world.put("pods", "p", json!({"metadata": {"uid": "another"}}));
        for token in &tokens {
            assert!(
                world
                    .authority
                    .authenticate(&token.token, &audience)
                    .is_err(),
                "the pod is gone, so is its token"
            );
        }
        assert_eq!(maker.mint(&world.pod, &wanted()), None);
    }
}
