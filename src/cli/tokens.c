/* tokens.c - `vane tokens`: what a tokenizer makes of texts. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/cli.h"

typedef struct args {
    const char *source, *in, *out;
    cli_texts texts;
    vn_token_options o;
} args;

static const cli_option rows[] = {
    CLI_ROW("DIR", CLI_TEXT, source, "",
            "a folder with tokenizer.json (of kind BPE or Unigram), or with vocab.json and "
            "merges.txt; or bytes, which needs no folder",
            .required = true),
    CLI_ROW("TEXT...", CLI_TEXTS, texts, "",
            "texts, each an argument; -- before one that begins with -"),
    CLI_ROW("in", CLI_TEXT, in, "FILE", "texts from a file instead, one a line"),
    CLI_ROW("out", CLI_TEXT, out, "OUT.safetensors",
            "with --in: receives ids, int64 [texts, tokens]"),
    CLI_OPTION_ROW(TOKEN, o, "length"),
};

/* "12 of 80 tokens kept" where a text was cut; else "12 tokens". */
static void print_text(const vn_tokenizer *t, const char *text, const vn_tokens *k, int64_t i) {
    cli_print(stdout, "%s\n", text);
    for (int64_t j = 0; j < k->length; j++) {
        const int64_t id = k->ids[i * k->length + j];
        const char *token = vn_tokenizer_token(t, id);
        printf("%8" PRId64 "  ", id);
        cli_print(stdout, "%s\n", token ? token : "?");
    }
    if (k->used[i] < k->whole[i])
        printf("  %" PRId64 " of %" PRId64 " tokens kept\n", k->used[i], k->whole[i]);
}

/* New reference, or NULL without memory. */
static json_t *text_json(const vn_tokenizer *t, const char *text, const vn_tokens *k, int64_t i) {
    json_t *ids = json_array(), *tokens = json_array();
    bool ok = ids && tokens;
    for (int64_t j = 0; ok && j < k->length; j++) {
        const int64_t id = k->ids[i * k->length + j];
        ok = json_array_append_new(ids, json_integer(id)) == 0 &&
             json_array_append_new(tokens, json_string(vn_tokenizer_token(t, id))) == 0;
    }
    json_t *whole = ok ? json_integer(k->whole[i]) : NULL;
    if (whole)
        return json_pack("{s:s, s:o, s:o, s:o}", "text", text, "ids", ids, "tokens", tokens,
                         "whole", whole);
    json_decref(ids);
    json_decref(tokens);
    return NULL;
}

static vn_status report(const cli_session *s, const args *a, const vn_tokenizer *t,
                        const vn_tokens *k) {
    json_t *list = s->json ? json_array() : NULL;
    for (int64_t i = 0; i < k->n; i++) {
        if (!s->json)
            print_text(t, a->texts.text[i], k, i);
        else if (json_array_append_new(list, text_json(t, a->texts.text[i], k, i)) != 0)
            break;
    }
    if (!s->json) return VN_OK;
    if (json_array_size(list) == (size_t)k->n)
        return cli_print_json(json_pack("{s:o, s:s, s:o}", "source", cli_json_name(a->source),
                                        "kind", vn_tokenizer_kind(t), "texts", list));
    json_decref(list);
    return VN_NO_MEMORY;
}

/* How many texts, and how many of them were cut. */
static vn_status report_file(const cli_session *s, const args *a, const vn_tokenizer *t,
                             const vn_tokens *k) {
    int64_t cut = 0, longest = 0;
    for (int64_t i = 0; i < k->n; i++) {
        cut += k->used[i] < k->whole[i];
        if (k->whole[i] > longest) longest = k->whole[i];
    }
    if (s->json)
        return cli_print_json(json_pack("{s:o, s:s, s:I, s:I, s:I, s:I}", "out",
                                        cli_json_name(a->out), "kind", vn_tokenizer_kind(t),
                                        "count", (json_int_t)k->n, "length", (json_int_t)k->length,
                                        "longest", (json_int_t)longest, "cut", (json_int_t)cut));
    cli_print(stdout, "%s: %lld text%s of %lld tokens", a->out, (long long)k->n,
              k->n == 1 ? "" : "s", (long long)k->length);
    if (cut > 0) printf("; %" PRId64 " cut, the longest has %" PRId64, cut, longest);
    printf("\n");
    return VN_OK;
}

static vn_status tokens(cli_session *s, const args *a) {
    vn_tokenizer *t = NULL;
    vn_tokens made = vn_tokens_default();
    vn_status status = cli_open(s);
    if (!status) status = vn_tokenizer_open(s->vn, a->source, &t);
    if (!status && a->in) {
        status = vn_tokenizer_encode_file(t, a->in, a->out, &a->o, &made);
        if (!status) status = report_file(s, a, t, &made);
    } else if (!status) {
        status = vn_tokenizer_encode(t, (int64_t)a->texts.count, a->texts.text, &a->o, &made);
        if (!status) status = report(s, a, t, &made);
    }
    vn_tokenizer_close(&t);
    return status;
}

/* Texts or a file, not both. */
static vn_status complete(void *into, cli_parser *p) {
    const args *a = into;
    (void)p;
    if (a->in && a->texts.count > 0)
        cli_misuse("tokens", "texts are given and --in too: either is enough");
    else if (!a->in && a->out)
        cli_misuse("tokens", "--out has no effect without --in FILE");
    else if (a->in && !a->out)
        cli_misuse("tokens", "--in needs --out OUT.safetensors, which receives the ids");
    else if (a->source && !a->in && a->texts.count == 0)
        cli_misuse("tokens", "TEXT or --in FILE is missing: what to make tokens of");
    else
        return VN_OK;
    return VN_BAD_ARGUMENT;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {.o = vn_token_options_default()};
    cli_session s;
    int status;
    if (cli_begin(&s, verb, CLI_OUTPUT, argc, argv, CLI_TABLE(rows, &a), &status))
        status = cli_end(&s, tokens(&s, &a));
    cli_texts_free(&a.texts);
    return status;
}

const cli_verb cli_tokens = {
    .name = "tokens",
    .summary = "show the tokens that a text becomes",
    .example = "vane tokens stable-diffusion/tokenizer \"a photo of a cat\"",
    .about = "Prints the id and the letters of each token, as transformers' fast tokenizers have "
             "them, special tokens included; or writes the ids of a file's lines.",
    .complete = complete,
    .run = run,
};
