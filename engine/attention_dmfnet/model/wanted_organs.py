"""The organs that a user asks for, by the names of the manifest."""

from collections.abc import Iterable

from attention_dmfnet.model.manifest import Manifest
from attention_dmfnet.model.network import LoadError


def wanted_organs(manifest: Manifest, names: Iterable[str]) -> frozenset[str]:
    """The organs called ``names``; upper and lower case, and spaces, hyphens and underscores are the same.

    Raises ``LoadError`` for an unknown name, with the nearest one, and if there is no name.
    """
    # a string is many names of one letter
    asked = [names] if isinstance(names, str) else list(names)
    by_key = {_key(organ): organ for organ in manifest.labels}
    for name in asked:
        if _key(name) not in by_key:
            from attention_dmfnet.spelling import did_you_mean

            guess = did_you_mean(_key(name), manifest.labels)
            raise LoadError(f"there is no organ {name!r}{guess or ';'} the organs are {', '.join(manifest.labels)}")
    if not asked:
        raise LoadError(f"no organ is asked for; the organs are {', '.join(manifest.labels)}")
    return frozenset(by_key[_key(name)] for name in asked)


def _key(name: str) -> str:
    return " ".join(name.replace("-", " ").replace("_", " ").lower().split())
