"""What the reference shows for a default, a type and a field: an extension of Griffe.

- A default that is a constant, such as ``DEFAULT_TIMEOUT``, is shown as its value.
- A type that the package doesn't export, such as ``SSL``, is shown as what it stands for.
- The "Attributes" of a model are shown at its fields. Its class variables are left out.
"""

import ast
import dataclasses
import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import griffe

import portsip_async
from portsip_async import v22

Part = str | griffe.Expr

PUBLIC = {*portsip_async.__all__, *v22.__all__}
ALIASES = (griffe.ExprBinOp, griffe.ExprSubscript)  # a union, or one such as Literal["a", "b"]
LIKE = re.compile(r"[Ff]ields are those of `(\w+)`")
ATTRIBUTES = re.compile(r"^Attributes:\n(?:(?: .*)?\n?)*", re.MULTILINE)


class Signatures(griffe.Extension):
    """Rewrite signatures and fields after the package was loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rewrite all functions and classes of the package."""
        models = []
        for found in _objects(pkg):
            if isinstance(found, griffe.Function):
                found.returns = _plain(found.returns, pkg)
                for parameter in found.parameters:
                    parameter.annotation = _plain(parameter.annotation, pkg)
                    parameter.default = _value(parameter.default, pkg)
            elif isinstance(found, griffe.Attribute):
                found.annotation = _plain(found.annotation, pkg)
            elif isinstance(found, griffe.Class) and any(
                base.name == "Record" for base in found.mro()
            ):
                models.append(found)
                _describe_fields(found)
                _hide_class_variables(found)
        for model in models:
            _copy_descriptions(model, models)


def _objects(parent: griffe.Module | griffe.Class) -> Iterator[griffe.Object]:
    for member in list(parent.members.values()):
        if not isinstance(member, griffe.Alias):
            yield member
            if isinstance(member, griffe.Module | griffe.Class):
                yield from _objects(member)


def _target(name: griffe.ExprName, pkg: griffe.Module) -> griffe.Attribute | None:
    """Return the attribute of a module that a name stands for."""
    package, _, path = name.canonical_path.partition(".")
    try:
        found = pkg[path] if package == pkg.name and path else None
    except KeyError:
        return None
    in_module = isinstance(found, griffe.Attribute) and isinstance(found.parent, griffe.Module)
    return found if in_module else None


def _value(default: Part | None, pkg: griffe.Module) -> Part | None:
    """Return the value of a constant as an expression, and any other default unchanged."""
    constant = _target(default, pkg) if isinstance(default, griffe.ExprName) else None
    if constant is None:
        return default
    module = importlib.import_module(constant.module.path)
    tree = ast.parse(repr(getattr(module, constant.name)), mode="eval")
    return griffe.safe_get_expression(tree.body, parent=constant.module)


def _plain(annotation: Any, pkg: griffe.Module) -> Any:
    """Return a type with each alias that only the package uses replaced by its meaning."""
    if isinstance(annotation, griffe.ExprName):
        alias = _target(annotation, pkg)
        if alias is None or alias.name in PUBLIC or not isinstance(alias.value, ALIASES):
            return annotation
        return _plain(alias.value, pkg)
    if isinstance(annotation, griffe.Expr) and not isinstance(annotation, griffe.ExprAttribute):
        parts = {
            each.name: _plain(getattr(annotation, each.name), pkg)
            for each in dataclasses.fields(annotation)
        }
        return dataclasses.replace(annotation, **parts)
    if isinstance(annotation, list | tuple):
        return [_plain(each, pkg) for each in annotation]
    return annotation


def _describe_fields(model: griffe.Class) -> None:
    """Move the descriptions of a model's fields from the class to the fields."""
    if not model.docstring:
        return
    sections = griffe.parse_google(model.docstring)
    described = [
        each
        for section in sections
        if isinstance(section, griffe.DocstringSectionAttributes)
        for each in section.value
    ]
    if any(each.name not in model.members for each in described):
        return  # such as the pages, whose items belong to the base class
    for each in described:
        field = model.members[each.name]
        if isinstance(field, griffe.Object):
            text = each.description[:1].upper() + each.description[1:]
            field.docstring = griffe.Docstring(text, parent=field)
    model.docstring.value = ATTRIBUTES.sub("", model.docstring.value).strip()


def _hide_class_variables(model: griffe.Class) -> None:
    """Remove what is no field. It is for the decoder, not for readers."""
    for name, member in list(model.members.items()):
        if isinstance(member, griffe.Attribute) and "instance-attribute" not in member.labels:
            del model.members[name]


def _copy_descriptions(model: griffe.Class, models: Sequence[griffe.Class]) -> None:
    """Describe the fields of a model whose description refers to another model."""
    named = LIKE.search(model.docstring.value) if model.docstring else None
    if not named:
        return
    path = model.module.resolve(named[1])
    (other,) = [each for each in models if each.path == path]
    for name, field in model.members.items():
        described = other.members.get(name)
        if field.docstring is None and described is not None and described.docstring is not None:
            field.docstring = described.docstring
