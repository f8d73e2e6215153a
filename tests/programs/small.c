/* Compiled on Heapglass, then run on it: sorts, counts and folds to one number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *left, *right;
    unsigned key, count;
};

static struct node *put(struct node *n, unsigned key) {
    if (!n) {
        n = calloc(1, sizeof *n);
        if (!n) abort();
        n->key = key;
    }
    if (n->key == key) n->count++;
    else if (key < n->key) n->left = put(n->left, key);
    else n->right = put(n->right, key);
    return n;
}

static unsigned fold(struct node *n, unsigned hash) {
    if (!n) return hash;
    hash = fold(n->left, hash) * 31 + n->key * n->count;
    hash = fold(n->right, hash);
    free(n);
    return hash;
}

int main(void) {
    struct node *tree = 0;
    unsigned seed = 1;
    char *text = 0;
    size_t len = 0;
    for (int i = 0; i < 50000; i++) {
        seed = seed * 1103515245u + 12345u;
        tree = put(tree, seed >> 17);
        if (i % 100 == 0) {
            text = realloc(text, len + 16);
            len += (size_t)snprintf(text + len, 16, "%u,", seed >> 17);
        }
    }
    printf("%u %zu %.20s\n", fold(tree, 7), len, text);
    free(text);
    return 0;
}
