//! The binary's library half: one module per subcommand, and the in-process join of `run`.
//!
//! Absences first: no compile logic, no request path; only the joining of the crates that have
//! them, and what is shown to the user.
//!
//! Map: [`args`] as typed, [`settings`] as meant; [`run`] with its parts; [`check`], [`compile`],
//! [`explain`], [`diff`], [`crds`], [`echo`]; [`input`] reads and compiles manifests once;
//! [`render`] and [`sarif`] show diagnostics.

pub mod args;
pub mod check;
pub mod compile;
pub mod crds;
pub mod diff;
pub mod echo;
pub mod explain;
pub mod input;
pub mod output;
pub mod render;
pub mod run;
pub mod sarif;
pub mod settings;
