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

#ifdef __cplusplus
}
#endif

#endif
