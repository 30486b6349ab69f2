#!/usr/bin/env bash
# The documentation as a site: run.sh build, or run.sh serve at http://127.0.0.1:8000.
# Its tools come from PyPI and npm, pinned by their hashes, into .cache/tools.
set -euo pipefail
cd "$(dirname "$0")/../../.."

mermaid=11.17.2
mermaid_sha256=6ad2f42c3fc26bbf9e45cbb6d11898972573ea52b33a5f4ff51952899f950ffd

key=$({ echo "$mermaid_sha256"; cat test/docs/site/requirements.txt; } | sha256sum | cut -c1-16)
tools=$PWD/.cache/tools/docs-$key
if [ ! -e "$tools/ready" ]; then
  echo "installing mkdocs-material and mermaid" >&2
  command -v npm >/dev/null || { echo "the site needs npm for mermaid: install Node.js" >&2; exit 1; }
  rm -rf "$tools"
  mkdir -p "$tools"
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r test/docs/site/requirements.txt
  (cd "$tools" && npm pack --silent "mermaid@$mermaid" >/dev/null)
  echo "$mermaid_sha256  $tools/mermaid-$mermaid.tgz" | sha256sum --check --quiet
  tar -xzf "$tools/mermaid-$mermaid.tgz" -C "$tools" package/dist/mermaid.min.js
  touch "$tools/ready"
fi
export NO_MKDOCS_2_WARNING=1 # mkdocs-material is maintained until May 2027; Zensical reads the same mkdocs.yml
export USSOAUTHZ_MERMAID=$tools/package/dist/mermaid.min.js # links.py adds it

case ${1:-} in
build) exec "$tools/venv/bin/mkdocs" build --strict ;; # not --quiet: it would silence the warnings that fail it
serve) exec "$tools/venv/bin/mkdocs" serve --strict --dev-addr 127.0.0.1:8000 ;;
*) echo "usage: test/docs/site/run.sh build|serve" >&2; exit 2 ;;
esac
