"""Loads the names of a package when one of them is first used."""

import sys
from collections.abc import Callable
from importlib import import_module


def lazy_names(
    package: str, *modules: str, eager: tuple[str, ...] = (), packages: tuple[str, ...] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: the name of the package.
        modules: the modules whose names it passes on, relative to it.
        eager: further public names, which the package defines itself.
        packages: packages in it, each of which is loaded alone when it is first used.
    """
    namespace = vars(sys.modules[package])

    def get(name: str) -> object:
        # ``from package import name`` looks for an attribute before it looks for a package.
        if name in packages:
            return import_module(f"{package}.{name}")
        # Python and its tools look up many special names. That must not load everything.
        if name == "__all__" or not name.startswith("__"):
            loaded = [import_module(each, package) for each in modules]
            names = {each: getattr(module, each) for module in loaded for each in module.__all__}
            namespace.update(names, __all__=[*eager, *names])
        if name in namespace:
            return namespace[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        get("__all__")
        return sorted(namespace)

    return get, names
