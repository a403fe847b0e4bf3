//! Greenroom's front door: configuration, command line, HTTP, and the composition of all rooms.
//!
//! [`serve`] turns a checked [`config::Config`] into a [`Running`] house; tests run whole houses in their own process
//! with it, the program does the same and waits for a signal. The rooms behind the door are crates under `actors/`.

pub mod app;
pub mod cli;
pub mod config;
pub mod console;
mod desk;
pub mod house;
pub mod http;
pub mod logging;
mod rooms;
pub mod transfer;
mod work;

pub use app::{Running, StartError, serve};

/// Chooses the cryptography that TLS clients of this process use. Calling it again changes nothing.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
