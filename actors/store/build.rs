//! Owns one fact: the migrations are embedded at compile time, so a new file in the folder must rebuild this crate.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
