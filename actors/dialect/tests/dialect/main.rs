//! The dialect room from outside: what models write, whole and in pieces, and what becomes of it.

mod forms;
mod leaks;
mod pass;
mod streaming;
mod stubborn;
