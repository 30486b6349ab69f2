#!/usr/bin/env bash
# The tests with every cache switched off, as by caches: {tokens: 0, decisions: 0}
# in each configuration: the answers must be the same. Go's -overlay puts changed
# copies of two files in the place of theirs, in the programs that tests build too:
# test/uncached.sh PACKAGE…
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# replace FILE FROM TO: a copy of FILE in which FROM, which must be there, is TO.
replace() {
  grep -qF "$2" "$1" || { echo "$1 has no $2" >&2; exit 1; }
  copy="$dir/${1//\//_}"
  sed "s|$2|$3|" "$1" >"$copy"
  printf '%s  "%s": "%s"' "${comma-}" "$PWD/$1" "$copy" >>"$dir/files"
  comma=$',\n'
}
replace internal/config/config.go 'Caches{Tokens: 64 * MiB, Decisions: 64 * MiB}' 'Caches{}'
replace pkg/extauthz/world_test.go 'tenants.Shared{Routes: routes, Cache: cache}' 'tenants.Shared{Routes: routes}'
sed -i 's|cache, err := jwtverify.NewCache(16 << 20)|_, err := jwtverify.NewCache(16 << 20)|' "$dir/pkg_extauthz_world_test.go"
printf '{"Replace": {\n%s\n}}\n' "$(cat "$dir/files")" >"$dir/overlay.json"

# Without those that are about the caches: what a hit costs, and whether one is told.
GOFLAGS=-overlay=$dir/overlay.json ${GO:-go} test -count 1 -timeout 30m \
  -skip '^(TestAllocations|TestHotCheckAllocations|TestObserver)$' "$@"
