//! Allocations at known places, in Rust: see the comments behind them.

use std::collections::HashMap;
use std::hint::black_box;

mod store {
    #[inline(never)]
    pub fn kept(count: usize) -> Vec<Box<[u8; 300]>> {
        (0..count).map(|_| Box::new([7; 300])).collect() // kept
    }
}

#[inline(never)]
fn text(count: usize) -> HashMap<usize, String> {
    (0..count).map(|n| (n, "x".repeat(1000))).collect() // text
}

fn main() {
    let kept = black_box(store::kept(2000)); // main
    let text = black_box(text(500));
    drop(text);
    std::mem::forget(kept);
}
