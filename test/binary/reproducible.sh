#!/usr/bin/env bash
# reproducible.sh VERSION REVISION: the last commit is built twice, in two folders, and the
# second time with nothing in Go's build cache. Tells the sums where they agree.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
for at in "$dir/one" "$dir/another/folder"; do
  mkdir -p "$at"
  git archive HEAD | tar -x -C "$at"
done
make -s -C "$dir/one" build VERSION="$1" REVISION="$2"
GOCACHE="$dir/cache" make -s -C "$dir/another/folder" build VERSION="$1" REVISION="$2"
for name in ussoauthz ussodev; do
  cmp "$dir/one/bin/$name" "$dir/another/folder/bin/$name"
done
cd "$dir/one/bin"
sha256sum ussoauthz ussodev
