//! A Vec that grows to ten million numbers, on Heapglass as the global allocator. Each time it is full it asks for twice
//! the room; where the chunk can be extended in place, or its mapping moved, the elements are not copied.

#[global_allocator]
static A: heapglass::Heapglass = heapglass::Heapglass;

const NUMBERS: u64 = 10_000_000;

fn main() {
    let mut numbers: Vec<u64> = Vec::new();
    let mut capacity = 0;
    let mut address = numbers.as_ptr();
    let (mut grown, mut moved) = (0, 0);
    for number in 0..NUMBERS {
        numbers.push(number);
        if numbers.capacity() != capacity {
            grown += 1;
            // The first one has nowhere to move from.
            moved += u32::from(capacity != 0 && numbers.as_ptr() != address);
            capacity = numbers.capacity();
            address = numbers.as_ptr();
        }
    }
    let sum: u64 = numbers.iter().sum();
    println!("{} numbers, sum {sum}", numbers.len());
    println!("grown {grown} times, address changed {moved} times");
}
