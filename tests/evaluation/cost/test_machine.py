from pathlib import Path

from evaluation.cost.machine import describe_machine
from tests.evaluation.cost.test_gpu import FakeNvml


def test_the_cpu_is_named_by_its_model(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Xeon(R) W-2133 CPU @ 3.60GHz\nflags\t: fpu\n")
    line = describe_machine(root=tmp_path)
    assert line.startswith("Xeon(R) W-2133 CPU @ 3.60GHz, ")
    assert "no GPU" in line
    assert "GiB RAM" in line


def test_the_gpu_is_named_where_there_is_one() -> None:
    from evaluation.cost.gpu import NvidiaGpu

    assert "Quadro RTX 5000" in describe_machine(NvidiaGpu(0, FakeNvml()))


def test_a_machine_that_does_not_name_its_cpu_is_told_by_its_architecture(tmp_path: Path) -> None:
    assert ", " in describe_machine(root=tmp_path)
