#!/bin/sh
# run.sh BUILD: installs a build into an empty prefix and uses it from there as a stranger would: the examples of
# vane.h and README.md, in C and in C++, through pkg-config and CMake, shared and static; and looks at what the library exports.
set -u
build=$1
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
failed=0

holds() { # holds WHAT COMMAND...
    what=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        echo "ok - $what"
    else
        echo "not ok - $what"
        sed 's/^/    /' "$work/log"
        failed=1
    fi
}

cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
library=$(dirname "$(find "$prefix" -name libvane.so)")
export PKG_CONFIG_PATH="$library/pkgconfig" CMAKE_PREFIX_PATH="$prefix"
cd "$work" || exit 1

# ---- the example ----------------------------------------------------------------------------------------------

example() { # example N: the Nth one of vane.h
    awk -v wanted="$1" '/\[\/example\]/ { inside = 0 } inside && n == wanted { sub(/^ \*(     )?/, ""); print }
        /\[example\]/ { n++; inside = 1 }' "$source/include/vane.h"
}
example 1 >app.c
example 2 >callback.c
cp app.c app.cc
printf '%s\n' '{"classes": [' \
    '{"components": [{"weight": 1, "mean": [0, 0], "std": 1}]}, {"components": [{"weight": 1, "mean": [1, 0], "std": 1}]},' \
    '{"components": [{"weight": 1, "mean": [0, 1], "std": 1}]}, {"components": [{"weight": 1, "mean": [1, 1], "std": 1}]}' \
    ']}' >world.json

draws() { # draws PROGRAM OUT: the example's program draws the same samples as `vane sample` with its settings
    "$1" world.json "$2" && cmp "$2" expected.npy
}
"$prefix/bin/vane" sample world.json -n 8 --class 3 --guidance 2 --seed 7 --out expected.npy || exit 1

export LD_LIBRARY_PATH="$library"
strict="-Wall -Wextra -Wpedantic -Werror"
# shellcheck disable=SC2046,SC2086
build_c() { cc -std=c17 $strict app.c -o app-c $(pkg-config --cflags --libs vane); }
# shellcheck disable=SC2046,SC2086
build_cc() { c++ -std=c++17 $strict app.cc -o app-cc $(pkg-config --cflags --libs vane); }
# shellcheck disable=SC2046
build_static() { # -Wl,-Bstatic for vane alone: its own libraries stay shared
    cc app.c -o app-static $(pkg-config --cflags vane) \
        $(pkg-config --static --libs vane | sed 's/-lvane/-Wl,-Bstatic -lvane -Wl,-Bdynamic/')
}
draws_alone() { env -u LD_LIBRARY_PATH ./app-static world.json static.npy && cmp static.npy expected.npy; }
fails() { ! ./app-c nowhere 2>said && grep -q nowhere said; }
# shellcheck disable=SC2046,SC2086
build_callback() { cc -std=c17 $strict callback.c -o callback $(pkg-config --cflags --libs vane) -lm; }
# shellcheck disable=SC2046,SC2086
build_callback_cc() { cp callback.c callback.cc && c++ -std=c++17 $strict callback.cc -o callback-cc $(pkg-config --cflags --libs vane); }
gaussian() { "$1" | tee said && grep -qx 'mean 2.0, deviation 0.5' said; }

holds "the example of vane.h builds in C through pkg-config" build_c
holds "it draws what vane sample draws" draws ./app-c c.npy
holds "it fails with the library's words on a model that is not there" fails
holds "the example of a denoiser of one's own builds" build_callback
holds "it draws the Gaussian it says" gaussian ./callback
if command -v c++ >/dev/null; then
    holds "the example builds in C++" build_cc
    holds "and draws the same" draws ./app-cc cc.npy
    holds "the denoiser of one's own builds in C++" build_callback_cc
    holds "and draws its Gaussian" gaussian ./callback-cc
fi
holds "the example builds with the static library" build_static
holds "and draws the same without the shared one" draws_alone

# ---- README's program, the lines as they stand there -------------------------------------------------------------

sed -n '/^```c$/,/^```$/{/^```/!p}' "$source/README.md" >readme.c
cp readme.c readme.cc
# shellcheck disable=SC2046,SC2086
build_readme() { # by README's own command, but for the name; and once more with all warnings
    line=$(sed -n 's/^    \(cc app\.c .*vane)\)$/\1/p' "$source/README.md")
    [ -n "$line" ] && eval "$(echo "$line" | sed 's/app\.c/readme.c -o readme/')" &&
        cc -std=c17 $strict readme.c -o readme $(pkg-config --cflags --libs vane)
}
# shellcheck disable=SC2046,SC2086
build_readme_cc() { c++ -std=c++17 $strict readme.cc -o readme-cc $(pkg-config --cflags --libs vane); }
draws_readme() { # draws_readme PROGRAM: what README says it draws
    rm -f samples.png && "./$1" && cmp samples.png readme.png
}
"$prefix/bin/vane" train points:moons --model mlp:width=8 --steps 3 --preview-every -1 --quiet --out runs/photos || exit 1
"$prefix/bin/vane" sample runs/photos -n 24 --guidance 2 --seed 7 --quiet --out readme.png || exit 1
holds "README's program builds as it stands" build_readme
holds "it draws 24 samples in all, the classes in turn" draws_readme readme
if command -v c++ >/dev/null; then
    holds "README's program builds in C++" build_readme_cc
    holds "and draws the same" draws_readme readme-cc
fi

# ---- the documentation -------------------------------------------------------------------------------------------

links_lead() { # every link of the installed pages that is no address
    find "$prefix/share/doc" -name '*.md' | while read -r page; do
        grep -o '](\([^)#]*\)' "$page" | cut -c 3- | grep -v '^http' | while read -r link; do
            [ -e "$(dirname "$page")/$link" ] || echo "$page: $link"
        done
    done | tee broken
    [ ! -s broken ]
}
holds "the links of the installed README and docs lead somewhere" links_lead

# ---- CMake -----------------------------------------------------------------------------------------------------

cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.20)
project(app C)
find_package(vane 0.1 REQUIRED COMPONENTS static)
add_executable(with-shared app.c)
target_link_libraries(with-shared vane::vane)
add_executable(with-static app.c)
target_link_libraries(with-static vane::static)
END
with_cmake() { cmake -S . -B cmake-build -G Ninja && cmake --build cmake-build; }
holds "find_package(vane) gives vane::vane and vane::static" with_cmake
holds "a program built so draws the same" draws cmake-build/with-shared cmake.npy

# ---- what is loaded when it is first used ---------------------------------------------------------------------------

without="libarchive liblapacke"
starts_light() { # neither the program nor the library brings them along, so that a start does not wait for them
    for library_of in $without; do
        readelf -d "$prefix/bin/vane" "$library/libvane.so" | grep "NEEDED.*$library_of" && return 1
    done
    return 0
}
names_missing() { # a broken library is named, by those alone that need it
    mkdir -p hollow && : >"hollow/$(ldconfig -p | grep -o 'libarchive\.so\.[0-9]*' | head -n 1)"
    tar cf pictures.tar readme.png
    ! LD_LIBRARY_PATH="$work/hollow" "$prefix/bin/vane" info pictures.tar 2>said &&
        grep -q 'pictures.tar: reading a .tar takes libarchive' said && [ "$(wc -l <said)" -eq 1 ] &&
        LD_LIBRARY_PATH="$work/hollow" "$prefix/bin/vane" info readme.png
}
holds "what few commands need is not loaded at the start" starts_light
holds "where it cannot be loaded, a command that needs it says so in a line" names_missing

# ---- what is exported --------------------------------------------------------------------------------------------

nm -D --defined-only "$library/libvane.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >exported
tr '\n' ' ' <"$source/include/vane.h" | grep -oE 'VN_API [^;(]*\(' | grep -oE 'vn_[a-z0-9_]+\(' | tr -d '(' | sort >declared
holds "libvane.so exports what vane.h declares and nothing else" diff declared exported
soname() { readelf -d "$library/libvane.so" | grep -q 'SONAME.*\[libvane\.so\.0\.1\]'; }
holds "libvane.so is found by its major and minor version" soname

exit $failed
