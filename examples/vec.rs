//! A Vec that grows: where it lies, each time that it has moved or got more room. Any allocator will do:
//! `rustc -O -o vec examples/vec.rs`.

fn main() {
    let mut numbers: Vec<u64> = Vec::new();
    let mut before = (std::ptr::null(), 0);
    for number in 0..20_000 {
        numbers.push(number);
        let now = (numbers.as_ptr(), numbers.capacity());
        if now != before {
            let how = if now.0 == before.0 { "where it was" } else { "moved" };
            println!("room for {:>6} numbers at {:p}, {how}", now.1, now.0);
            before = now;
        }
    }
}
