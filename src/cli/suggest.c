/* suggest.c - see suggest.h. A word that is cut short (--guid) is likelier than one that is
 * misspelt into another (--guide), so beginnings are looked at before edit distance. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/suggest.h"

enum { longest = 63, most_shown = 5, shortest_stem = 4, shortest_word = 2 };

/* As names are written; "" for what is too long to be one. */
static void normalise(const char *word, char out[longest + 1]) {
    const size_t n = strlen(word);
    out[0] = '\0';
    if (n > longest) return;
    for (size_t i = 0; i <= n; i++)
        out[i] = (char)(word[i] == '_' ? '-' : tolower((unsigned char)word[i]));
}

static bool begins_with(const char *text, const char *beginning) {
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Levenshtein's distance of two texts of at most `longest` bytes. */
static size_t edit_distance(const char *a, const char *b) {
    const size_t n = strlen(a), m = strlen(b);
    size_t row[longest + 1];
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(replaced, 1 + least(row[j], row[j - 1]));
        }
    }
    return row[m];
}

static const char *nearest(const char *word, const char *const *names, size_t count) {
    const char *best = NULL;
    const size_t n = strlen(word);
    size_t best_distance = least(n / 3 + 2, n / 2 + 1); /* as far as this is another word */
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) > longest) continue;
        const size_t distance = edit_distance(word, names[i]);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = names[i];
    }
    return best;
}

/* The longest name that the word begins with: "classes" has "class", and "guide-name" has "guide",
 * as a word of its own. */
static const char *stem(const char *word, bool of_words, const char *const *names, size_t count) {
    const char *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const size_t n = strlen(names[i]);
        if (n < (of_words ? shortest_word : shortest_stem) || !begins_with(word, names[i]))
            continue;
        if (of_words && word[n] != '-') continue;
        if (!best || strlen(names[i]) > strlen(best)) best = names[i];
    }
    return best;
}

/* The names that begin with the word, at most `most_shown`; the word's own alone, if it is one. */
static size_t completions(const char *word, const char *const *names, size_t count,
                          const char **found) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!begins_with(names[i], word)) continue;
        if (strcmp(names[i], word) == 0) {
            found[0] = names[i];
            return 1;
        }
        if (n < most_shown) found[n++] = names[i];
    }
    return n;
}

bool cli_suggest(const char *word, const char *before, const char *const *names, size_t count,
                 char *out, size_t size) {
    char typed[longest + 1] = {0};
    const char *found[most_shown];
    normalise(word, typed);
    if (typed[0] == '\0') return false;
    size_t n = completions(typed, names, count, found);
    if (n == 0 && (found[0] = stem(typed, true, names, count))) n = 1;
    if (n == 0 && (found[0] = nearest(typed, names, count))) n = 1;
    if (n == 0 && (found[0] = stem(typed, false, names, count))) n = 1;
    if (n == 0) return false;
    size_t used = (size_t)snprintf(out, size, "did you mean ");
    for (size_t i = 0; i < n && used < size; i++) {
        const char *between = i == 0 ? "" : i + 1 < n ? ", " : " or ";
        used += (size_t)snprintf(out + used, size - used, "%s%s%s", between, before, found[i]);
    }
    if (used < size) snprintf(out + used, size - used, "?");
    return true;
}
