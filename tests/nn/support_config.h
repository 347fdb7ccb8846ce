/* support_config.h - for the tests of configs: networks from JSON text, and configs that are
 * damaged. */
#ifndef VN_TEST_SUPPORT_CONFIG_H
#define VN_TEST_SUPPORT_CONFIG_H

#include "nn/nn.h"

/* net is NULL unless it opens. */
vn_status open_text(const char *config, vn_net **net, vn_err *err);
/* Fails the test if it does not open. */
vn_net *must_open(const char *config);

/* Damages the config a thousand times, in the folder that the test is in: some open, the others are
 * refused with words. */
void damaged_configs(const char *config);

#endif
