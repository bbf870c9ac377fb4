//! What the controller decides, as plain functions: values in, values out.
//!
//! In come views of Kubernetes objects, reports of nodes and the time; out come plans: lists of
//! [`action::Action`]s for the edge to carry out, node documents and statuses. Nothing here reads a
//! clock, draws a random number, waits or holds a lock.
//!
//! | module | decides |
//! |---|---|
//! | [`deployment`] | the ReplicaSets of a Deployment, step by step |
//! | [`replicaset`] | the pods of a ReplicaSet |
//! | [`schedule`] | the node of a pod, or why there is none |
//! | [`lifecycle`] | deletion, garbage collection, the end of a namespace |
//! | [`document`] | what a node is told: its pods and their configuration |
//! | [`status`] | what a node's report makes of a pod |
//! | [`node`] | Ready or not, from a node's presence |
//! | [`event`] | which Events are written |
//! | [`nodelink`] | the node protocol |

pub mod action;
pub mod conditions;
pub mod deployment;
pub mod document;
pub mod event;
pub mod kinds;
pub mod lifecycle;
pub mod node;
pub mod nodelink;
pub mod replicaset;
pub mod schedule;
pub mod status;
