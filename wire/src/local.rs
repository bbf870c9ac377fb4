//! Protocol of the agent's local socket.
