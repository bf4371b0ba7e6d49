"""values.yaml read with its comments, and the table that README.md has of it.

Run as a program it writes the table: target/venv-chart/bin/python tests/chart/support/values.py
"""

import json
import re
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[3] / "helm" / "refresh-relay"
BEGIN = "<!-- values: made from values.yaml; tests/chart/support/values.py writes it -->"
END = "<!-- end of values -->"


def commented(text):
    """(path, comment) for every value that has a comment `# -- ...` right above it."""
    found, open_keys, comment = [], [], None
    for line in text.splitlines():
        key = re.match(r"^( *)([A-Za-z_][\w-]*):", line)
        if line.lstrip().startswith("# -- "):
            comment = line.lstrip().removeprefix("# -- ")
        elif key:
            depth = len(key[1]) // 2
            open_keys[depth:] = [key[2]]
            if comment:
                found.append((tuple(open_keys), comment))
            comment = None
    return found


def uncommented(text):
    """Paths of values that no comment covers: neither their own nor one of an object they stand in."""
    covered = {path for path, _ in commented(text)}

    def walk(tree, path):
        for key, value in tree.items():
            here = path + (key,)
            if here in covered:
                continue
            if isinstance(value, dict) and value:
                yield from walk(value, here)
            else:
                yield here

    return list(walk(yaml.safe_load(text), ()))


def table(text):
    """The Markdown table of all values."""
    values = yaml.safe_load(text)
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, comment in commented(text):
        default = values
        for key in path:
            default = default[key]
        shown = json.dumps(default, ensure_ascii=False)
        if len(shown) > 60:
            shown = "see values.yaml"
        else:
            shown = f"`{shown}`"
        lines.append("| `{}` | {} | {} |".format(".".join(path), shown, comment.replace("|", "\\|")))
    return "\n".join(lines)


def readme_with(readme, made):
    """README.md with this table between its marks."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


if __name__ == "__main__":
    readme = CHART / "README.md"
    readme.write_text(readme_with(readme.read_text(), table((CHART / "values.yaml").read_text())))
