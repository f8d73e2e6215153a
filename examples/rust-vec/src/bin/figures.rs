//! What a Rust program can ask of its heap. Then it waits until standard input ends, so that the same can be asked from outside:
//! `heapglass ledger PID`.

#[global_allocator]
static A: heapglass::Heapglass = heapglass::Heapglass;

fn main() {
    let mut texts: Vec<String> = (0..5000usize).map(|number| "x".repeat(number % 700)).collect();
    texts.retain(|text| text.len() % 3 != 0);
    let large = vec![1u8; 500_000];
    // Standard output allocates its buffer with the first line.
    println!("{} texts and {} bytes", texts.len(), large.len());
    let heapglass::Stats { in_use_bytes, free_bytes, heap_bytes, mapped_chunks, mapped_bytes, arenas, .. } =
        heapglass::stats();
    println!("in_use_bytes {in_use_bytes}\nfree_bytes {free_bytes}\nheap_bytes {heap_bytes}");
    println!("mapped_chunks {mapped_chunks}\nmapped_bytes {mapped_bytes}\narenas {arenas}\nready");
    // Nothing is said, and nothing read: a buffer for it would be one more chunk.
    let mut byte = [0];
    let _ = std::io::Read::read(&mut std::fs::File::open("/dev/stdin").unwrap_or_else(|e| panic!("{e}")), &mut byte);
}
