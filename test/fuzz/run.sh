#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, for a time or a number
# of inputs: test/fuzz/run.sh 10s, test/fuzz/run.sh 3000x. Both count the seeds; a
# target that gets no further than them fails, since it tried nothing. Without a bound
# of its own, making a new input smaller takes up to a minute, in which nothing is
# tried either.
set -euo pipefail
limit=${1:?for how long, like 10s, or how many inputs, like 3000x}
go=${GO:-go}
passed=0 failed=0
for package in $($go list ./...); do
  for target in $($go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    printf '%-60s %-20s ' "${package#*/*/*/}" "$target"
    if out=$($go test -run '^$' -fuzz "^$target\$" -fuzztime "$limit" -fuzzminimizetime 10x "$package" 2>&1); then
      if execs=$(grep -o 'execs: [0-9]*' <<<"$out" | tail -1); then
        passed=$((passed + 1))
        echo "$execs"
      else
        failed=$((failed + 1))
        echo "FAILED: $limit is too short for its seeds"
      fi
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
