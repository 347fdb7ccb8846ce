/* maps.c - the outputs by which two pictures are compared as a perceptual loss does: what the first
 * levels of a network make of each (1603.08155, 1801.03924). */
#include "nn/internal.h"

static const char *const names[VN_MAPS] = {"map0", "map1", "map2", "map3"};

void vn_net_add_maps(vn_net_io *io, const vn_config_ints *channels) {
    for (size_t i = 0; i < channels->count && i < VN_MAPS; i++) {
        vn_port map = vn_port_of_sample(names[i], true, channels->at[i]);
        map.reduced = (int64_t)1 << i;
        map.optional = map.features = true;
        vn_net_add_output(io, map);
    }
}

void vn_scope_map(const vn_scope *s, size_t level, vn_node *x) {
    if (level < VN_MAPS) vn_scope_output(s, names[level], x);
}
