/* pipeline_dit.c - DiTPipeline (2212.09748): a transformer is given a class. Names of classes are
 * those of model_index.json, and the null class is the last row of its table (classes.c). */
#include "model/pipeline.h"

const vn_pipeline_row vn_dit_pipeline = {
    .row = {"DiTPipeline", "DiT: transformer, classes", "2212.09748", NULL},
    .guidance = 4,
    .steps = 50,
};
