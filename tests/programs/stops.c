/* Stopped by a debugger in `deep`, three calls down, with live and freed chunks around it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noipa)) int deep(char *text, int length) {
    memset(text, 'g', (size_t)length);
    text[length] = 0;
    return (int)strlen(text);
}

__attribute__((noipa)) int middle(int length) {
    char *before = malloc(100);
    char *text = malloc((size_t)length + 1);
    free(before);
    int n = deep(text, length);
    free(text);
    return n + 1;
}

int main(void) {
    int n = middle(40);
    printf("answer %d\n", n);
    return n == 41 ? 0 : 1;
}
