//! Join tokens: made, listed and removed by an administrator; only a hash of the secret is kept.

use bramble_api::status::Status;
use bramble_api::time::Timestamp;
use bramble_wire::join::{Token, TokenCreated, TokenInfo, TokenList, TokenRequest, hex_of};
use bramble_wire::name::NodeName;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{GROUP, Joiner, TOKENS, durable, internal, unix_now};
use crate::pki::random_text;
use crate::store::{Body, Durability, Error as StoreError, Expect, Key, Op, Page, Revision, Scope};

/// A day.
const DEFAULT_TTL: u64 = 86_400;
/// Ten years.
const MAX_TTL: u64 = 3_650 * 86_400;
const MAX_USES: u32 = 10_000;
/// More than this at once is a script gone wrong.
const MAX_TOKENS: usize = 1_000;

/// As stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    hash: String,
    created: u64,
    expires: u64,
    uses: u32,
    /// Identity key and name of each node that joined with it: a repeat is not another use.
    pub(super) used: Vec<(String, String)>,
    /// The node whose place a board takes with it, and the only one that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) replaces: Option<NodeName>,
}

impl Record {
    fn info(&self) -> TokenInfo {
        let time = |s: u64| Timestamp::from_seconds(i64::try_from(s).unwrap_or(i64::MAX)).rfc3339();
        TokenInfo {
            id: self.id.clone(),
            created: time(self.created),
            expires: time(self.expires),
            uses: self.uses,
            nodes: self.used.iter().map(|(_, node)| node.clone()).collect(),
            replaces: (self.replaces.as_ref()).map_or_else(String::new, ToString::to_string),
        }
    }

    fn ended(&self) -> bool {
        unix_now() >= self.expires
    }

    pub(super) fn used_by(&self, identity: &str, node: &str) -> bool {
        self.used.iter().any(|(i, n)| i == identity && n == node)
    }

    pub(super) fn has_use_left(&self) -> bool {
        self.used.len() < usize::try_from(self.uses).unwrap_or(usize::MAX)
    }
}

fn key_of(id: &str) -> Key {
    Key::new(GROUP, TOKENS, "", id)
}

fn hash(secret: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"bramble/token/1\0");
    hasher.update(secret.as_bytes());
    hex_of(&hasher.finalize())
}

/// Compares without telling by its duration where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// The one answer to every token that does not open the door: it tells nothing more.
pub(super) fn refused() -> Status {
    Status::forbidden(
        "",
        "nodes",
        "",
        "the join token is unknown, has expired or was used; make a new one with `bramble token create`",
    )
}

/// To somebody who holds a token that is good, for another node.
pub(super) fn for_another(node: &NodeName) -> Status {
    let why = format!(
        "the join token is for the board that takes the place of {node}: join with --node-name {node}"
    );
    Status::forbidden("", "nodes", node.as_str(), &why)
}

pub(super) fn put(record: &Record, expect: Expect) -> Result<Op, Status> {
    let json = serde_json::to_vec(record).map_err(internal)?;
    Ok(Op::Put {
        key: key_of(&record.id),
        expect,
        body: Body {
            json,
            revision_at: None,
        },
        durability: Durability::Hard,
    })
}

impl Joiner {
    /// The token's record when its secret is right and it has not ended.
    pub(super) fn check_token(&self, token: &Token) -> Result<(Record, Revision), Status> {
        if !same(&token.ca_sha256, &self.pki.ca_sha256()) {
            return Err(refused());
        }
        let entry = self.store.get(&key_of(&token.id)).ok_or_else(refused)?;
        let record: Record = serde_json::from_slice(&entry.json).map_err(internal)?;
        if !same(hash(&token.secret).as_bytes(), record.hash.as_bytes()) || record.ended() {
            return Err(refused());
        }
        Ok((record, entry.modified))
    }

    /// Makes a token.
    ///
    /// # Errors
    /// 400 for a lifetime or number of uses that makes no sense.
    pub async fn create_token(&self, request: &TokenRequest) -> Result<TokenCreated, Status> {
        let ttl = request.ttl_seconds.unwrap_or(DEFAULT_TTL);
        let uses = request.uses.unwrap_or(1);
        if !(1..=MAX_TTL).contains(&ttl) {
            return Err(Status::bad_request(format!(
                "ttlSeconds must be from 1 to {MAX_TTL}"
            )));
        }
        if !(1..=MAX_USES).contains(&uses) {
            return Err(Status::bad_request(format!(
                "uses must be from 1 to {MAX_USES}"
            )));
        }
        let replaces = self.replaced(request)?;
        self.forget_ended()?;
        let token = Token {
            ca_sha256: self.pki.ca_sha256(),
            id: random_text::<8>().map_err(internal)?,
            // 26 characters of 5 bits: 130 bits.
            secret: random_text::<26>().map_err(internal)?,
        };
        let created = unix_now();
        let record = Record {
            id: token.id.clone(),
            hash: hash(&token.secret),
            created,
            expires: created.saturating_add(ttl),
            uses,
            used: Vec::new(),
            replaces,
        };
        let mut ops = vec![put(&record, Expect::Absent)?];
        if let Some(node) = &record.replaces {
            // Only the last one counts: a person who makes another has lost the one before.
            let records = self.records()?.into_iter();
            let before = records.filter(|other| other.replaces.as_ref() == Some(node));
            ops.extend(before.map(|other| Op::Delete {
                key: key_of(&other.id),
                expect: Expect::Any,
                durability: Durability::Hard,
            }));
        }
        let commit = self.store.commit(ops).map_err(internal)?;
        durable(commit).await?;
        Ok(TokenCreated {
            token: token.to_string(),
            info: record.info(),
        })
    }

    /// The member whose place a board is to take.
    fn replaced(&self, request: &TokenRequest) -> Result<Option<NodeName>, Status> {
        let Some(name) = &request.replaces else {
            return Ok(None);
        };
        if request.uses.is_some_and(|uses| uses != 1) {
            return Err(Status::bad_request("one board takes the place of a node"));
        }
        let node = NodeName::new(name).ok();
        let known = node.filter(|node| self.keys.by_name(node).is_some());
        let node = known.ok_or_else(|| Status::not_found("", "nodes", name))?;
        Ok(Some(node))
    }

    /// Tokens that have not ended.
    ///
    /// # Errors
    /// What the store says.
    pub fn tokens(&self) -> Result<TokenList, Status> {
        let mut records: Vec<Record> = self.records()?.into_iter().filter(|r| !r.ended()).collect();
        records.sort_by_key(|r| r.created);
        Ok(TokenList {
            items: records.iter().map(Record::info).collect(),
        })
    }

    /// Removes a token; nodes that joined with it stay.
    ///
    /// # Errors
    /// 404 when there is none of that id.
    pub async fn delete_token(&self, id: &str) -> Result<(), Status> {
        let op = Op::Delete {
            key: key_of(id),
            expect: Expect::Any,
            durability: Durability::Hard,
        };
        match self.store.commit(vec![op]) {
            Ok(commit) => durable(commit).await,
            Err(StoreError::NotFound(_)) => Err(Status::not_found("bramble.dev", "tokens", id)),
            Err(e) => Err(internal(e)),
        }
    }

    fn records(&self) -> Result<Vec<Record>, Status> {
        let listing = self
            .store
            .list(&Scope::all(GROUP, TOKENS), &Page::default())
            .map_err(internal)?;
        Ok(listing
            .entries
            .iter()
            .filter_map(|e| serde_json::from_slice(&e.json).ok())
            .collect())
    }

    /// Ended tokens go when the next one is made: no timer, no write of their own.
    fn forget_ended(&self) -> Result<(), Status> {
        let records = self.records()?;
        let ops: Vec<Op> = records
            .iter()
            .filter(|r| r.ended())
            .map(|r| Op::Delete {
                key: key_of(&r.id),
                expect: Expect::Any,
                durability: Durability::Soft,
            })
            .collect();
        if records.len() - ops.len() >= MAX_TOKENS {
            return Err(Status::too_many_requests(
                "too many join tokens; delete some",
                60,
            ));
        }
        if !ops.is_empty() {
            // Losing a race to another request is fine: that one has removed them.
            let _ = self.store.commit(ops);
        }
        Ok(())
    }
}
