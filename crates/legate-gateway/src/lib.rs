//! legate-gateway
