//! legate-source
