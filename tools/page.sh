#!/bin/bash
# page.sh VANE [FOLDER]: opens the page of a small sweep in headless Chromium: nothing on the console, nothing loaded from
# elsewhere, every plot drawn. Pictures of it, as wide as a phone and as a desktop, light and dark, go to FOLDER, to be looked
# at. Debian: chromium-headless-shell, or chromium.
set -u
vane=$(realpath "${1:?usage: tools/page.sh VANE [FOLDER]}")
pictures=${2:+$(mkdir -p "$2" && realpath "$2")}
browser=$(command -v chromium-headless-shell || command -v chromium) || { echo "skipped: there is no Chromium here"; exit 0; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

say() { # say STATUS WORDS
    if [ "$1" -eq 0 ]; then echo "ok - $2"; else echo "not ok - $2"; failed=1; fi
}

# What a whole Chromium, unlike its headless shell, asks for on its own account: updates, dictionaries, the time, an account.
browsers_own='https?://((update|safebrowsing|optimizationguide-pa)\.googleapis|(accounts|clients[0-9]*|www)\.google|[a-z.]*gvt1)\.com/'

open_page() { # open_page FLAG...
    HOME=$work "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" "$@" "file://$work/sweep/report.html"
}

"$vane" train points:moons --out run --steps 60 --preview-every -1 --model mlp:width=16,layers=1 --quiet &&
    "$vane" sweep run --data points:moons --guidance 1,2,4 --guide cfg --guide cfg,interval:lo=0.3 --steps 4,8 -n 100 --resamples 20 \
        --out sweep --quiet >table || { echo "not ok - a sweep can be made"; exit 1; }

open_page --enable-logging=stderr --log-level=0 --log-net-log="$work/net.json" --dump-dom >dom.html 2>log
say $? "the page opens"
! grep -E 'CONSOLE|Uncaught|Refused' log
say $? "nothing on the console"
! grep -oE '"url":"(https?|wss?|ftp):[^"]*' net.json | grep -vE "$browsers_own"
say $? "nothing is loaded from elsewhere"
# fd, fd-infinity, precision, recall; recall against precision; cost; the training's loss
plots=$(grep -c '<figure class="plot">' dom.html)
[ "$plots" -eq 7 ]
say $? "every plot is there ($plots of 7)"
[ "$(grep -o '<path class="curve" d="M[0-9]' dom.html | wc -l)" -ge 20 ]
say $? "and has its curves"
[ "$(grep -c '<img ' dom.html)" -ge 3 ]
say $? "samples are shown"
! grep -qiE 'nan|undefined|="inf' <(sed 's/base64,[^"]*//g' dom.html)
say $? "every number is one"

for width in 375 1280; do
    for scheme in light dark; do
        picture=${pictures:-$work}/page-$width-$scheme.png
        dark=()
        [ $scheme = dark ] && dark=(--blink-settings=preferredColorScheme=0)
        open_page --window-size=$width,3000 "${dark[@]}" --screenshot="$picture" >/dev/null 2>&1 && [ -s "$picture" ]
        say $? "a picture of it, $width wide and $scheme"
    done
done
exit $failed
