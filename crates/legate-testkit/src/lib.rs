//! legate-testkit
