//! Secrets: finding them, parsing and checking what they hold (spec/routing §3.14).
//!
//! Nothing here decides what a broken Secret means for its referrer.

mod cache;
mod find;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use cache::SecretCache;
pub(crate) use find::{Found, SecretReader};
pub(crate) use parse::{Material, SecretError};
