//! What the library does at the program's start and end: gets the heap ready, keeps children from inheriting the preload
//! where `heapglass run` asked for that, and puts away what is parked at the end.

use heapglass_heap::thread;

#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

extern "C" fn at_start() {
    thread::ensure_set_up();
    thread::on_warm(crate::fault::install);
}

extern "C" fn at_end() {
    thread::at_process_end();
}
