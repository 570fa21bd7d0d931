"""Loading the kernel half while the rest of the agent is still on its way."""

from __future__ import annotations

import contextlib
import threading

from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.loader import Kernel
from otel_ebpf.kernel.obtain import Materials


class Preparation:
    """A kernel half that is compiled and verified in the background; nothing is attached.

    The waiting is for a child process and for the kernel, so it costs other threads little.
    Errors are kept for ``finish``: those of what a user typed come first.
    """

    def __init__(self, config: KernelConfig) -> None:
        self._config = config
        self._materials: Materials | None = None
        self._kernel: Kernel | None = None
        self._error: BaseException | None = None
        self._unwanted = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="otel-ebpf-loading", daemon=True)
        self._thread.start()

    def finish(self) -> Kernel:
        """Waits for it; the caller closes it.

        Raises:
            KernelError: a precondition is missing, the compiler or the verifier refused.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._kernel is not None, "it was asked for twice"
        kernel, self._kernel = self._kernel, None
        return kernel

    def close(self) -> None:
        """Ends what goes on and lets go of what was not asked for."""
        with self._lock:
            self._unwanted = True
            if self._materials is not None:
                self._materials.cancel()
        self._thread.join()
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None

    def _run(self) -> None:
        try:
            with self._lock:
                if self._unwanted:
                    return
                self._materials = Materials(self._config)
            with contextlib.ExitStack() as undo:
                kernel = Kernel(self._config, self._materials)
                undo.callback(kernel.close)
                if not self._unwanted:
                    kernel.load()
                self._kernel = kernel
                undo.pop_all()
        except BaseException as error:
            self._error = error
        finally:
            if self._materials is not None:
                self._materials.close()
