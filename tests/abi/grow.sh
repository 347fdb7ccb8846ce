#!/bin/sh
# grow.sh HEADER: vane.h as a later version may be, on stdout. Each struct that carries its size has two members more, and the
# version is one patch further.
exec awk '
    /^typedef struct vn_/ { grows = 0 }
    /size_t struct_size;/ { grows = 1 }
    /^} vn_/ && grows { print "    int64_t grown_count;\n    double grown[3];"; grows = 0 }
    /define VN_VERSION_PATCH/ { $3 = $3 + 1 }
    { print }' "$1"
