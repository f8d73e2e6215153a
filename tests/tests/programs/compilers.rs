//! Compilers and make: the objects made on Heapglass are byte for byte those made without it, and what they link runs.

use crate::trial::{Trial, good, script};
use heapglass_tests::{have, run};

/// Compiles `source` with and without Heapglass, links and runs it, and returns what it prints.
fn compiled(trial: &Trial, compiler: &str, source: &str) -> String {
    let source = script(source);
    run(trial.plain(compiler).args(["-O2", "-g", "-c", "-o", "plain.o", &source])).ok();
    good(trial.on(compiler).args(["-O2", "-g", "-c", "-o", "ours.o", &source]));
    assert_eq!(trial.get("plain.o"), trial.get("ours.o"), "{compiler} made another object");

    good(trial.on(compiler).args(["-pthread", "-o", "program", "ours.o"]));
    trial.same(trial.path("program"), &[]).out
}

#[test]
fn gcc() {
    if !have("gcc") {
        return;
    }
    let trial = Trial::new("gcc");
    let printed = compiled(&trial, "gcc", "small.c");
    assert!(!printed.is_empty());
    trial.proved(&["cc1", "program"]);
}

#[test]
fn gxx() {
    if !have("g++") {
        return;
    }
    let trial = Trial::new("g++");
    let printed = compiled(&trial, "g++", "small.cc");
    assert_eq!(printed.lines().count(), 4, "one answer of each thread: {printed}");
    trial.proved(&["cc1plus", "program"]);
}

/// Many small files, so that make and the compiler are started often and side by side.
#[test]
fn make() {
    const FILES: u64 = 120;
    if !have("make") || !have("gcc") {
        return;
    }
    let trial = Trial::new("make -j2");
    let mut declared = String::new();
    let mut called = String::new();
    for n in 0..FILES {
        trial.put(
            &format!("part{n}.c"),
            format!("#include <string.h>\nlong part{n}(const char *s) {{ return {n} * (long)strlen(s); }}\n"),
        );
        declared.push_str(&format!("long part{n}(const char *);\n"));
        called.push_str(&format!(" + part{n}(\"{}\")", "x".repeat(n as usize % 7)));
    }
    trial.put(
        "main.c",
        format!("#include <stdio.h>\n{declared}int main(void) {{ printf(\"%ld\\n\", 0L{called}); return 0; }}\n"),
    );
    trial.put(
        "Makefile",
        "OBJECTS := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))\n\
         sum: $(OBJECTS)\n\tgcc -o $@ $(OBJECTS)\n\
         %.o: %.c\n\tgcc -O1 -c -o $@ $<\n\
         count:\n\t@echo $(words $(OBJECTS)) objects from $(shell ls *.c | wc -l) files\n",
    );
    good(trial.on("make").args(["-j2"]));
    let again = good(trial.on("make").args(["-j2"]));
    assert!(again.out.contains("is up to date"), "{again:#?}");
    assert_eq!(good(trial.on("make").arg("count")).out, format!("{0} objects from {0} files\n", FILES + 1));

    let sum: u64 = (0..FILES).map(|n| n * (n % 7)).sum();
    assert_eq!(good(&mut trial.on(trial.path("sum"))).out, format!("{sum}\n"));
    let compiles = trial.notes().iter().filter(|note| note.exe == "cc1").count() as u64;
    assert_eq!(compiles, FILES + 1, "compilers seen to end on Heapglass");
    trial.proved(&["make", "cc1", "sum"]);
}
