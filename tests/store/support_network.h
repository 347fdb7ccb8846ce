/* support_network.h - the weights of a small network that does not exist, to save and load. */
#ifndef SUPPORT_NETWORK_H
#define SUPPORT_NETWORK_H

#include "store/store.h"

/* conv.weight [4,3,2,2] (repacked inside), linear.weight [3,5], linear.bias [3]. */
vn_weights *open_network(void);
/* New flat array, numbered from `first` on, with zeros in the gaps as vane keeps them. */
float *number_values(const vn_weights *w, float first);

#endif
