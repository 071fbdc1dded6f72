//! What breaks around a gateway, and what becomes of it: lines, processes, disks, clocks, descriptors. Each test counts
//! what was sent, what was answered, what a back end saw and what the audit file holds, and prints it.

mod back_ends;
mod callers;
mod clock;
mod descriptors;
mod disk;
mod issuers;
mod kills;
mod rig;
