//! Maps of byte strings for serde, a string at a time. As a sequence of numbers, which serde makes of a `Vec<u8>`, the
//! bytes are the same and take thirty times as long.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serializer};
use serde_bytes::{ByteBuf, Bytes};

type Map = BTreeMap<String, Vec<u8>>;

pub(super) fn serialize<S: Serializer>(map: &Map, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(map.iter().map(|(key, bytes)| (key, Bytes::new(bytes))))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Map, D::Error> {
    let map = BTreeMap::<String, ByteBuf>::deserialize(from)?;
    Ok(map
        .into_iter()
        .map(|(key, bytes)| (key, bytes.into_vec()))
        .collect())
}
