#include "config.h"

#include "tools/tool_options.h"

#include <ctype.h>
#include <string.h>

#define LONGEST_WORD 64

static char fold(char c)
{
    return c == '_' ? '-' : (char)tolower((unsigned char)c);
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* Edits between two words: insert, delete, replace, or swap neighbours (Damerau 1964). */
static int distance(const char *a, const char *b)
{
    size_t m = strlen(a), n = strlen(b);
    if (m > LONGEST_WORD || n > LONGEST_WORD)
        return LONGEST_WORD;
    int rows[3][LONGEST_WORD + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= n; j++)
        last[j] = (int)j;
    for (size_t i = 1; i <= m; i++) {
        now[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            now[j] = smaller(smaller(now[j - 1], last[j]) + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = smaller(now[j], before[j - 2] + 1);
        }
        int *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[n];
}

const char *tool_nearest(const char *word, tool_next_word *next, void *state)
{
    const char *best = NULL;
    int best_distance = LONGEST_WORD;
    size_t length = strlen(word);
    for (const char *candidate = next(state); candidate; candidate = next(state)) {
        int d = distance(word, candidate);
        /* A word that was cut short or has a tail is near, however long the rest. */
        size_t shorter = strlen(candidate) < length ? strlen(candidate) : length;
        if (shorter >= 4 && strncmp(word, candidate, shorter) == 0)
            d = smaller(d, 2);
        if (d < best_distance) {
            best_distance = d;
            best = candidate;
        }
    }
    int limit = length < 4 ? 1 : (int)(length / 3) + 1;
    return best_distance <= limit ? best : NULL;
}
