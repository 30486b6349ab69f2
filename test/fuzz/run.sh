#!/usr/bin/env bash
# Runs every fuzz target of the module for the time that is given, one after the
# other: test/fuzz/run.sh 10s. Without a bound of its own, making a new input smaller
# takes up to a minute, in which nothing is tried.
set -euo pipefail
limit=${1:?for how long, like 10s}
go=${GO:-go}
passed=0 failed=0
for package in $($go list ./...); do
  for target in $($go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    printf '%-60s %-20s ' "${package#*/*/*/}" "$target"
    if out=$($go test -run '^$' -fuzz "^$target\$" -fuzztime "$limit" -fuzzminimizetime 10x "$package" 2>&1); then
      passed=$((passed + 1))
      grep -o 'execs: [0-9]*' <<<"$out" | tail -1 || echo 'no input'
    elif grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input written' <<<"$out"; then
      # How go test now and then reports the end of the time: no input failed.
      passed=$((passed + 1))
      echo 'ended by the clock'
    else
      failed=$((failed + 1))
      printf 'FAILED\n%s\n' "$out"
    fi
  done
done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 20 ]
