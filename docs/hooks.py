"""Hooks of MkDocs: add the generated reference and the pages that lie beside the code; mend links between them.

On GitHub a page may link to any file of the repository. The site has no such files, so a link out of it becomes the
file's path in code type. A link to a file that does not exist fails the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from docs.generate import REPOSITORY, pages

# pages that stay beside what they describe, and their place on the site
BESIDE_THE_CODE = {
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "dags/README.md": "project/dags.md",
    "feast_repo/README.md": "project/feast.md",
    "include/use_cases/README.md": "use-cases/index.md",
    **{
        f"include/use_cases/{path.parent.name}/{path.name}": f"use-cases/{path.parent.name}-{path.stem.lower()}.md"
        for path in sorted((REPOSITORY / "include" / "use_cases").glob("*/*.md"))
    },
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_MERMAID = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)
_generated: dict[str, str] = {}


def on_config(config: Any) -> Any:
    """List the decisions and the use cases' pages that there are in the navigation."""
    cases = sorted(place for place in BESIDE_THE_CODE.values() if place.startswith("use-cases/"))
    cases.sort(key=lambda place: not place.endswith("index.md"))
    for entry in config["nav"]:
        if "Decisions" in entry:
            entry["Decisions"] = ["decisions/index.md", *(f"decisions/{path.name}" for path in decisions())]
        if "Use cases" in entry:
            entry["Use cases"] = cases
    return config


def decisions() -> list[Path]:
    """Return the files of the decisions, in order of their numbers."""
    return sorted((REPOSITORY / "docs" / "decisions").glob("[0-9]*.md"))


def _decisions_table() -> str:
    """Return a line for each decision: number and title."""
    lines = ["", "| | decision |", "|---|---|"]
    for path in decisions():
        title = path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        number, _, rest = title.partition(" ")
        lines.append(f"| {number} | [{rest}]({path.name}) |")
    return "\n".join(lines) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are no files below ``docs/``."""
    # `mkdocs serve` builds at every change of a text, and the code's reference takes seconds
    if not _generated:
        _generated.update(pages())
    beside = {
        place: (REPOSITORY / source).read_text(encoding="utf-8")
        for source, place in BESIDE_THE_CODE.items()
        if (REPOSITORY / source).exists()
    }
    texts = _generated | beside
    for place, text in texts.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Mend the links of one page, and show the chain as a picture: Mermaid would be loaded from another host."""
    place = page.file.src_uri
    if place == "decisions/index.md":
        markdown += _decisions_table()
    source = {there: here for here, there in BESIDE_THE_CODE.items()}.get(place, f"docs/{place}")
    picture = posixpath.relpath("images/chain.svg", posixpath.dirname(place) or ".")
    mended = _LINK.sub(lambda link: _mended(link, source, place), markdown)
    return _MERMAID.sub(f"![The chain of steps]({picture})\n", mended)


def on_post_build(config: Any) -> None:
    """Refuse a site that would load a script, a style or a picture from another host.

    Raises:
        PluginError: a page does; names it.
    """
    loaded = re.compile(r"<(?:script|img|iframe)[^>]*\bsrc=[\"']?(?:https?:)?//|<link[^>]*\bhref=[\"']?(?:https?:)?//")
    canonical = re.compile(r"<link[^>]*\brel=[\"']?(?:canonical|prev|next)[^>]*>")
    for path in sorted(Path(config["site_dir"]).rglob("*.html")):
        if found := loaded.search(canonical.sub("", path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path} loads from another host: {found.group()}")


def _mended(link: re.Match[str], source: str, place: str) -> str:
    picture, text, target = link.groups()
    address, mark, anchor = target.partition("#")
    if not address or re.match(r"[a-z]+:", target):
        return link.group()
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
    folder = posixpath.dirname(place) or "."
    if meant == "docs/reference/index.md" and f"reference/{anchor}.md" in _generated:
        # on GitHub the section says where to read instead
        return f"[{text}]({posixpath.relpath(f'reference/{anchor}.md', folder)})"
    there = BESIDE_THE_CODE.get(meant) or (meant.removeprefix("docs/") if meant.startswith("docs/") else None)
    if there is not None and not (REPOSITORY / meant).is_dir():
        return f"{picture}[{text}]({posixpath.relpath(there, folder)}{mark}{anchor})"
    if f"{meant}/README.md" in BESIDE_THE_CODE:
        return f"[{text}]({posixpath.relpath(BESIDE_THE_CODE[f'{meant}/README.md'], folder)}{mark}{anchor})"
    if not (REPOSITORY / meant).exists():
        raise PluginError(f"{source} links to {address}, which does not exist")
    return text if meant in text.strip("`") else f"{text} (`{meant}`)"
