//! The C library, from outside. What C programs see of it is in the other files of the folder above, which `tools test` compiles.

mod digests;
mod header;
