import pytest

from nllgen.study.hardware import auto_precision


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16"])
def test_bf16_where_the_processor_multiplies_it(flag: str) -> None:
    assert auto_precision(f"model name\t: x\nflags\t\t: fpu {flag} sse\n") == "bf16"


@pytest.mark.parametrize("text", ["", "flags : fpu avx512f\n", "Features : bf16\n", "model name : avx512_bf16\n"])
def test_fp32_elsewhere(text: str) -> None:
    assert auto_precision(text) == "fp32"


def test_this_machine_has_an_answer() -> None:
    assert auto_precision() in ("fp32", "bf16")
