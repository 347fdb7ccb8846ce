/* forward.c - `vane forward`: a network once, on given tensors, with gradients if asked. */
#include "cli/cli.h"

typedef struct args {
    const char *dir, *in, *out, *grad;
} args;

static const cli_option rows[] = {
    CLI_ROW("DIR", CLI_TEXT, dir, "",
            "a run, or a folder with config.json and diffusion_pytorch_model.safetensors or, of "
            "transformers, model.safetensors",
            .required = true),
    CLI_ROW("in", CLI_TEXT, in, "IN.safetensors",
            "the model's inputs under diffusers' names: sample [B,C,H,W], timestep [B], "
            "class_labels [B], input_ids [B,T], ...",
            .required = true),
    CLI_ROW("out", CLI_TEXT, out, "OUT.safetensors",
            "receives sample, or what a text encoder or an autoencoder gives", .required = true),
    CLI_ROW("grad", CLI_TEXT, grad, "GRAD.safetensors",
            "receives grad.sample, grad.PARAMETER and grad.INPUT of sum(cotangent * output); IN "
            "then holds cotangent too"),
};

static vn_status report(const cli_session *s, const args *a) {
    if (s->json) {
        return cli_print_json(json_pack("{s:o, s:o?, s:o}", "out", cli_json_name(a->out), "grad",
                                        a->grad ? cli_json_name(a->grad) : NULL, "seconds",
                                        cli_json_number(cli_seconds(s))));
    }
    cli_print(stdout, "%s%s%s  %.2f s\n", a->out, a->grad ? "  " : "", a->grad ? a->grad : "",
              cli_seconds(s));
    return VN_OK;
}

static int run(const cli_verb *verb, int argc, char **argv) {
    args a = {0};
    cli_session s;
    int status;
    if (!cli_begin(&s, verb, CLI_COMPUTE, argc, argv, CLI_TABLE(rows, &a), &status)) return status;
    vn_status done = cli_open(&s);
    if (!done) done = vn_forward(s.vn, a.dir, a.in, a.out, a.grad);
    if (!done) done = report(&s, &a);
    return cli_end(&s, done);
}

const cli_verb cli_forward = {
    .name = "forward",
    .summary = "run a network once on tensors from a file",
    .example = "vane forward runs/fashion-mnist --in in.safetensors --out out.safetensors",
    .about = "Runs the network as it stands, without dropout, as diffusers would with the same "
             "tensors: for comparing, "
             "and for programs that sample by themselves.",
    .run = run,
};
