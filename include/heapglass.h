/* Heapglass: what it offers a C or C++ program besides malloc's own family, which <stdlib.h> and <malloc.h> declare. */
#ifndef HEAPGLASS_H
#define HEAPGLASS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Walks every heap and proves it sound: chunks tile it exactly, headers and free lists agree, no two neighbours lie free in
 * bins, counters add up. Returns 0 when all of it holds, otherwise the number of faults; the first few are told on
 * standard error, a line each. Takes the locks of the allocator one arena at a time, so it may run beside other threads. */
int heapglass_check(void);

/* Begins to tell each step of each call of malloc's family in a file that a reader made. For `heapglass trace -p`, which makes a
 * running program call it. Returns 0, or -1 where the file isn't such a one. NULL makes an empty one and returns its number, and
 * "fd:N" then is that one. Safe in a signal handler. */
int heapglass_tell(const char *file);

#ifdef __cplusplus
}
#endif

#endif
