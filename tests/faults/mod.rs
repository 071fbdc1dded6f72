//! What breaks around a gateway, and what becomes of it: lines, processes, disks, clocks, descriptors. Each test counts
//! what was sent, what was answered, what a back end saw and what the audit file holds, and prints it.

mod back_ends;
mod callers;
#[cfg(target_os = "linux")] // A shim by LD_PRELOAD.
mod clock;
#[cfg(target_os = "linux")] // Measured in /proc.
mod descriptors;
mod disk;
mod issuers;
mod kills;
mod rig;
