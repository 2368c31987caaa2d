//! Mistakes for people and for machines.
