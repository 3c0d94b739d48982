//! Where resources come from.
//!
//! Absences first: no request path, no compile logic, no async but in [`kube`]; objects are handed
//! on as decoded.
//!
//! Map:
//! - [`folder`]: files and folders with line numbers and change notification
//! - [`locate`]: a field path to its line and column
//! - [`kube`]: the watches of a Kubernetes API server
//! - [`selector`]: label selectors in text form
//! - `split`, `json`, `yaml`: a file to documents, a document to a value
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::expect_used))]

pub mod folder;
mod json;
pub mod kube;
pub mod locate;
pub mod selector;
mod split;
mod update;
mod yaml;

pub use folder::{FolderOptions, FolderSource, SourceText, Watch};
pub use locate::Side;
pub use update::{Observed, Update};
