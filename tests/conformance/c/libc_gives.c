/* What the C library allocates for its callers is ours to free, and the other way about. */
#include "../expect.h"
#include <dirent.h>
#include <glob.h>
#include <malloc.h>
#include <search.h>
#include <wchar.h>

static int by_value(const void *a, const void *b) {
    return *(const int *)a - *(const int *)b;
}

int main(void) {
    for (int i = 0; i < 200; i++) {
        char *text = strdup("one two three");
        EXPECT(text && malloc_usable_size(text) >= 14, "strdup");
        free(text);

        NEED(asprintf(&text, "%0*d", 100 * i + 1, i) == 100 * i + 1, "asprintf");
        text = realloc(text, 100 * i + 1000);
        NEED(text && atoi(text) == i, "asprintf's text was lost by realloc");
        free(text);

        char *memory = NULL;
        size_t length = 0;
        FILE *stream = open_memstream(&memory, &length);
        NEED(stream, "open_memstream");
        for (int k = 0; k < 3000; k++) fprintf(stream, "%d\n", k);
        fclose(stream);
        EXPECT(length == 13890 && memory[length] == 0, "open_memstream wrote %zu", length);

        /* getline resizes a buffer that we allocated. */
        char *line = malloc(1);
        size_t room = 1;
        stream = fmemopen(memory, length, "r");
        NEED(stream && line, "fmemopen");
        for (int k = 0; k < 3000; k++) EXPECT(getline(&line, &room, stream) > 0 && atoi(line) == k, "line %d: %s", k, line);
        fclose(stream);
        free(line);
        free(memory);
    }
    char *here = getcwd(NULL, 0);
    EXPECT(here && here[0] == '/', "getcwd");
    free(here);
    char *real = realpath("/proc/self/../self/maps", NULL);
    EXPECT(real && strstr(real, "/maps"), "realpath gave %s", real);
    free(real);
    wchar_t *wide = wcsdup(L"wide");
    EXPECT(wide && wcslen(wide) == 4, "wcsdup");
    free(wide);

    glob_t found;
    EXPECT(glob("/proc/[0-9]*", 0, NULL, &found) == 0 && found.gl_pathc > 0, "glob");
    globfree(&found);
    struct dirent **names;
    int count = scandir("/proc/self", &names, NULL, alphasort);
    EXPECT(count > 10, "scandir found %d", count);
    for (int i = 0; i < count; i++) free(names[i]);
    free(names);

    static int numbers[100000];
    for (int i = 0; i < 100000; i++) numbers[i] = (i * 7919) % 100000;
    qsort(numbers, 100000, sizeof numbers[0], by_value);
    for (int i = 0; i < 100000; i++) EXPECT(numbers[i] == i, "qsort: %d at %d", numbers[i], i);

    void *root = NULL;
    for (int i = 0; i < 1000; i++) tsearch(&numbers[(i * 37) % 1000], &root, by_value);
    for (int i = 0; i < 1000; i++) tdelete(&numbers[i], &root, by_value);
    EXPECT(!root, "the tree is not empty");
    EXPECT(setenv("CONFORMANCE", "some value", 1) == 0 && strcmp(getenv("CONFORMANCE"), "some value") == 0, "setenv");
    FILE *pipe = popen("echo through a pipe", "r");
    NEED(pipe, "popen");
    char line[64];
    EXPECT(fgets(line, sizeof line, pipe) && strcmp(line, "through a pipe\n") == 0, "popen");
    EXPECT(pclose(pipe) == 0, "pclose");
    return finish();
}
