from types import SimpleNamespace

from evaluation.cost.sampler import _used_bytes


def test_used_memory_is_what_is_neither_free_nor_a_buffer_nor_a_cache() -> None:
    # as the organisers' script counted it; psutil's own `used` has come to mean total - available
    memory = SimpleNamespace(total=1000, free=200, buffers=30, cached=270, available=450, used=550)
    assert _used_bytes(memory) == 500
