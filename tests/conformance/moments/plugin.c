/* A shared library that allocates when it is loaded, keeps some of it, and frees the rest when it is unloaded. */
#include <stdlib.h>
#include <string.h>

static char *kept[50];
int plugin_constructed;

__attribute__((constructor)) static void load(void) {
    for (int i = 0; i < 50; i++) {
        kept[i] = malloc(100 * i + 1);
        if (!kept[i]) abort();
        memset(kept[i], i, 100 * i + 1);
        free(malloc(1000 * i));
    }
    char *large = malloc(300000);
    if (!large) abort();
    memset(large, 1, 300000);
    free(large);
    plugin_constructed = 1;
}

__attribute__((destructor)) static void unload(void) {
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < 100 * i + 1; k++)
            if (kept[i][k] != (char)i) abort();
        free(kept[i]);
    }
    free(calloc(10, 10));
}

char *plugin_text(int n) {
    char *text = malloc(n + 1);
    if (!text) abort();
    memset(text, 'p', n);
    text[n] = 0;
    return text;
}
