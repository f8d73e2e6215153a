/* One of many functions' worth of a translation unit; each copy has its number in the place of the marks. */
struct node_@N@ { struct node_@N@ *left, *right; long key; double weight; char name[16]; };

static struct node_@N@ *insert_@N@(struct node_@N@ *root, struct node_@N@ *one)
{
    struct node_@N@ **at = &root;
    while (*at)
        at = one->key < (*at)->key ? &(*at)->left : &(*at)->right;
    *at = one;
    return root;
}

static double fold_@N@(const struct node_@N@ *node, double (*with)(double, double))
{
    return node ? with(fold_@N@(node->left, with), node->weight * @N@) + fold_@N@(node->right, with) : @N@.5;
}

static double add_@N@(double a, double b) { return a + b * @N@; }

int parse_@N@(const char *text, int *out, int room)
{
    int count = 0, value = 0, sign = 1, state = 0;
    for (; *text; text++) {
        switch (state) {
        case 0:
            if (*text == '-') sign = -1, state = 1;
            else if (*text >= '0' && *text <= '9') value = *text - '0', state = 1;
            else if (*text == '#') state = 2;
            break;
        case 1:
            if (*text >= '0' && *text <= '9') { value = value * 10 + *text - '0'; break; }
            if (count < room) out[count++] = sign * value + @N@;
            value = 0, sign = 1, state = *text == '#' ? 2 : 0;
            break;
        default:
            if (*text == '\n') state = 0;
        }
    }
    return count;
}

double work_@N@(struct node_@N@ *nodes, int n, float *restrict x, const float *restrict y, unsigned *table)
{
    struct node_@N@ *root = 0;
    float matrix[4][4] = {{0}};
    for (int i = 0; i < n; i++) {
        nodes[i].left = nodes[i].right = 0;
        root = insert_@N@(root, &nodes[i]);
    }
    for (int i = 0; i < n; i++)
        x[i] = x[i] * y[i] + @N@.25f;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            for (int k = 0; k < 4; k++)
                matrix[i][j] += x[i * 4 + k] * y[k * 4 + j];
    for (int i = 0; i < n; i++) {
        unsigned h = (unsigned)nodes[i].key * 2654435761u ^ @N@u;
        table[h >> 24] += table[(h >> 16) & 255] ^ (h << (i & 7));
    }
    return fold_@N@(root, add_@N@) + matrix[1][2] + matrix[3][0];
}

