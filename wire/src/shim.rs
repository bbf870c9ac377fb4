//! Protocol of the shim's socket.
