//! Frees are counted down to the next look at the clock. Whichever call meets the end of the count begins it anew: one that was left there
//! would go on from the end of all numbers.
#![cfg(not(loom))]

use heapglass_heap::cache::LOOKED;
use heapglass_heap::thread::WARM_UP;
use heapglass_heap::{arch, free, malloc, realloc};

fn until_look() -> u32 {
    // SAFETY: the thread's own head.
    unsafe { (*arch::word()).until_look }
}

#[test]
fn a_realloc_that_meets_the_end_of_the_count_begins_it_anew() {
    let mut left = Vec::new();
    for round in 0..WARM_UP + 8 * LOOKED {
        let (first, behind) = (malloc::malloc(600), malloc::malloc(600));
        // SAFETY: ours, and given up one by one.
        unsafe {
            let moved = realloc::realloc(first, 900);
            left.push(until_look());
            // So that counts end at each of the three.
            if round % 3 == 0 {
                free::free(malloc::malloc(600));
            }
            free::free(moved);
            free::free(behind);
        }
    }
    assert!(left.iter().all(|left| (1..=LOOKED).contains(left)), "{left:?}");
    assert!(left.windows(2).any(|two| two[0] != two[1]), "no free was counted: {left:?}");
}
