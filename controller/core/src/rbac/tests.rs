//! Tables of who may do what.

mod defaults;
mod escalation;
mod evaluator;
mod nodes;
