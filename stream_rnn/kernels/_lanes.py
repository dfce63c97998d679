"""How many float32 one vector of this processor holds: asked of the compiler, which knows best."""

from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba
from numba.core import codegen

WIDEST = 16
PROBE = """
define void @probe(ptr %p) {{
  %a = load <{n} x float>, ptr %p
  %b = call <{n} x float> @llvm.fma.v{n}f32(<{n} x float> %a, <{n} x float> %a, <{n} x float> %a)
  store <{n} x float> %b, ptr %p
  ret void
}}
declare <{n} x float> @llvm.fma.v{n}f32(<{n} x float>, <{n} x float>, <{n} x float>)
"""


def lanes() -> int:
    """Lanes of the widest fused multiply-add that is one instruction; 1 where there is none.

    Follows NUMBA_CPU_NAME and NUMBA_CPU_FEATURES as numba does, and NUMBA_DISABLE_JIT.
    """
    config: Any = numba.config  # made from the environment: without types
    host: Any = codegen
    if config.DISABLE_JIT:
        return 1
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = host.get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=config.CPU_NAME or llvm.get_host_cpu_name(), features=features
    )
    n = WIDEST
    while n > 1:
        assembly = machine.emit_assembly(llvm.parse_assembly(PROBE.format(n=n)))
        multiply_adds = [line for line in assembly.splitlines() if "fma" in line or "fmla" in line]
        if len(multiply_adds) == 1 and "call" not in assembly:
            return n
        n //= 2
    return 1
