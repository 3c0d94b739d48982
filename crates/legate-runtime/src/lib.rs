//! legate-runtime
