#!/bin/sh
# Fails when the library prints or reads a number with a fraction other than by src/base/text.c: what the C library does
# itself has the decimal point of the locale that the program has chosen. The program vane stays in the C locale.
set -u
cd "$(dirname "$0")/.." || exit 1
own=src/base/text.c

sources() { # those of the library, but for the file that may
    find src -name '*.[ch]' -not -path 'src/cli/*' -not -path "$own" | sort
}

format='(?:"(?:[^"\\]|\\.)*"|[^;"])*?"(?:[^"\\]|\\.)*?' # the arguments of a call up to within a string
found=0
breach() { # breach WHY PATTERN FILE...: Perl's patterns, of whole files
    why=$1 pattern=$2
    shift 2
    for file in $(grep -lPz "$pattern" "$@"); do
        echo "$file: $why: $(grep -oPz "$pattern" "$file" | tr '\0\n' '  ' | tr -s ' ')" >&2
        found=$((found + 1))
    done
}

# shellcheck disable=SC2046
{
    breach 'prints a number with a fraction; use the function of base.h with vn_ before its name' \
        '(?<![A-Za-z_])(f|s|sn)?printf\s*\('"$format"'%[-+ #0-9.*]*[aefgAEFG]' $(sources)
    breach 'use vn_format and vn_json_string' 'json_sprintf\s*\('"$format"'%[-+ #0-9.*]*[aefgAEFG]' $(sources)
    breach 'use vn_vsnprintf, or vn_json_vformat' '(?<![A-Za-z_])(v(sn|s|f)?printf|json_vsprintf)\s*\([^;]*;' $(sources)
    breach 'use vn_parse_double or vn_strtod' '(?<![A-Za-z_])(strto(d|f|ld)|atof)\s*\([^;]*;' $(sources)
    breach 'use vn_parse_double or vn_strtod' '[fs]scanf\s*\('"$format"'%[*0-9]*l?[aefgAEFG]' $(sources)
    breach 'use vn_json_text or vn_json_write' 'json_dump[sbf]?[a-z_]*\s*\([^;]*;' \
        $(sources | grep -v '^src/base/json.c$')
    breach 'depends on the locale; use vn_same_but_for_case and its like' '(?<![A-Za-z_])(strn?casecmp|strcoll|tolower|toupper|strerror)\s*\([^;]*;' $(sources)
    breach 'would change how numbers are printed' 'setlocale\s*\([^;]*;' $(sources) src/cli/*.[ch]
}

[ "$found" -eq 0 ] && echo "ok - numbers are printed and read in one place"
[ "$found" -eq 0 ]
