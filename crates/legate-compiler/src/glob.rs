//! Host globs and label selectors: which names and labels go together (spec/routing §3.3–3.5).
//!
//! Regular expressions on hosts are not here: they are no globs and overlap with everything.

mod host;
mod selector;

#[cfg(test)]
mod tests;

pub(crate) use host::HostGlob;
pub(crate) use selector::Selector;
