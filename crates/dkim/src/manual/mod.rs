//! Documentation only: what whoever changes this crate should know.

pub mod attacks;
