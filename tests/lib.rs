//! The workspace-level tests: golden, data path, command line, examples.
