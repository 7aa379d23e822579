"""Reference pages from signatures and docstrings, read from the source: nothing is imported.

A page for each public subpackage holds the names in its `__all__`, wherever in the package they are written.
"""

import ast
import re
from pathlib import Path

PACKAGES = (
    "physics", "density", "bridge", "networks", "optimize", "optimize.buildable", "optimize.multistart", "io",
    "plotting", "problem", "tasks", "errors",
)  # fmt: skip
NAME = "dolfinx_neural_topo"
_SECTIONS = ("Args", "Returns", "Yields", "Raises", "Attributes", "References", "Note")


def setup(app):
    """Write the pages before anything is read."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app):
    root = Path(app.srcdir).parent / NAME
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    for package in PACKAGES:
        (folder / f"{package}.md").write_text(_page(root, package))
    listed = "\n".join(PACKAGES)
    (folder / "index.md").write_text(
        "# API\n\nWhat is public, by subpackage. Names at the top of the package (`dnt.Design`) are the same "
        f"objects.\n\n```{{toctree}}\n:maxdepth: 2\n\n{listed}\n```\n"
    )


def _page(root, package):
    tree = _tree(root, package)
    lines = [f"# {package}", "", ast.get_docstring(tree) or "", ""]
    for name in _public(tree):
        found = _find(root, package, name)
        if found is None:
            raise ValueError(f"{NAME}.{package}.{name} is public, and not found in the source")
        lines += _entry(found, name)
    return "\n".join(lines) + "\n"


def _tree(root, module):
    path = root / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text())


def _public(tree):
    """Return the names in `__all__`, or all that do not begin with an underscore."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(_lazy(tree)) if isinstance(node.value, ast.Call) else ast.literal_eval(node.value)
    defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [name for name in defined if not name.startswith("_")]


def _lazy(tree):
    """Return the names that a package resolves on first use, and their modules."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOME":
            return ast.literal_eval(node.value)
    return {}


def _find(root, module, name):
    """Return the definition of a name of a module, followed through its imports; or its module."""
    tree = _tree(root, module)
    if (root / module.replace(".", "/")).is_dir() and name in _lazy(tree):
        return _find(root, f"{module}.{_lazy(tree)[name]}", name)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and any(
            getattr(t, "id", "") == name for t in targets
        ):
            following = tree.body[tree.body.index(node) + 1 :]
            said = following[0].value if following and isinstance(following[0], ast.Expr) else None
            return node, getattr(said, "value", "")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NAME):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    inner = (node.module or "").removeprefix(NAME).removeprefix(".")
                    below = f"{inner}.{alias.name}".removeprefix(".")
                    path = root / below.replace(".", "/")
                    if path.is_dir() or path.with_suffix(".py").is_file():
                        return _tree(root, below)
                    return _find(root, inner, alias.name)
    return None


def _entry(node, name):
    """Return the lines on a class, a function, a constant or a module."""
    if isinstance(node, tuple):
        return [f"## {name}", "", *_fence(ast.unparse(node[0])), "", _markdown(node[1]), ""]
    if isinstance(node, ast.Module):
        lines = [f"## {name}", "", _markdown(ast.get_docstring(node) or ""), ""]
        return lines + [line for inner in _public(node) for line in _part(node, inner, name)]
    lines = [f"## {name}", "", *_fence(_signature(node)), "", _markdown(ast.get_docstring(node) or ""), ""]
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                lines += [f"### {name}.{method.name}", "", *_fence(_signature(method)), ""]
                lines += [_markdown(ast.get_docstring(method) or ""), ""]
    return lines


def _part(tree, name, module):
    """Return the lines on a function or class of a module that is public as a whole."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            said = _markdown(ast.get_docstring(node) or "")
            return [f"### {module}.{name}", "", *_fence(_signature(node)), "", said, ""]
    return []


def _signature(node):
    if isinstance(node, ast.ClassDef):
        made = next((n for n in node.body if getattr(n, "name", "") == "__init__"), None)
        arguments = ast.unparse(made.args).removeprefix("self").removeprefix(", ") if made else ""
        return f"class {node.name}({arguments})"
    kind = "@property\n" if any(getattr(d, "id", "") == "property" for d in node.decorator_list) else ""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = ast.unparse(node.args).removeprefix("self").removeprefix("cls").removeprefix(", ")
    return f"{kind}{node.name}({arguments}){returns}"


def _fence(code):
    """Return code as a block, one argument a line where it is long."""
    if len(code) > 90 and "(" in code:
        head, _, rest = code.partition("(")
        body, close, tail = rest.rpartition(")")
        code = f"{head}(\n    {_split(body)},\n{close}{tail}"
    return ["```python", code, "```"]


def _split(arguments):
    """Return arguments with a line end after each comma that is inside of no bracket."""
    depth, text = 0, ""
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        text += ",\n   " if letter == "," and depth == 0 else letter
    return text


def _markdown(docstring):
    """Return a Google docstring as Markdown: sections, arguments as a list, what is indented as code."""
    lines: list[str] = []
    section, code = "", False
    for line in [*docstring.splitlines(), ""]:
        inside = line.startswith("    ")
        heading = re.fullmatch(rf"({'|'.join(_SECTIONS)}):\s*(.*)", line)
        if code and line.strip() and not inside:
            lines, code = [*_closed(lines), ""], False
        if heading:
            section = heading[1]
            lines += ["", f"**{section}:** {heading[2]}".rstrip(), ""]
        elif section and inside:
            item = re.match(r" {4}(\*{0,2}[\w.]+)( \(.*?\))?: (.*)", line)
            if item and section not in ("Note", "References", "Returns"):
                lines.append(f"- `{item[1]}`: {item[3]}")
            else:
                lines.append(
                    f"  {line.strip()}" if section in ("Args", "Attributes", "Raises") else line.strip()
                )
        elif inside and not section:
            if not code:
                lines, code = [*lines, "```python"], True
            lines.append(line[4:])
        else:
            section = "" if line.strip() else section
            lines.append(line)
    return "\n".join(_closed(lines) if code else lines)


def _closed(lines):
    """Return lines whose last block of code is closed, and called a formula where it is no Python."""
    lines = _trimmed(lines)
    start = len(lines) - 1 - lines[::-1].index("```python")
    try:
        ast.parse("\n".join(lines[start + 1 :]))
    except SyntaxError:
        lines[start] = "```text"
    return [*lines, "```"]


def _trimmed(lines):
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines
