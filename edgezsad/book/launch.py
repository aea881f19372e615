"""Links that open a notebook of a fork in Binder or Colab, from one setting: the repository's address.

It is `repository.url` in `_config.yml`; the environment variable EDGEZSAD_REPOSITORY, which a workflow sets, goes
before it. While both are empty there are no links, since an address that nobody has published opens nothing.
"""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from edgezsad.errors import InputError

_ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9-]+)/([\w.-]+?)(?:\.git)?/?")
_BRANCH = re.compile(r"[\w./-]+")


def launch_links(notebook: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Addresses by service.

    Args:
        notebook: its path in the repository, with forward slashes.
        config: the content of `_config.yml`.

    Returns:
        "source" (the file on GitHub), "Binder" and "Colab"; empty where no repository is set.

    Raises:
        InputError: the repository's address or branch is none that these services know.
    """
    setting = config.get("repository") or {}
    url = os.environ.get("EDGEZSAD_REPOSITORY") or setting.get("url") or ""
    branch = setting.get("branch") or "main"
    if not url:
        return {}
    match = _ADDRESS.fullmatch(url)
    if not match:
        form = "https://github.com/OWNER/NAME"
        raise InputError(
            f"_config.yml: repository.url (or EDGEZSAD_REPOSITORY) is {url!r}; write {form}, or leave it empty"
        )
    if not _BRANCH.fullmatch(branch):
        raise InputError(f"_config.yml: repository.branch is {branch!r}; write a branch's name")
    name = f"{match[1]}/{match[2]}"
    path = quote(notebook)
    # In Binder's address a branch is one part of the path, so its slashes are written out.
    binder = f"https://mybinder.org/v2/gh/{name}/{quote(branch, safe='')}"
    return {
        "source": f"https://github.com/{name}/blob/{branch}/{path}",
        "Binder": f"{binder}?urlpath={quote(f'lab/tree/{notebook}', safe='')}",
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{branch}/{path}",
    }
