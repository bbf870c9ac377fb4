//! Every bound of the protocol in one place; each says what happens at it.

/// Version of the protocol, in every envelope. Another version is dropped and counted.
pub const PROTOCOL: u8 = 1;

/// Newest schema of documents that this build writes and reads ([`crate::message::Birth::schemas`]).
pub const SCHEMA: u16 = 1;

/// Largest MQTT payload, in bytes. A larger one is never built; one received is dropped and counted.
pub const PACKET_MAX: usize = 256 * 1024;

/// Largest object body in one response, in bytes; a larger object is pulled in chunks of this size.
pub const CHUNK_SIZE: usize = 32 * 1024;

/// Largest total of object bodies in one response, in bytes; the rest is left out and asked again.
pub const RESPONSE_MAX: usize = 128 * 1024;

/// Largest object, in bytes (as upstream's limit for an object in etcd). A larger one is refused by the API.
pub const OBJECT_MAX: usize = 1024 * 1024;

/// Largest encoded object, in bytes: [`OBJECT_MAX`] with room for the seal and the framing.
pub const BODY_MAX: usize = OBJECT_MAX + 64 * 1024;

/// Largest document of one node, in bytes of object bodies. At it the controller stops adding pods
/// and the scheduler is told that the node is full.
pub const DOCUMENT_MAX: usize = 8 * 1024 * 1024;

/// Most objects in one document.
pub const DOCUMENT_OBJECTS_MAX: usize = 4096;

/// Most objects asked for in one request.
pub const REQUEST_OBJECTS_MAX: usize = 64;

/// Most pod reports in one report; the rest follows in the next.
pub const REPORT_PODS_MAX: usize = 64;

/// Concurrent streams on a node; one more is refused with a reason.
pub const STREAMS_MAX: usize = 4;

/// Largest data of one stream frame, in bytes.
pub const STREAM_FRAME_MAX: usize = 8 * 1024;

/// Credit a stream starts with and may hold at most, in bytes.
pub const STREAM_CREDIT_MAX: u32 = 64 * 1024;

/// Longest cursor of a followed log, in bytes; a longer one is not kept.
pub const CURSOR_MAX: usize = 64;

/// Connections at once in one forwarding stream; one more is refused with a reason.
pub const STREAM_CHANNELS_MAX: usize = 64;

/// Credit a connection of a forwarding stream starts with and may hold at most, in bytes, in each
/// direction; the input of other streams has [`STREAM_CREDIT_MAX`].
pub const CHANNEL_CREDIT_MAX: u32 = 16 * 1024;

/// Longest free text in a report (reason, message), in bytes; longer ones are cut at a character.
pub const TEXT_MAX: usize = 1024;

/// Most events that wait for a report; then the oldest is dropped.
pub const REPORT_EVENTS_MAX: usize = 64;

/// Most images in a node's facts, the largest ones (as upstream's `nodeStatusMaxImages`).
pub const NODE_IMAGES_MAX: usize = 50;

/// Most brokers that nodes are told of; the controller does not start with more, and a node leaves out
/// the rest.
pub const BROKERS_MAX: usize = 8;

/// Longest URL of a broker, in bytes; as [`BROKERS_MAX`].
pub const BROKER_URL_MAX: usize = 256;
