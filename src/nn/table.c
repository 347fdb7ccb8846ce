/* table.c - the networks, by role. */
#include "nn/internal.h"

#define ROW(name) &vn_##name##_net,
static const vn_net_row *const denoisers[] = {VN_DENOISERS(ROW)};
static const vn_net_row *const classifiers[] = {VN_CLASSIFIERS(ROW)};
static const vn_net_row *const encoders[] = {VN_ENCODERS(ROW)};
static const vn_net_row *const extractors[] = {VN_EXTRACTORS(ROW)};
static const vn_net_row *const autoencoders[] = {VN_AUTOENCODERS(ROW)};
static const vn_net_row *const sequences[] = {VN_SEQUENCES(ROW)};

const vn_table vn_models[] = {
    [VN_ROLE_DENOISER] = {"model", denoisers, 0, VN_COUNT(denoisers), NULL, NULL},
    [VN_ROLE_CLASSIFIER] = {"classifier", classifiers, 0, VN_COUNT(classifiers), NULL, NULL},
    [VN_ROLE_ENCODER] = {"encoder", encoders, 0, VN_COUNT(encoders), NULL, NULL},
    [VN_ROLE_FEATURES] = {"feature network", extractors, 0, VN_COUNT(extractors), NULL, NULL},
    [VN_ROLE_AUTOENCODER] = {"autoencoder", autoencoders, 0, VN_COUNT(autoencoders), NULL, NULL},
    [VN_ROLE_SEQUENCE] = {"sequence model", sequences, 0, VN_COUNT(sequences), NULL, NULL},
};
_Static_assert(VN_COUNT(vn_models) == VN_ROLE_COUNT, "a table for each role");

static const vn_net_row *const trained[] = {VN_DENOISERS(ROW) VN_CLASSIFIERS(ROW) VN_SEQUENCES(ROW)
                                                ROW(any_autoencoder)};
const vn_table vn_trained_models = {"model", trained, 0, VN_COUNT(trained), NULL, NULL};

const vn_net_row *vn_net_row_at(size_t i) {
    static const vn_net_row *const rows[] = {VN_DENOISERS(ROW) VN_CLASSIFIERS(ROW) VN_ENCODERS(
        ROW) VN_EXTRACTORS(ROW) VN_AUTOENCODERS(ROW) VN_SEQUENCES(ROW)};
    _Static_assert(VN_COUNT(rows) == VN_NET_ROWS, "all of them");
    return i < VN_COUNT(rows) ? rows[i] : NULL;
}
