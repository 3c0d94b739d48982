//! legate-api
