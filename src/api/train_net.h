/* train_net.h - whether a network and the options of a training are right for the data and for each
 * other. */
#ifndef VN_API_TRAIN_NET_H
#define VN_API_TRAIN_NET_H

#include "data/data.h"
#include "nn/nn.h"

/* A network that is to be trained. */
typedef struct vn_train_net {
    const vn_net *net;
    const vn_data_info *data;
    const char *name, *source; /* of the model, NULL: its row's; of the data */
    bool texts;                /* the data has captions, which the network is given */
    int64_t codes;             /* of a sequence model: kinds of tokens of its pictures */
    int64_t words;             /* and of its texts; 0: it has classes */
    bool variance;             /* the objective learns one */
    unsigned gives;            /* inputs that it gives: VN_GIVES_* */
} vn_train_net;

/* A network made elsewhere must take what the data gives: VN_BAD_ARGUMENT names what it does
 * not. */
vn_status vn_train_check_net(const vn_train_net *t, vn_err *err);

/* Whether the row of this name is a classifier's; NULL: it is none. */
bool vn_train_is_classifier(const char *row);
/* Refuses of a classifier's options what only denoisers have a use for. */
vn_status vn_train_classifier_options(const vn_train_options *o, vn_err *err);
/* Refuses what only denoisers have a use for; a sequence model sees clean samples. */
vn_status vn_train_sequence_options(vn_train_options *o, vn_err *err);
/* A classifier takes the noise level, or sees clean samples alone: o->times becomes "clean" where
 * it is not given. */
vn_status vn_train_classifier_times(vn_train_options *o, const vn_net *net, vn_err *err);

/* The same of autoencoders, which take no time and no class. */
bool vn_train_is_autoencoder(const char *row);
vn_status vn_train_autoencoder_options(const vn_train_options *o, vn_err *err);

#endif
