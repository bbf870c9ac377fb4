//! Scenarios: a toy node that carries plans out. Each pass is shown as lines of text and compared
//! as a whole.

mod lifecycle;
mod once;
mod property;
mod scenario;
mod silent;
mod toy;
