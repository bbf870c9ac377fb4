//! What the controller decides, as plain functions: values in, values out.
//!
//! In come views of Kubernetes objects, reports of nodes and the time; out come plans: lists of
//! [`action::Action`]s for the edge to carry out, node documents and statuses. Nothing here reads a
//! clock, draws a random number, waits or holds a lock.
//!
//! | module | decides |
//! |---|---|
//! | [`account`] | what every namespace has: its `default` account and the cluster's CA |
//! | [`apiservice`] | the Service `kubernetes` |
//! | [`admission`] | what a new or changed object gets from the cluster, and whether it may be stored |
//! | [`deployment`] | the ReplicaSets of a Deployment, step by step |
//! | [`replicaset`] | the pods of a ReplicaSet |
//! | [`schedule`] | the node of a pod, or why there is none |
//! | [`deletion`] | what a deletion does to an object |
//! | [`lease`] | a node's Lease |
//! | [`lifecycle`] | garbage collection |
//! | [`namespace`] | the end of a namespace |
//! | [`document`] | what a node is told: its pods and their configuration |
//! | [`status`] | what a node's report makes of a pod |
//! | [`node`] | Ready or not, from a node's presence |
//! | [`endpoints`] | where Services lead |
//! | [`eviction`] | what becomes of the pods of a node that is not there |
//! | [`event`] | which Events are written |
//! | [`nodelink`] | the node protocol |
//! | [`rbac`] | who may do what |

pub mod account;
pub mod action;
pub mod admission;
pub mod apiservice;
pub mod conditions;
pub mod deletion;
pub mod deployment;
pub mod document;
pub mod endpoints;
pub mod event;
pub mod eviction;
pub mod kinds;
pub mod lease;
pub mod lifecycle;
pub mod namespace;
pub mod node;
pub mod nodelink;
pub mod rbac;
pub mod replicaset;
pub mod schedule;
pub mod status;
