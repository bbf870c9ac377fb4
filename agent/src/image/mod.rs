//! Container images on this board.
pub(crate) mod rooted;
