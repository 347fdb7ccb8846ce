/* table.c - the guides. */
#include "guide/internal.h"

#define ROW(name) &vn_##name##_guide,
static const vn_guide_row *const rows[] = {VN_GUIDES(ROW)};
static const vn_word words[] = {{"classifier-free", "cfg"},
                                {"classifier-free-guidance", "cfg"},
                                {"weak", "autoguidance"},
                                {"perturbed-attention", "pag"},
                                {"smoothed-energy", "seg"},
                                {"skip-layer", "slg"},
                                {"normalized-attention", "nag"},
                                {"condition-annealed", "cads"},
                                {"limited-interval", "interval"},
                                {"guidance-rescale", "rescale"},
                                {"dynamic-thresholding", "dynamic-threshold"},
                                {"thresholding", "dynamic-threshold"},
                                {"cfg++", "cfg-plus-plus"},
                                {"cfgpp", "cfg-plus-plus"},
                                {"cfg-zero", "cfg-zero-star"},
                                {"adaptive-guidance", "adaptive"},
                                {"angle-domain", "adg"},
                                {"feedback", "fbg"},
                                {"history-guided", "higs"},
                                {"sliding-mode", "smc"},
                                {"s2-guidance", "s2"},
                                {"stochastic-self-guidance", "s2"},
                                {"tangential-amplifying", "tag"},
                                {"token-perturbation", "tpg"},
                                {"cfg-renorm", "renorm"},
                                {NULL, NULL}};
static const vn_word former[] = {{"also", "compose"}, {NULL, NULL}};
const vn_table vn_guides = {"guide", rows, 0, VN_COUNT(rows), words, former};
