//! Pulling a document: head, index, objects, chunks, verified. One question at a time; what was
//! pulled stays when the link goes or a newer version takes over, so a slow link gets there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bramble_wire::chunk::Assembly;
use bramble_wire::document::{self, IndexEntry};
use bramble_wire::limits::{DOCUMENT_MAX, DOCUMENT_OBJECTS_MAX, REQUEST_OBJECTS_MAX};
use bramble_wire::message::{Answer, Ask, Body, Head, ObjectBody};
use bramble_wire::object::ObjectId;
use bramble_wire::version::{Boot, HistoryId, Version};

use super::document::{Document, Stored};
use super::judge::{Judgement, judge};

/// What an answer led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Ask on.
    More,
    /// To be persisted.
    Complete(Arc<Document>),
    /// Nothing to fetch after all.
    Done,
    /// The controller's newest document is not to be believed.
    Refused,
    /// Right in form, wrong in content: ask again, later.
    Invalid,
}

#[derive(Debug, Default)]
enum Step {
    #[default]
    Idle,
    /// Pulling the index; `head` after its first piece.
    Index {
        head: Option<Head>,
        entries: Vec<IndexEntry>,
        /// So far every piece says so.
        cleared: bool,
    },
    Objects {
        head: Head,
        index: Vec<IndexEntry>,
    },
    /// Complete, on its way to the disk.
    Persisting(Arc<Document>),
}

/// A large object being pulled. The chunks of a Secret fit together only within one life of the
/// controller, because sealing is randomised.
#[derive(Debug)]
struct Chunks {
    entry: IndexEntry,
    assembly: Assembly,
    controller: Option<Boot>,
}

#[derive(Debug, Default)]
pub(super) struct Fetch {
    step: Step,
    pulled: BTreeMap<ObjectId, Stored>,
    /// The history that they were pulled in.
    pulled_in: HistoryId,
    chunks: Option<Chunks>,
    /// A head that came while another document was being fetched or persisted.
    hint: Option<Head>,
    /// Why the newest document was refused.
    rejected: Option<(Head, String)>,
    /// The document of which the controller said in this session that it is cleared.
    cleared: Option<Head>,
}

impl Fetch {
    /// The controller says what its newest document is; begins to fetch it when it is newer.
    pub(super) fn handle_head(&mut self, have: Option<&Document>, head: Head) -> Judgement {
        let judgement = judge(have, &head);
        match judgement {
            Judgement::Newer if self.is_rejected(&head) => {}
            Judgement::Newer => match self.step {
                Step::Idle => self.begin(),
                // Asked for by its number the controller would answer with another document.
                _ if self.is_another(&head) => self.begin(),
                _ => self.hint = Some(head),
            },
            Judgement::Conflict(why) => self.rejected = Some((head, why.into())),
            Judgement::Same | Judgement::Older => {}
        }
        judgement
    }

    fn begin(&mut self) {
        self.step = Step::Index {
            head: None,
            entries: Vec::new(),
            cleared: true,
        };
    }

    /// Looks at the newest index although nothing is said to be newer; `false` while something else is
    /// in work.
    pub(super) fn look(&mut self) -> bool {
        let idle = matches!(self.step, Step::Idle);
        if idle {
            self.begin();
        }
        idle
    }

    /// Whether the controller said in this session that a document is cleared.
    pub(super) fn is_cleared(&self, document: &Document) -> bool {
        self.cleared.is_some_and(|cleared| {
            (cleared.version, cleared.history, cleared.digest)
                == (document.version, document.history, document.digest)
        })
    }

    /// Another session: nothing is cleared in it yet.
    pub(super) fn revoke(&mut self) {
        self.cleared = None;
        if let Step::Index { cleared, .. } = &mut self.step {
            *cleared = false;
        }
    }

    /// Whether the document being pulled has the number of this one and another history or content:
    /// the controller has lost the store that it came from.
    fn is_another(&self, head: &Head) -> bool {
        let begun = match &self.step {
            Step::Idle | Step::Persisting(_) => None,
            Step::Index { head, .. } => *head,
            Step::Objects { head, .. } => Some(*head),
        };
        begun.is_some_and(|begun| begun.version == head.version && begun != *head)
    }

    fn is_rejected(&self, head: &Head) -> bool {
        self.rejected
            .as_ref()
            .is_some_and(|(rejected, _)| rejected == head)
    }

    /// Why the newest document was refused, else empty.
    pub(super) fn rejected(&self) -> &str {
        self.rejected.as_ref().map_or("", |(_, why)| why)
    }

    /// The next question; `None` when there is none to ask.
    pub(super) fn ask(&self, have: Option<&Document>) -> Option<Ask> {
        match &self.step {
            Step::Idle | Step::Persisting(_) => None,
            Step::Index { head, entries, .. } => Some(Ask::Index {
                version: head.map(|head| head.version),
                from: entries.len() as u32,
            }),
            Step::Objects { head, index } => {
                let version = head.version;
                if let Some(chunks) = &self.chunks
                    && let Some(piece) = chunks.assembly.next()
                {
                    let id = chunks.entry.id.clone();
                    return Some(Ask::Chunk {
                        version,
                        id,
                        index: piece,
                    });
                }
                let ids = (self.missing(have, head.history, index))
                    .take(REQUEST_OBJECTS_MAX)
                    .map(|entry| entry.id.clone())
                    .collect();
                Some(Ask::Objects { version, ids })
            }
        }
    }

    /// The answer to the question that was asked last.
    pub(super) fn handle_answer(
        &mut self,
        have: Option<&Document>,
        controller: Boot,
        answer: Answer,
    ) -> Progress {
        match answer {
            Answer::Index {
                head,
                total,
                from,
                entries,
                cleared,
            } => self.handle_index(have, head, total, (from, entries), cleared),
            Answer::Objects(bodies) => self.handle_objects(have, bodies),
            Answer::Chunk {
                id,
                revision,
                index,
                bytes,
            } => self.handle_chunk(have, controller, &id, revision, index, &bytes),
            Answer::Superseded(head) => self.restart(have, &head),
            Answer::Welcome { .. }
            | Answer::ReportAck { .. }
            | Answer::Announce
            | Answer::Refused { .. } => Progress::Invalid,
        }
    }

    fn restart(&mut self, have: Option<&Document>, head: &Head) -> Progress {
        match judge(have, head) {
            Judgement::Newer => {
                self.begin();
                Progress::More
            }
            Judgement::Same => {
                self.finish();
                Progress::Done
            }
            Judgement::Older => self.refuse(*head, "the controller's document is older"),
            Judgement::Conflict(why) => self.refuse(*head, why),
        }
    }

    fn refuse(&mut self, head: Head, why: &str) -> Progress {
        self.finish();
        self.rejected = Some((head, why.into()));
        Progress::Refused
    }

    fn finish(&mut self) {
        self.step = Step::Idle;
        self.pulled.clear();
        self.chunks = None;
    }

    fn handle_index(
        &mut self,
        have: Option<&Document>,
        head: Head,
        total: u32,
        (from, piece): (u32, Vec<IndexEntry>),
        clear: bool,
    ) -> Progress {
        let Step::Index {
            head: begun,
            entries,
            cleared,
        } = &mut self.step
        else {
            return Progress::Invalid;
        };
        if begun.is_some_and(|begun| begun != head) {
            return self.restart(have, &head);
        }
        if begun.is_none() {
            match judge(have, &head) {
                Judgement::Newer => *begun = Some(head),
                Judgement::Same => {
                    self.cleared = clear.then_some(head);
                    return self.restart(have, &head);
                }
                _ => return self.restart(have, &head),
            }
        }
        if total as usize > DOCUMENT_OBJECTS_MAX {
            return self.refuse(head, "the document has too many objects");
        }
        let next = entries.len();
        if from as usize != next || next + piece.len() > total as usize {
            return Progress::Invalid;
        }
        let gained = !piece.is_empty();
        *cleared &= clear;
        entries.extend(piece);
        if entries.len() < total as usize {
            return if gained {
                Progress::More
            } else {
                Progress::Invalid
            };
        }
        self.cleared = cleared.then_some(head);
        let mut index = std::mem::take(entries);
        if document::digest(&mut index) != head.digest {
            return self.refuse(head, "the index does not have its digest");
        }
        if !document::duplicates(&index).is_empty() {
            return self.refuse(head, "the index names an object twice");
        }
        self.begin_objects(have, head, index)
    }

    fn begin_objects(
        &mut self,
        have: Option<&Document>,
        head: Head,
        index: Vec<IndexEntry>,
    ) -> Progress {
        if self.pulled_in != head.history {
            self.pulled.clear();
            self.chunks = None;
            self.pulled_in = head.history;
        }
        let wanted: BTreeMap<_, _> = index.iter().map(|entry| (&entry.id, entry)).collect();
        let is_wanted = |id: &ObjectId, revision: u64, hash| {
            wanted
                .get(id)
                .is_some_and(|entry| entry.hash == hash && entry.revision == revision)
        };
        self.pulled
            .retain(|id, stored| is_wanted(id, stored.revision, stored.hash));
        let chunks = self.chunks.take();
        self.chunks = chunks.filter(|c| is_wanted(&c.entry.id, c.entry.revision, c.entry.hash));
        drop(wanted);
        self.step = Step::Objects { head, index };
        self.complete(have)
    }

    /// Entries whose objects are neither held nor pulled.
    fn missing<'a>(
        &'a self,
        have: Option<&'a Document>,
        history: HistoryId,
        index: &'a [IndexEntry],
    ) -> impl Iterator<Item = &'a IndexEntry> {
        index
            .iter()
            .filter(move |entry| self.found(have, history, entry).is_none())
    }

    fn found(
        &self,
        have: Option<&Document>,
        history: HistoryId,
        entry: &IndexEntry,
    ) -> Option<Stored> {
        let pulled = self
            .pulled
            .get(&entry.id)
            .filter(|pulled| pulled.hash == entry.hash);
        let stored = pulled.or_else(|| have?.find(history, entry))?;
        Some(Stored {
            revision: entry.revision,
            ..stored.clone()
        })
    }

    fn handle_objects(&mut self, have: Option<&Document>, bodies: Vec<ObjectBody>) -> Progress {
        let Step::Objects { head, index } = &self.step else {
            return Progress::Invalid;
        };
        let mut gained = false;
        let mut pulled = Vec::new();
        for ObjectBody { id, revision, body } in bodies {
            let Ok(at) = index.binary_search_by(|entry| entry.id.cmp(&id)) else {
                continue;
            };
            let entry = &index[at];
            if entry.revision != revision {
                continue;
            }
            match body {
                Body::Whole(bytes) if entry.matches(&bytes) => {
                    gained = true;
                    pulled.push((
                        id,
                        Stored {
                            revision,
                            hash: entry.hash,
                            body: bytes.into(),
                        },
                    ));
                }
                Body::Chunked { len } if self.chunks.is_none() => {
                    match Assembly::new(len as usize) {
                        Ok(assembly) => {
                            gained = true;
                            let entry = entry.clone();
                            self.chunks = Some(Chunks {
                                entry,
                                assembly,
                                controller: None,
                            });
                        }
                        Err(error) => {
                            let why = format!("{id}: {error}");
                            return self.refuse(*head, &why);
                        }
                    }
                }
                Body::Whole(_) | Body::Chunked { .. } | Body::Missing => {}
            }
        }
        self.pulled.extend(pulled);
        if gained {
            self.complete(have)
        } else {
            Progress::Invalid
        }
    }

    fn handle_chunk(
        &mut self,
        have: Option<&Document>,
        controller: Boot,
        id: &ObjectId,
        revision: u64,
        index: u32,
        bytes: &[u8],
    ) -> Progress {
        let Some(mut chunks) = self.chunks.take() else {
            return Progress::Invalid;
        };
        if chunks.entry.id != *id || chunks.entry.revision != revision {
            self.chunks = Some(chunks);
            return Progress::Invalid;
        }
        if chunks.controller.is_some_and(|begun| begun != controller) {
            // Asked for whole again, from its first piece.
            return Progress::More;
        }
        chunks.controller = Some(controller);
        if chunks.assembly.push(index, bytes).is_err() {
            self.chunks = Some(chunks);
            return Progress::Invalid;
        }
        if chunks.assembly.next().is_some() {
            self.chunks = Some(chunks);
            return Progress::More;
        }
        match chunks.assembly.finish() {
            Some(body) if chunks.entry.matches(&body) => {
                let hash = chunks.entry.hash;
                let stored = Stored {
                    revision,
                    hash,
                    body: body.into(),
                };
                self.pulled.insert(id.clone(), stored);
                self.complete(have)
            }
            _ => Progress::Invalid,
        }
    }

    /// Puts the document together when nothing is missing.
    fn complete(&mut self, have: Option<&Document>) -> Progress {
        let Step::Objects { head, index } = &self.step else {
            return Progress::Invalid;
        };
        let head = *head;
        let pulled: usize = self.pulled.values().map(|stored| stored.body.len()).sum();
        if pulled > DOCUMENT_MAX {
            return self.refuse(head, "the document is too large");
        }
        let mut objects = BTreeMap::new();
        for entry in index {
            let Some(stored) = self.found(have, head.history, entry) else {
                return Progress::More;
            };
            objects.insert(entry.id.clone(), stored);
        }
        let mut document = Document {
            version: head.version,
            history: head.history,
            digest: head.digest,
            objects,
            unclaimed: BTreeMap::new(),
        };
        document.inherit(have);
        if document.is_too_large() {
            return self.refuse(head, "the document is too large");
        }
        let document = Arc::new(document);
        self.finish();
        self.step = Step::Persisting(document.clone());
        Progress::Complete(document)
    }

    /// The document with this version is on disk.
    pub(super) fn handle_persisted(&mut self, version: Version) -> Option<Arc<Document>> {
        let Step::Persisting(document) = &self.step else {
            return None;
        };
        if document.version != version {
            return None;
        }
        let document = document.clone();
        self.step = Step::Idle;
        self.rejected = None;
        Some(document)
    }

    /// A head that came while another document was in work, to be looked at now.
    pub(super) fn take_hint(&mut self) -> Option<Head> {
        matches!(self.step, Step::Idle)
            .then(|| self.hint.take())
            .flatten()
    }
}
