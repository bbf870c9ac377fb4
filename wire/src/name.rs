//! Names that appear in topics: parsed once, valid for ever, without a heap.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Empty, or longer than 63 bytes.
    #[error("must be 1 to 63 characters, has {0}")]
    Length(usize),
    /// Not an RFC 1123 label.
    #[error(
        "must consist of lower case alphanumeric characters or '-', and start and end with one of the former"
    )]
    Characters,
}

fn check(text: &str) -> Result<heapless::String<63>, Error> {
    if text.is_empty() || text.len() > 63 {
        return Err(Error::Length(text.len()));
    }
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = alphanumeric(&bytes[0]) && alphanumeric(&bytes[bytes.len() - 1]);
    if !ends || !bytes.iter().all(|b| alphanumeric(b) || *b == b'-') {
        return Err(Error::Characters);
    }
    heapless::String::try_from(text).map_err(|_| Error::Length(text.len()))
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(heapless::String<63>);

        impl $name {
            /// Parses an RFC 1123 label of at most 63 characters.
            ///
            /// # Errors
            /// [`Error`] saying what is wrong with it.
            pub fn new(text: &str) -> Result<Self, Error> {
                check(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = heapless::String::<63>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

label! {
    /// A node's name: the Kubernetes Node's name, the MQTT client id after `bramble-`, the CN of its certificate.
    NodeName
}
label! {
    /// The cluster's id, drawn once by the controller that made the cluster.
    ClusterId
}
label! {
    /// A site: nodes that reach each other (label `bramble.dev/site`).
    SiteName
}
