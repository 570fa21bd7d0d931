"""``otel-ebpf doctor``: what this host offers, what is missing, and what mends it."""

from __future__ import annotations

import json
from typing import Any, TextIO

from otel_ebpf.errors import KernelError
from otel_ebpf.kernel.config import KernelConfig
from otel_ebpf.kernel.features import blocking, survey
from otel_ebpf.kernel.findings import MISSING, OK, Finding
from otel_ebpf.kernel.host import Host, look
from otel_ebpf.kernel.listing import Listed, list_programs


def run_doctor(stream: TextIO, *, as_json: bool = False, programs: bool = False) -> int:
    """Write the report to ``stream``.

    Mounts tracefs and bpffs when they are missing and it is allowed, and says so.

    Args:
        stream: where the report goes.
        as_json: one JSON object instead of text: ``kernel``, ``machine``, ``uid``,
            ``works`` and ``findings``, each with the fields of ``Finding``.
        programs: load each program, where tracing can work, and list them; in JSON
            ``programs``, each with the fields of ``Listed``.

    Returns:
        0 when tracing can work here, 3 (``KernelError``'s exit code) when it cannot.
    """
    host = look()
    findings = survey(host=host)
    works = blocking(findings) is None
    listed = list_programs(KernelConfig()) if programs and works else []
    works = works and not any(program.refused for program in listed)
    report = _json if as_json else _text
    stream.write(report(host, findings, listed, works))
    return 0 if works else KernelError.exit_code


def _json(host: Host, findings: list[Finding], listed: list[Listed], works: bool) -> str:
    report: dict[str, Any] = {
        "kernel": host.kernel,
        "machine": host.machine,
        "uid": host.uid,
        "works": works,
        "findings": [finding.as_dict() for finding in findings],
    }
    if listed:
        report["programs"] = [program.as_dict() for program in listed]
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _text(host: Host, findings: list[Finding], listed: list[Listed], works: bool) -> str:
    width = max(len(finding.name) for finding in findings)
    lines = [f"otel-ebpf doctor: kernel {host.kernel}, {host.machine}, uid {host.uid}"]
    told: set[str] = set()
    for finding in findings:
        lines.append(f"  {finding.state:<8}  {finding.name:<{width}}  {finding.means}")
        if finding.state != OK and finding.mend:
            mend = "as above" if finding.mend in told else finding.mend
            told.add(finding.mend)
            lines.append(f"  {'':<8}  {'':<{width}}  mend: {mend}")
    lines += _table(listed)
    refused = [program.name for program in listed if program.refused]
    if works:
        lines.append("Tracing works here.")
    elif refused:
        lines.append(f"Tracing does not work here: this kernel refuses {', '.join(refused)}.")
    else:
        missing = [f.name for f in findings if f.needed and f.state == MISSING]
        lines.append(
            f"Tracing does not work here until this is mended: {', '.join(missing)}.\n"
            "`otel-ebpf replay FILE` works without any of it."
        )
    return "\n".join(lines) + "\n"


def _table(listed: list[Listed]) -> list[str]:
    if not listed:
        return []
    width = max(len(program.name) for program in listed)
    lines = [f"  {'program':<{width}}  {'type':<14}  instructions  verified  ms"]
    for program in listed:
        row = f"  {program.name:<{width}}  {program.kind:<14}"
        if program.refused:
            lines.append(f"{row}  {program.refused}")
        else:
            numbers = f"{program.instructions:>12}  {program.verified:>8}  {program.milliseconds}"
            lines.append(f"{row}  {numbers}")
    return lines
