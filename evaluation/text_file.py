"""Small texts that people and their spreadsheets write: UTF-8 with or without a mark, UTF-16, or Windows' Latin-1."""

import codecs

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    # after UTF-32, which begins with it
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(content: bytes) -> str:
    """``content`` as text. Any bytes are text of some kind, so this never fails; what is wrong reads wrong."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content[:4]:
        # UTF-16 without a mark: of ASCII every second byte is 0
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    for each in (encoding or "utf-8", "cp1252"):
        try:
            return content.decode(each)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")
