"""How numba compiles kernels here: only the passes that their plain loops need, and machine code only once.

A part of kernels is machine code nowhere but in the kernels it ends up in. So it stays LLVM IR as numba emits
it, and LLVM optimises it once, with the whole kernel around it, instead of at every level of calls again.
Numba has no types for what passes between it and its passes: hence `Any`.
"""

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined]
from numba.core import compiler, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import PassManager, register_pass

FRONT = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.RewriteSemanticConstants,
    untyped_passes.DeadBranchPrune,
    untyped_passes.GenericRewrites,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.NoPythonSupportedFeatureValidation,
    typed_passes.IRLegalization,
)
"""Numba's own passes and their order, without those for closures, arrays as values, generators and loops
that are unrolled by literals."""


class PartLibrary(JITCodeLibrary):
    """LLVM IR of a part and of the parts it calls, to be linked into kernels: nothing is optimised here."""

    def _optimize_functions(self, ll_module: Any) -> None:
        pass

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)  # type: ignore[no-untyped-call]
class PartLowering(typed_passes.NativeLowering):
    """Numba's lowering, into a `PartLibrary`."""

    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        """Emit LLVM IR, and offer the function to those that call it."""
        state.flags.no_compile = True
        state.library = PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        super().run_pass(state)  # type: ignore[no-untyped-call]
        described, env = state.cr.fndesc, state.cr.env
        module, name = described.lookup_module(), described.qualname
        nowhere = _dynfunc.make_function(module, name, "", 0, env, (state.library,))
        state.targetctx.insert_user_function(nowhere, described, [state.library])
        state.cr = state.cr._replace(cfunc=nowhere)
        return True


class Whole(compiler.CompilerBase):
    """What compiles a kernel, with its parts, to machine code."""

    lowering: type[typed_passes.NativeLowering] = typed_passes.NativeLowering

    def define_pipelines(self) -> list[PassManager]:
        """The passes."""
        manager: Any = PassManager("kernels")  # type: ignore[no-untyped-call]
        for step in (*FRONT, self.lowering, typed_passes.NoPythonBackend):
            manager.add_pass(step, step.name())  # type: ignore[no-untyped-call]
        manager.finalize()
        return [manager]


class Part(Whole):
    """What compiles a part."""

    lowering = PartLowering
