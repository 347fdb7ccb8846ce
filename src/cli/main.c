/* main.c - the program: finds the verb and hands it the words after it. */
#include <string.h>

#include "cli/cli.h"

static const cli_verb *const verbs[] = {
    &cli_train, &cli_distill, &cli_sample, &cli_forward, &cli_eval, &cli_sweep, &cli_log,
    &cli_ema,   &cli_export,  &cli_tokens, &cli_list,    &cli_info, &cli_bench};
enum { verb_count = sizeof verbs / sizeof verbs[0] };

static void print_help(void) {
    printf("vane %s - train and sample guided generative models\n\n"
           "  vane train photos --out runs/photos --minutes 30\n"
           "  vane sample runs/photos --guidance 1,2,4 --out samples.png\n\n",
           vn_version());
    for (size_t i = 0; i < verb_count; i++)
        printf("  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
    printf("\nvane help VERB opens with an example and explains each flag; vane --version says "
           "what it was built with.\n");
}

static const cli_verb *find_verb(const char *name) {
    for (size_t i = 0; i < verb_count; i++)
        if (strcmp(verbs[i]->name, name) == 0) return verbs[i];
    return NULL;
}

/* `vane --version`, `vane version` */
static bool asks_for_version(const char *word) {
    static const char *const words[] = {"--version", "-V", "version"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i]) == 0) return true;
    return false;
}

static int unknown_verb(const char *word) {
    const char *names[verb_count], *foreign = cli_foreign_verb(word);
    char text[256];
    for (size_t i = 0; i < verb_count; i++) names[i] = verbs[i]->name;
    if (word[0] == '-')
        cli_misuse(NULL, "the verb comes before its flags: vane VERB %s; see: vane --help", word);
    else if (foreign)
        cli_misuse(NULL, "vane says %s for %s; see: vane %s --help", foreign, word, foreign);
    else if (cli_suggest(word, "", names, verb_count, text, sizeof text))
        cli_misuse(NULL, "unknown verb '%s'; %s", word, text);
    else
        cli_misuse(NULL, "unknown verb '%s'; see: vane --help", word);
    return CLI_USAGE;
}

/* `vane help sample` is `vane sample --help`. */
static int help(int argc, char **argv) {
    static char *const flag[] = {"--help"};
    if (argc == 0) {
        print_help();
        return CLI_DONE;
    }
    const cli_verb *verb = find_verb(argv[0]);
    return verb ? verb->run(verb, 1, (char **)flag) : unknown_verb(argv[0]);
}

static int run(int argc, char **argv) {
    cli_errors_begin(argc, argv);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(0, NULL);
    if (strcmp(argv[1], "help") == 0) return help(argc - 2, argv + 2);
    if (asks_for_version(argv[1])) return cli_version.run(&cli_version, argc - 2, argv + 2);
    const cli_verb *verb = find_verb(argv[1]);
    return verb ? verb->run(verb, argc - 2, argv + 2) : unknown_verb(argv[1]);
}

int main(int argc, char **argv) {
    cli_begin_process();
    return cli_end_process(run(argc, argv));
}
