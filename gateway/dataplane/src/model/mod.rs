//! A model: its directory, its contract, and how it is loaded and checked before it serves.

pub mod contract;
pub mod describe;
pub mod directory;
pub mod gate;
pub mod load;
pub mod probe;
pub mod repository;
pub mod text;
