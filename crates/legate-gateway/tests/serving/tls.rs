//! The accept stage and HTTP/2.
