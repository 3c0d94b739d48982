//! legate-router
