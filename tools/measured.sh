#!/bin/bash
# The tables of docs/measured.md, from the tests that measure them: tools/measured.sh BUILD > docs/measured.md
set -eu
build=${1:?"usage: tools/measured.sh BUILD > docs/measured.md"}

posterior=$(mktemp)
trap 'rm -f "$posterior"' EXIT

run() { "$build/test_$1" 2>&1 | grep -avE '^\[|: measured .*, bound ' || { echo "test_$1 failed" >&2; exit 1; }; }
rows() { sed -n "s/^$1: //p"; }

cat <<'END'
# What the tests measured

Everything here is printed by tests that hold it to a bound; `tools/measured.sh build > docs/measured.md` writes this page
anew.

## Samplers: order of convergence

On an exact mixture of Gaussians in the plane, by doubling the steps; in brackets the error at the fewer steps. Rows that make
noise of their own are measured without it (`eta=0`, `tau=0`) and held to the moments of the data elsewhere. `dpmpp-3m`,
`dpm:order=3`, `dpmpp-3m-sde` and `er-sde:order=3` are published with an order of 3 and have 2, as they do in the programs
they are held to (`src/sample/dpm_multistep.c` says why).

END
run sample_order | awk '
    /^order \(error\)/ { tables++; if (tables == 2) print "\nFrom pure noise (alpha = 0), where most first steps are DDIM\x27s:\n";
        printf "| sampler |"; for (i = 4; i <= NF; i++) printf " %s |", $i; print "";
        printf "|---|"; for (i = 4; i <= NF; i++) printf "---|"; print ""; next }
    NF >= 3 { printf "| `%s` |", $1; for (i = 2; i < NF; i += 2) printf " %s %s |", $i, $(i + 1); print "" }'
echo
echo "Runge-Kutta and adaptive rules:"
echo
run sample_continuous | grep -aE ' order [0-9]| passes$' | sed -E 's/ +/ /g; s/^/- /'

cat <<'END'

## Guides: closed forms and references

Gaussians of one deviation, where rules that are linear move the mean alone (100 steps of Heun; what is left is its error):

END
run sample_rules | rows 'closed form' | sed -E 's/^(.*) on ([a-z-]+): off by (.*)$/- `\1` on \2: off by \3/'
cat <<'END'

diffusers' guiders, on random predictions, relative:

END
run guide_rules_golden | rows reference | sed -E 's/^(.*) in ([a-z0-9]+): off by (.*)$/- `\1` in \2: \3/' | sort -u
cat <<'END'

The variance that guidance leaves, p(x|c) = N(0, 1) and p(x) = N(0, 2)
([what-guidance-samples.md](what-guidance-samples.md)):

END
run sample_tilt | rows tilt | sed 's/^/- /'
cat <<'END'

## Restoration: posteriors in closed form

x0 given x_t and y on a Gaussian prior, by `mmps` with its equations solved:

END
run restore_posterior >"$posterior"
rows prediction <"$posterior" | sed 's/^/- /'
cat <<'END'

Ten thousand samples of each rule ([restoration.md](restoration.md)), on a Gaussian prior of three numbers of which two sums are
observed, and on a mixture of two clusters with the observation between them. Mean and covariance: by how much the worst number is
off, in parts of the largest deviation and variance of the posterior; weight: of one of the clusters. The standard error is 0.010 of
a mean, 0.014 of a variance and 0.005 of a weight; what lies beyond it is the rule's bias, and the sampler's error.

| prior | rule | path | steps, sampler | mean | covariance | weight | passes + derivatives a step |
|---|---|---|---|---|---|---|---|
END
rows posterior <"$posterior" | sed 's/^/| /; s/$/ |/'
cat <<'END'

`daps` on the prior N(0, 1), 200 levels of sigma from 100 to 0.1 (two thousand samples: the standard error of a variance is 3%).
Its published centre and covariance, with the ODE solved and the kernel exact, have a variance of 2.12 without an observation, and a mean
of 0.891 and a variance of 0.221 in the place of 0.8 and 0.2 with one:

END
rows daps <"$posterior" | sed 's/^/- /'
echo
echo "## All together"
echo
run sample_combinations | sed 's/^/- /'
