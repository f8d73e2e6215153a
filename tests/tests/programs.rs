//! Real programs on Heapglass: each does its ordinary work, and what it made is compared with the same work on the C
//! library's own allocator or with an answer known beforehand. See `programs/trial.rs` for how a run is proved to have
//! been one on Heapglass.

#[path = "programs/compilers.rs"]
mod compilers;
#[path = "programs/debuggers.rs"]
mod debuggers;
#[path = "programs/interpreters.rs"]
mod interpreters;
#[path = "programs/machines.rs"]
mod machines;
#[path = "programs/musl.rs"]
mod musl;
#[path = "programs/postgres.rs"]
mod postgres;
#[path = "programs/python.rs"]
mod python;
#[path = "programs/server.rs"]
mod server;
#[path = "programs/tools.rs"]
mod tools;
#[path = "programs/trial.rs"]
mod trial;
#[path = "programs/web.rs"]
mod web;
