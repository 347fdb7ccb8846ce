/* show.c - what pictures of images and of points have in common: what they are made of is checked,
 * and their size is known before there is anything to show. */
#include "image/internal.h"

vn_status vn_show_fits(const vn_show *show, vn_err *err) {
    int64_t width = 0, height = 0;
    vn_status status = vn_show_check(show, err);
    if (status) return status;
    if (show->dimension == 0)
        status = vn_show_grid_size(show, &width, &height, err);
    else
        vn_show_points_size(show, &width, &height);
    return !status ? vn_image_fits(width, height, show->dimension == 0 ? show->channels : 3, err)
                   : status;
}

const char *vn_show_name(const vn_show *show, int32_t label, char number[16]) {
    if (show->names && (show->texts || vn_font_has(show->names[label]))) return show->names[label];
    snprintf(number, 16, show->names ? "#%d" : "%d", (int)label);
    return number;
}
