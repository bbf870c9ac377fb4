//! One board's request to join, decided and recorded in one commit: the token's use, the node's
//! keys and the Node object.

use std::collections::BTreeSet;

use bramble_api::admit;
use bramble_api::kind::{self, Kind};
use bramble_api::status::{Cause, Status};
use bramble_wire::join::{JoinRequest, JoinResponse, Token, hex_of, hex32};
use bramble_wire::name::NodeName;
use bramble_wire::seal::SealingPublic;
use bramble_wire::version::HardwareId;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

use super::keys::{NodeKey, key_of};
use super::{Joiner, durable, internal, tokens};
use crate::nodelink::control::is_set_back;
use crate::object;
use crate::pki::{self, Csr};
use crate::store::{Body, Commit, Durability, Error as StoreError, Expect, Key, Op};

/// What the request says, parsed; the board has shown that it holds both private keys.
struct Candidate {
    node: NodeName,
    csr: Csr,
    identity: VerifyingKey,
    sealing: SealingPublic,
    arch: String,
    hardware: Option<HardwareId>,
}

impl Joiner {
    /// Lets a board join, or says why not.
    ///
    /// # Errors
    /// 403 for a bad token, 409 for a name that another board has, 422 for a malformed request.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinResponse, Status> {
        let token: Token = request
            .token
            .parse()
            .map_err(|e: bramble_wire::join::NotAToken| Status::bad_request(e.to_string()))?;
        // The token first: without one, nothing is said about names and nothing costly is done.
        self.check_token(&token)?;
        let candidate = parse(request)?;
        let (commit, key, certificate) = self.admit(&token, candidate)?;
        durable(commit).await?;
        self.keys.remember(&key);
        tracing::info!(node = %key.node, pod_cidr = key.pod_cidr, "node joined");
        Ok(JoinResponse {
            cluster: self.pki.cluster.to_string(),
            node: key.node.to_string(),
            ca: self.pki.ca_pem(),
            certificate,
            controller_key: hex_of(self.pki.signing.verifying_key().as_bytes()),
            brokers: self.settings.brokers.clone(),
            pod_cidr: key.pod_cidr,
            cluster_cidr: self.settings.pod_cidr.to_string(),
            service_cidr: self.settings.service_cidr.to_string(),
        })
    }

    fn admit(
        &self,
        token: &Token,
        candidate: Candidate,
    ) -> Result<(Commit, NodeKey, String), Status> {
        let _turn = self.turn.lock().unwrap_or_else(|e| e.into_inner());
        // Again, now that nobody else can use it up.
        let (mut record, record_at) = self.check_token(token)?;
        let identity = hex_of(candidate.identity.as_bytes());
        let name = candidate.node.to_string();
        if let Some(other) = record.replaces.as_ref().filter(|n| **n != candidate.node) {
            return Err(tokens::for_another(other));
        }
        let takes_over = record.replaces.is_some();
        let known = self.keys.by_name(&candidate.node);
        // A repeat, whose first answer was lost, is free. A board that was removed since is a
        // stranger again: what it used up lets it in no second time.
        let member = (known.as_ref()).is_some_and(|key| key.identity == candidate.identity);
        let repeat = member && record.used_by(&identity, &name);
        if !repeat && !record.has_use_left() {
            return Err(tokens::refused());
        }
        let known_at = self.store.get(&key_of(&name)).map(|e| e.modified);
        let index = match &known {
            Some(key) if takes_over || key.identity == candidate.identity => key.index,
            Some(_) => {
                return Err(Status::conflict(
                    "",
                    "nodes",
                    &name,
                    "another board has this name; \
                    remove it (`bramble node remove`), take its place (`bramble node replace`), or join under \
                    another name",
                ));
            }
            None => self.free_index()?,
        };
        let subnet = self.settings.pod_cidr.subnet(index).ok_or_else(|| {
            Status::internal(format!(
                "no range left in {} for another node",
                self.settings.pod_cidr
            ))
        })?;
        let arch = candidate.arch.clone();
        let certificate = self
            .pki
            .sign_node(&candidate.node, candidate.csr)
            .map_err(internal)?;
        let key = NodeKey {
            node: candidate.node,
            certificate: pki::fingerprint(&certificate),
            identity: candidate.identity,
            sealing: candidate.sealing,
            hardware: candidate.hardware,
            pod_cidr: subnet.to_string(),
            index,
            token: token.id.clone(),
        };
        let mut ops = vec![Op::Put {
            key: key_of(&name),
            expect: known_at.map_or(Expect::Absent, Expect::Revision),
            body: Body {
                json: key.to_json().map_err(internal)?,
                revision_at: None,
            },
            durability: Durability::Hard,
        }];
        if !repeat {
            record.used.push((identity, name.clone()));
            ops.push(tokens::put(&record, Expect::Revision(record_at))?);
        }
        ops.extend(self.node_object(&key, &arch)?);
        let commit = self.store.commit(ops).map_err(|e| match e {
            // Somebody wrote one of them meanwhile (an administrator, by hand): try again.
            StoreError::Conflict { .. } | StoreError::Exists(_) | StoreError::NotFound(_) => {
                Status::conflict(
                    "",
                    "nodes",
                    &name,
                    "the node changed while it joined; try again",
                )
            }
            other => internal(other),
        })?;
        Ok((commit, key, crate::pki::certificate_pem(&certificate)))
    }

    /// The lowest /24 that no member has. After a restore the highest: boards that joined in the days that
    /// the store lacks have low ones, and go on with them.
    fn free_index(&self) -> Result<u32, Status> {
        let members = self.keys.all().map_err(internal)?;
        let taken: BTreeSet<u32> = members.iter().map(|key| key.index).collect();
        let set_back = is_set_back(&*self.store).map_err(internal)?;
        let mut all = 0..self.settings.pod_cidr.subnets();
        let free = |index: &u32| !taken.contains(index);
        let free = match set_back {
            true => all.rfind(free),
            false => all.find(free),
        };
        free.ok_or_else(|| {
            Status::internal(format!(
                "no range left in {} for another node",
                self.settings.pod_cidr
            ))
        })
    }

    /// Creates the Node, or corrects the pod range of one that was made by hand.
    fn node_object(&self, key: &NodeKey, arch: &str) -> Result<Option<Op>, Status> {
        let kind = node_kind()?;
        let at = Key::new("", "nodes", "", key.node.as_str());
        let (object, expect) = match self.store.get(&at) {
            None => (new_node(kind, key, arch)?, Expect::Absent),
            Some(entry) => {
                let mut object: Value = serde_json::from_slice(&entry.json).map_err(internal)?;
                if object.pointer("/spec/podCIDR").and_then(Value::as_str) == Some(&key.pod_cidr) {
                    return Ok(None);
                }
                object["spec"]["podCIDR"] = key.pod_cidr.as_str().into();
                object["spec"]["podCIDRs"] = json!([key.pod_cidr]);
                (object, Expect::Revision(entry.modified))
            }
        };
        Ok(Some(object::put(at, &object, expect, Durability::Hard)))
    }
}

fn node_kind() -> Result<&'static Kind, Status> {
    kind::find("", "v1", "nodes").ok_or_else(|| internal("nodes are not served"))
}

fn new_node(kind: &Kind, key: &NodeKey, arch: &str) -> Result<Value, Status> {
    let mut object = json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {"name": key.node.as_str(), "labels": {
            "kubernetes.io/hostname": key.node.as_str(),
            "kubernetes.io/os": "linux",
        }},
        "spec": {"podCIDR": key.pod_cidr, "podCIDRs": [key.pod_cidr]},
    });
    if !arch.is_empty() {
        object["metadata"]["labels"]["kubernetes.io/arch"] = arch.into();
    }
    let uid = crate::object::uid().map_err(internal)?;
    let context = admit::Create {
        now: crate::object::now(),
        uid: &uid,
        suffix: "",
        namespace: None,
    };
    admit::create(kind, &mut object, &context)?;
    Ok(object)
}

fn parse(request: &JoinRequest) -> Result<Candidate, Status> {
    let mut causes = Vec::new();
    let node = NodeName::new(&request.node)
        .map_err(|e| {
            let value = request.node.chars().take(80).collect::<String>();
            causes.push(Cause::invalid("node", &value.into(), &e.to_string()));
        })
        .ok();
    let csr = Csr::parse(&request.csr)
        .map_err(|e| causes.push(Cause::invalid("csr", &Value::Null, &e.to_string())))
        .ok();
    let identity = hex32(&request.identity_key).and_then(|b| VerifyingKey::from_bytes(&b).ok());
    if identity.is_none() {
        causes.push(Cause::invalid(
            "identityKey",
            &Value::Null,
            "must be an Ed25519 public key in hex",
        ));
    }
    let sealing = hex32(&request.sealing_key);
    if sealing.is_none() {
        causes.push(Cause::invalid(
            "sealingKey",
            &Value::Null,
            "must be an X25519 public key in hex",
        ));
    }
    let arch_fine = request.arch.len() <= 63
        && request
            .arch
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !arch_fine {
        causes.push(Cause::invalid(
            "arch",
            &Value::Null,
            "must be an architecture like arm64",
        ));
    }
    let hardware = HardwareId::parse(&request.hardware);
    if hardware.is_none() && !request.hardware.is_empty() {
        causes.push(Cause::invalid(
            "hardware",
            &Value::Null,
            "must be 16 bytes in hex, or empty",
        ));
    }
    let proven = identity.filter(|key| {
        let signature = hex::decode(&request.proof)
            .ok()
            .and_then(|b| Signature::from_slice(&b).ok());
        // Strict: keys of low order would let one proof fit several boards.
        signature.is_some_and(|s| key.verify_strict(&request.proof_message(), &s).is_ok())
    });
    if identity.is_some() && proven.is_none() {
        causes.push(Cause::invalid(
            "proof",
            &Value::Null,
            "must sign the request with the identity key",
        ));
    }
    match (node, csr, proven, sealing) {
        (Some(node), Some(csr), Some(identity), Some(sealing)) if causes.is_empty() => {
            Ok(Candidate {
                node,
                csr,
                identity,
                sealing: SealingPublic(sealing),
                arch: request.arch.clone(),
                hardware,
            })
        }
        _ => Err(Status::invalid(
            "bramble.dev",
            "JoinRequest",
            &request.node,
            causes,
        )),
    }
}
