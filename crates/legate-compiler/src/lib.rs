//! legate-compiler
