"""Hooks of the documentation's site (mkdocs.yml).

On GitHub the pages link to files of the repository: ../envoy/envoy.yaml. The
site has none of these, so such a link leads to the file on GitHub instead. One
to a file that is not there fails the build.
"""

import os
import re

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)")


def on_page_markdown(markdown, page, config, files):
    """Point links that leave docs/ to the repository."""
    folder = os.path.dirname(os.path.join(config["docs_dir"], page.file.src_path))

    def point(match):
        target = os.path.normpath(os.path.join(folder, match.group(2)))
        if not os.path.exists(target):
            raise PluginError(f"{page.file.src_path}: there is no {match.group(2)}")
        if os.path.commonpath([target, config["docs_dir"]]) == config["docs_dir"]:
            return match.group(0)
        kind = "tree" if os.path.isdir(target) else "blob"
        path = os.path.relpath(target, os.path.dirname(config["docs_dir"])).replace(os.sep, "/")
        return f"{match.group(1)}{config['repo_url']}/{kind}/main/{path}"

    return LINK.sub(point, markdown)


def on_files(files, config):
    """Add the library that draws the diagrams; make docs fetched it."""
    source = os.environ["USSOAUTHZ_MERMAID"]
    files.append(File.generated(config, "assets/mermaid.min.js", abs_src_path=source))
    return files
