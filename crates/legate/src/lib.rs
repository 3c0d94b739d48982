//! legate
