//! The whole gateway in a process that counts what it allocates, and says so when asked.

use std::alloc::{GlobalAlloc, Layout};
use std::io::BufRead;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context;
use mimalloc::MiMalloc;

use super::process::Process;

/// The product's allocator, with two counters that stand still in all other roles.
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(bytes: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; every call is passed on as it came")]
// SAFETY: each method forwards its arguments unchanged to an allocator that keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}

/// Serves as the command line says, and counts.
pub fn run() -> anyhow::Result<()> {
    begin();
    clearway::cli::run().map(drop)
}

/// Counts from here on; each line on standard input is answered with the two counters.
pub fn begin() {
    COUNTS.store(true, Ordering::Relaxed);
    std::thread::spawn(|| {
        for _ in std::io::stdin().lock().lines() {
            println!("{} {}", ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
        }
    });
}

/// Allocations and bytes of a counting process so far.
pub fn so_far(process: &mut Process) -> anyhow::Result<(f64, f64)> {
    let line = process.ask()?;
    let (allocations, bytes) = line.trim().split_once(' ').context("two counters")?;
    Ok((allocations.parse()?, bytes.parse()?))
}
